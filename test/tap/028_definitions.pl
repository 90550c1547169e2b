# Changes of definitions: whatever a projection's view runs is changed in every way and at every moment, and what
# project() returns is what the view returns, an error where that is an error. Then each guard is switched off once, and
# something is wrong.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('definitions', "autovacuum = off\nwal_level = logical\n");
my $major = $node->pg_version->major;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app_owner;
CREATE ROLE grp;
-- Names are looked for as projections look for them, so that functions are called in one way only.
CREATE FUNCTION differs() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE a text; b text;
BEGIN
    BEGIN a := rolecall.project('p', '1'); EXCEPTION WHEN OTHERS THEN a := 'error'; END;
    BEGIN b := (SELECT doc FROM app.v WHERE uid = 1); EXCEPTION WHEN OTHERS THEN b := 'error'; END;
    RETURN CASE WHEN a IS DISTINCT FROM b THEN format('document %s, view %s', a, b) END;
END $$;
SQL

my $world = <<'SQL';
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app CASCADE;
ALTER ROLE app_owner NOBYPASSRLS;
REVOKE grp FROM app_owner;
CREATE EXTENSION rolecall;
CREATE SCHEMA app;
GRANT ALL ON SCHEMA app TO app_owner;
CREATE TYPE app.mood AS ENUM ('calm', 'angry');
CREATE TYPE app.addr AS (street text);
CREATE TABLE app.place (city text);
CREATE TABLE app.users (id bigint PRIMARY KEY, name text, mood app.mood DEFAULT 'calm', addr app.addr DEFAULT ROW('s'), place app.place DEFAULT ROW('c'));
INSERT INTO app.users VALUES (1, 'ada'), (2, 'bob');
GRANT SELECT ON app.users TO app_owner;
CREATE TABLE app.names (id bigint, n text);
INSERT INTO app.names VALUES (1, 'one');
CREATE TABLE app.unrelated (id bigint);
CREATE FUNCTION app.f(i bigint) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'v1';
CREATE FUNCTION app.g(i bigint) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN app.f(i); END $$;
CREATE FUNCTION app.may_see(i bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN true; END $$;
CREATE FUNCTION app.j(m app.mood) RETURNS json IMMUTABLE LANGUAGE sql AS $$ SELECT '"cast"'::json $$;
CREATE FUNCTION app.plus(a text, b text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT a || '+' || b $$;
CREATE AGGREGATE app.joined(text) (SFUNC = app.plus, STYPE = text, INITCOND = '');
SQL
my $create = q(SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id"}'));
my $of_owner = 'ALTER VIEW app.v OWNER TO app_owner; ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;';

sub view_of { return "CREATE VIEW app.v AS SELECT u.id AS uid, jsonb_build_object('x', $_[0]) AS doc FROM app.users u;"; }
sub f_returns { return "CREATE OR REPLACE FUNCTION app.f(i bigint) RETURNS text IMMUTABLE LANGUAGE sql RETURN '$_[0]'"; }

# name, setup, change; then: what another session does once the change has been committed; alone: this change holds up
# the making of a projection until it ends, or cannot be prepared.
my @cases = (
	{
		name => 'a function comes to read a table',
		setup => view_of('app.f(u.id)'),
		change => 'CREATE OR REPLACE FUNCTION app.f(i bigint) RETURNS text STABLE LANGUAGE sql BEGIN ATOMIC SELECT n FROM app.names WHERE id = i; END',
		then => q(UPDATE app.names SET n = 'changed'),
	},
	{ name => 'a function is replaced', setup => view_of('app.f(u.id)'), change => f_returns('v2') },
	{
		name => 'a function is replaced by hand',
		setup => view_of('app.g(u.id)'),
		change => q(UPDATE pg_proc SET prosrc = 'BEGIN RETURN ''by hand''; END' WHERE oid = 'app.g(bigint)'::regprocedure), by_hand => 1,
	},
	{ name => 'a function that a function calls is replaced', setup => view_of('app.g(u.id)'), change => f_returns('v2') },
	{
		name => 'the transition function of an aggregate is replaced',
		setup => view_of('(SELECT app.joined(x) FROM unnest(ARRAY[u.name, u.name]) x)'),
		change => 'CREATE OR REPLACE FUNCTION app.plus(a text, b text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT a || b $$',
	},
	{
		name => 'a membership brings a policy',
		setup => view_of('u.name') . $of_owner . q(CREATE POLICY tenant ON app.users TO grp USING (name = 'ada')),
		change => 'GRANT grp TO app_owner',
	},
	{
		name => 'the same by ALTER GROUP',
		setup => view_of('u.name') . $of_owner . q(CREATE POLICY tenant ON app.users TO grp USING (name = 'ada')),
		change => 'ALTER GROUP grp ADD USER app_owner',
	},
	{ name => 'an owner is exempt from policies', setup => view_of('u.name') . $of_owner, change => 'ALTER ROLE app_owner BYPASSRLS' },
	{
		name => 'a function of a policy is replaced',
		setup => view_of('u.name') . $of_owner . 'CREATE POLICY few ON app.users USING (app.may_see(id))',
		change => 'CREATE OR REPLACE FUNCTION app.may_see(i bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN i > 1; END $$',
	},
	{
		name => 'a policy is altered',
		setup => view_of('u.name') . $of_owner . 'CREATE POLICY few ON app.users USING (id < 2)',
		change => 'ALTER POLICY few ON app.users USING (id > 1)', alone => 1,
	},
	{
		name => 'a policy is dropped',
		setup => view_of('u.name') . $of_owner . 'CREATE POLICY few ON app.users USING (id < 2)',
		change => 'DROP POLICY few ON app.users', alone => 1,
	},
	{
		name => 'the watch is switched off',
		setup => view_of('u.name'),
		change => q(ALTER TABLE app.users DISABLE TRIGGER USER; UPDATE app.users SET name = 'unseen'), alone => 1,
	},
	{ name => 'an attribute is renamed', setup => view_of('u.addr'), change => 'ALTER TYPE app.addr RENAME ATTRIBUTE street TO road', alone => 1 },
	{ name => 'a column of a row type is renamed', setup => view_of('u.place'), change => 'ALTER TABLE app.place RENAME COLUMN city TO town', alone => 1 },
	{ name => 'a label is renamed', setup => view_of('u.mood'), change => q(ALTER TYPE app.mood RENAME VALUE 'calm' TO 'serene') },
	{ name => 'a cast to json comes', setup => view_of('u.mood'), change => 'CREATE CAST (app.mood AS json) WITH FUNCTION app.j(app.mood)' },
	{    # the table has a trigger: making a watch need not wait for who has the table's row
		name => 'rights on a table go', setup => view_of('u.name') . 'ALTER VIEW app.v OWNER TO app_owner; CREATE TABLE app.ref (u bigint REFERENCES app.users);', change => 'REVOKE SELECT ON app.users FROM app_owner' },
	{
		name => 'a child is dropped whose watch has another name',
		setup => 'CREATE TABLE app.kid () INHERITS (app.users); ' . view_of('(SELECT count(*) FROM app.users)')
		  . q(DELETE FROM app.users; INSERT INTO app.users VALUES (1); INSERT INTO app.kid VALUES (1);)
		  . q(CREATE OR REPLACE VIEW app.v AS SELECT 1::bigint AS uid, jsonb_build_object('x', (SELECT count(*) FROM app.users u WHERE u.id = 1)) AS doc;),
		created => q(DO $$ DECLARE t name; BEGIN
			FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'app.kid'::regclass LOOP EXECUTE format('ALTER TRIGGER %I ON app.kid RENAME TO %I', t, 'mine_' || t); END LOOP; END $$),
		change => 'DROP TABLE app.kid', alone => 1,
		by_others => 1,    # a plan that was made without the child is kept by PostgreSQL when the child comes back: the view itself is wrong then
	},
	{ name => 'a view behind the view', setup => 'CREATE VIEW app.w AS SELECT id, name FROM app.users; '
		  . q(CREATE VIEW app.v AS SELECT w.id AS uid, jsonb_build_object('x', w.name) AS doc FROM app.w w;),
		change => 'CREATE OR REPLACE VIEW app.w AS SELECT id, upper(name) AS name FROM app.users', alone => 1 },
);

my ($reader, $changer);

sub differs { my ($session) = @_; return $session ? $session->query('SELECT differs()') : $node->safe_psql('postgres', 'SELECT differs()'); }

# When the change is made, as seen from the projection. Each sub gets the case; what is made and read is made and read
# between.
my %moments = (
	'after it was read' => sub { my ($case, $make) = @_; $make->(); $changer->query_safe($case->{change}); },
	'before it is read' => sub { my ($case, $make) = @_; $make->(0); $changer->query_safe($case->{change}); },
	'in a savepoint that is released' => sub {
		my ($case, $make) = @_;
		$make->();
		$changer->query_safe("BEGIN; SAVEPOINT s; $case->{change}; RELEASE s; COMMIT");
	},
	'in a DO, as a replica, without event triggers' => sub {
		my ($case, $make) = @_;
		$make->();
		$changer->query_safe('SET session_replication_role = replica' . ($major >= 17 ? '; SET event_triggers = off' : ''));
		$changer->query_safe("DO \$do\$ BEGIN EXECUTE \$ch\$ $case->{change} \$ch\$; END \$do\$");
		$changer->query_safe('RESET session_replication_role' . ($major >= 17 ? '; RESET event_triggers' : ''));
	},
	'in a transaction whose snapshot is older' => sub {
		my ($case, $make) = @_;
		$changer->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
		$make->();
		$changer->query_safe("$case->{change}; COMMIT");
	},
	'begun when it was made' => sub {
		my ($case, $make) = @_;
		$changer->query_safe("BEGIN; $case->{change}");
		$make->();
		$changer->query_safe('COMMIT');
	},
	'prepared, and committed by another' => sub {
		my ($case, $make) = @_;
		$make->();
		$changer->query_safe("BEGIN; $case->{change}; PREPARE TRANSACTION 'change'");
		differs($reader) unless $case->{alone};
		$node->safe_psql('postgres', q(COMMIT PREPARED 'change'));
	},
	'rolled back to a savepoint, then made' => sub {
		my ($case, $make) = @_;
		$make->();
		$changer->query_safe("BEGIN; SAVEPOINT s; $case->{change}; ROLLBACK TO s; $case->{change}; COMMIT");
	},
);

# What is wrong when this case has happened at this moment: a list of sentences.
sub wrong {
	my ($case, $moment) = @_;
	$node->safe_psql('postgres', $world . $case->{setup});
	my $make = sub {
		my ($reads) = (@_, 2);
		$node->safe_psql('postgres', "$create; " . ($case->{created} // ''));
		differs($reader) for 1 .. $reads;
		return;
	};
	$moments{$moment}->($case, $make);
	my @wrong;
	my $look = sub {
		my ($when) = @_;
		for my $who ([ 'an open session', $reader ], [ 'the session that did it', $changer ], [ 'a new session', undef ], [ 'an open session again', $reader ]) {
			my $differs = differs($who->[1]);
			push @wrong, "$when, $who->[0]: $differs" if $differs ne '';
		}
	};
	$look->('after it');
	if ($case->{then}) {
		$node->safe_psql('postgres', $case->{then});
		$look->('and then');
	}
	return @wrong;
}

sub open_sessions { $reader = session($node); $changer = session($node); return; }
sub close_sessions { $_->quit for $reader, $changer; return; }

for my $case (@cases) {
	open_sessions();
	for my $moment (sort keys %moments) {
		next if $case->{alone} and $moment eq 'begun when it was made';
		is_deeply([ wrong($case, $moment) ], [], "$case->{name}, $moment");
	}
	close_sessions();
}

# What the session itself changes, before it commits
open_sessions();
for my $case (@cases) {
	next if $case->{then} or $case->{by_hand} or $case->{by_others};    # what is done by hand is noted when it is committed
	$node->safe_psql('postgres', "$world$case->{setup}; $create; " . ($case->{created} // ''));
	differs($reader) for 1 .. 2;
	is($changer->query("BEGIN; SAVEPOINT s; SELECT differs(); $case->{change}; SELECT differs(); ROLLBACK TO s; SELECT differs(); COMMIT"), "\n\n", "$case->{name}, in the session's own transaction");
	is(differs($reader), '', '... and rolled back');
}
close_sessions();

# ---- What commits half-way

my $events = 'CREATE TABLE app.events (user_id bigint, kind text) PARTITION BY LIST (kind);'
  . q(CREATE TABLE app.events_a PARTITION OF app.events FOR VALUES IN ('a'); CREATE TABLE app.events_b PARTITION OF app.events FOR VALUES IN ('b');)
  . q(INSERT INTO app.events VALUES (1, 'a'), (1, 'b');)
  . q(CREATE VIEW app.v AS SELECT u.id AS uid, jsonb_build_object('x', (SELECT count(*) FROM app.events e WHERE e.user_id = u.id)) AS doc FROM app.users u;)
  . q(SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id", "app.events": "user_id"}'));
$node->safe_psql('postgres', $world . $events);
open_sessions();
differs($reader) for 1 .. 2;
my $older = session($node);
$older->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app.events');
begin_query($changer, 'ALTER TABLE app.events DETACH PARTITION app.events_b CONCURRENTLY');
$node->poll_query_until('postgres', 'SELECT inhdetachpending FROM pg_inherits ORDER BY 1 DESC LIMIT 1') or die;
is(differs($_), '', 'a partition that is being detached') for $reader, $older, undef;
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%' AND state = 'active'));
finish_query($changer);
$changer->{stderr} = '';
is(differs($_), '', 'a partition whose detachment was interrupted') for $reader, $older, undef, $reader;
$older->query_safe('COMMIT');
$node->safe_psql('postgres', q(INSERT INTO app.events_b VALUES (1, 'b')));
is(differs($_), '', '... is written to') for $reader, $older, undef;
$node->safe_psql('postgres', 'ALTER TABLE app.events DETACH PARTITION app.events_b FINALIZE');
is(differs($_), '', '... and the detachment ended') for $reader, $older, undef;
$older->quit;

# ---- New partitions and children are watched by themselves.

for my $case (
	[ 'a partition', q(CREATE TABLE app.events_c PARTITION OF app.events FOR VALUES IN ('c')), q(INSERT INTO app.events VALUES (1, 'c')), 'TRUNCATE app.events_c' ],
	[ 'a partition with partitions', q(CREATE TABLE app.events_d (user_id bigint, kind text) PARTITION BY LIST (kind); CREATE TABLE app.events_dd PARTITION OF app.events_d DEFAULT; ALTER TABLE app.events ATTACH PARTITION app.events_d FOR VALUES IN ('d')),
		q(INSERT INTO app.events_dd VALUES (1, 'd')), 'TRUNCATE app.events_dd' ],
	[ 'a child', 'CREATE TABLE app.kid () INHERITS (app.users)', q(INSERT INTO app.kid SELECT * FROM app.users WHERE id = 2), 'TRUNCATE app.kid' ],
	[ 'a child of that', 'CREATE TABLE app.kid_2 (LIKE app.kid); ALTER TABLE app.kid_2 INHERIT app.kid', q(DELETE FROM app.users WHERE id = 1; INSERT INTO app.kid_2 (id) VALUES (1)), 'DELETE FROM app.kid_2' ],
  )
{
	my ($what, $ddl, @writes) = @$case;
	$node->safe_psql('postgres', "DO \$do\$ BEGIN EXECUTE \$ch\$ $ddl \$ch\$; END \$do\$");
	is($node->safe_psql('postgres', 'SELECT * FROM rolecall.check_projections()'), '', "$what is watched");
	is(differs($_), '', "$what is new") for $reader, $changer, undef;
	for my $write (@writes) {
		differs($reader) for 1 .. 2;
		$node->safe_psql('postgres', $write);
		is(differs($_), '', "$what is written to") for $reader, $changer, undef;
	}
}
close_sessions();

# ---- What has nothing to do with a projection costs it nothing.

$node->safe_psql('postgres', $world . view_of('u.name') . $create);
$node->safe_psql('postgres', 'SELECT differs()') for 1 .. 2;
my $count = q(SELECT invalidations FROM rolecall.stat_projection WHERE projection = 'p');
my $before = $node->safe_psql('postgres', $count);
$node->safe_psql('postgres', $_) for 'ALTER TABLE app.unrelated ADD COLUMN x int', 'CREATE VIEW app.also AS SELECT id FROM app.users', 'DROP VIEW app.also',
  'CREATE TABLE app.more (id serial PRIMARY KEY, user_id bigint)', 'DROP TABLE app.more', 'CREATE TEMP TABLE t (id int)', 'CREATE INDEX ON app.users (name)', 'VACUUM FULL app.users',
  'BEGIN; SAVEPOINT s; ' . f_returns('v2') . '; ROLLBACK TO s; COMMIT', 'GRANT SELECT ON app.unrelated TO grp', 'CREATE ROLE someone ROLE grp', 'DROP ROLE someone';
is($node->safe_psql('postgres', $count), $before, 'no document was made unusable');
$node->safe_psql('postgres', 'ALTER TABLE app.users ADD COLUMN more int');
is($node->safe_psql('postgres', q(SELECT invalidations, invalidated_by FROM rolecall.stat_projection WHERE projection = 'p')), ($before + 1) . '|ALTER TABLE', 'one that does is counted');
$node->safe_psql('postgres', f_returns('v2'));
is($node->safe_psql('postgres', q(SELECT invalidations, invalidated_by FROM rolecall.stat_projection WHERE projection = 'p')), ($before + 2) . '|CREATE FUNCTION', '... and one that may');

# ---- Each guard, switched off

my %by_name = map { $_->{name} => $_ } @cases;
for my $fault (
	[ 18, 'a function is replaced', 'after it was read' ],
	[ 30, 'a policy is altered', 'in a transaction whose snapshot is older' ],
	[ 31, 'a function is replaced', 'after it was read' ],
	[ 32, 'a function comes to read a table', 'after it was read' ],
	[ 33, 'a function is replaced', 'prepared, and committed by another' ],
	[ 35, 'a policy is altered', 'in a savepoint that is released' ],
  )
{
	my ($number, $case, $moment) = @$fault;
	set_fault($node, $number);
	open_sessions();
	my @wrong = wrong($by_name{$case}, $moment);
	cmp_ok(scalar(@wrong), '>', 0, "seeded fault $number is caught: $case, $moment") and note(@wrong);
	close_sessions();
	set_fault($node, 0);
}
$node->safe_psql('postgres', $world . view_of('app.f(u.id)') . $create);
$node->safe_psql('postgres', 'SELECT differs()') for 1 .. 2;
set_fault($node, 34);
isnt($node->safe_psql('postgres', 'SELECT differs(); BEGIN; ' . f_returns('v2') . '; SELECT differs(); ROLLBACK'), "\n", q(seeded fault 34 is caught: the session's own change));
set_fault($node, 0);
$node->stop;

done_testing();
