# A projection does not run other people's code with more rights than they have: it is refused, or, where that comes about
# later, a lasting problem and an error for every reader. The code says in the log that it ran, as whom.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('projection_safety', "autovacuum = off\nrolecall.seeded_fault = 0\n");
create_points($node);
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);

# "owner" has the view; "friend" has its rights, "lesser" has not; "admin" is a superuser.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE owner; CREATE ROLE friend IN ROLE owner; CREATE ROLE lesser LOGIN; CREATE ROLE admin SUPERUSER;
SQL

my $world = <<'SQL';
SET client_min_messages = error;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app, evil CASCADE;
GRANT owner TO friend; ALTER ROLE admin SUPERUSER;
CREATE EXTENSION rolecall;
CREATE SCHEMA app; CREATE SCHEMA evil AUTHORIZATION lesser;
GRANT ALL ON SCHEMA app, evil TO PUBLIC;
SET ROLE lesser;
CREATE FUNCTION evil.run(anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RAISE LOG 'evil % as %', 'code ran', current_user; RETURN $1; END $$;
CREATE FUNCTION evil.one(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN evil.run(i); END $$;
CREATE FUNCTION evil.two(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN evil.run(a); END $$;
CREATE FUNCTION evil.yes(a int, b int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN evil.run(true); END $$;
CREATE FUNCTION evil.definer(i int) RETURNS int IMMUTABLE SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN RETURN evil.run(i); END $$;
CREATE OPERATOR evil.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.yes);
CREATE AGGREGATE evil.total(int) (SFUNC = evil.two, STYPE = int, INITCOND = 0);
CREATE AGGREGATE evil.final(int) (SFUNC = int4pl, STYPE = int, INITCOND = 0, FINALFUNC = evil.one);
CREATE TYPE evil.mood AS ENUM ('calm');
CREATE FUNCTION evil.to_json(evil.mood) RETURNS json IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN to_json(evil.one(1)); END $$;
CREATE CAST (evil.mood AS json) WITH FUNCTION evil.to_json(evil.mood);
CREATE DOMAIN evil.checked AS int CHECK (evil.one(VALUE) > 0);
CREATE DOMAIN evil.harmless AS int CHECK (VALUE > 0);
CREATE TABLE evil.t (id int PRIMARY KEY, name text); INSERT INTO evil.t VALUES (1, 'one'), (2, 'two');
CREATE VIEW evil.v AS SELECT id, name FROM evil.t;
CREATE TABLE evil.policed (id int PRIMARY KEY, name text); INSERT INTO evil.policed VALUES (1, 'one');
ALTER TABLE evil.policed ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON evil.policed USING (evil.one(id) > 0);
CREATE TABLE evil.indexed (id int PRIMARY KEY, name text); INSERT INTO evil.indexed VALUES (1, 'one');
CREATE INDEX ON evil.indexed ((evil.one(1)));
CREATE TABLE evil.constrained (id int PRIMARY KEY, name text, CHECK (evil.one(1) > 0)); INSERT INTO evil.constrained VALUES (1, 'one');
CREATE TABLE evil.counted (id int PRIMARY KEY, name text); INSERT INTO evil.counted VALUES (1, 'one');
CREATE STATISTICS evil.statistics ON (evil.one(1)), id FROM evil.counted;
GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
RESET ROLE;
CREATE TABLE app.t (id int PRIMARY KEY, name text); INSERT INTO app.t VALUES (1, 'one'), (2, 'two');
CREATE TABLE app.parent (id int PRIMARY KEY, name text) PARTITION BY LIST (id);
CREATE TABLE app.child PARTITION OF app.parent FOR VALUES IN (1); INSERT INTO app.parent VALUES (1, 'one');
ALTER TABLE app.child OWNER TO lesser;
CREATE FUNCTION app.mine(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i; END';
CREATE FUNCTION app.with_default(i int, j int DEFAULT evil.one(1)) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i; END';
CREATE FUNCTION app.in_sql(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT evil.one(i)';
CREATE FUNCTION app.rows_in_sql(i int) RETURNS SETOF int IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT evil.one(i) FROM generate_series(1, 1); END;
CREATE FUNCTION app.inner_sql(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT app.in_sql(i)';
CREATE FUNCTION app.of_friend(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i; END';
CREATE FUNCTION app.of_admin(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i; END';
CREATE VIEW app.inner_view AS SELECT id, name FROM app.t;
ALTER FUNCTION app.of_friend(int) OWNER TO friend; ALTER FUNCTION app.of_admin(int) OWNER TO admin;
ALTER TABLE app.t OWNER TO owner; ALTER VIEW app.inner_view OWNER TO owner;
SQL

sub log_position { return -s $node->logfile; }
# What ran as somebody else than its author.
sub evil_since { my ($position) = @_; return slurp_file($node->logfile, $position) =~ /(evil code ran as (?!lesser)\w+)/ ? $1 : ''; }

# Statements that make a view of an owner's, and a projection of it.
sub statements {
	my ($owner, $doc, $source, %more) = @_;
	my $watches = $more{watches} // ($source =~ /^(?:app|evil)\.\w+/ && $source !~ /view|evil\.v\b/ ? qq({"$&": "id"}) : '{"app.t": "id"}');
	my $ttl = $more{ttl} ? ", ttl => '1 hour'" : '';
	return "CREATE VIEW app.v AS SELECT id AS uid, $doc AS doc FROM $source; ALTER VIEW app.v OWNER TO $owner; "
	  . "SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '$watches'$ttl)";
}

# ---- Refused when it is made

$node->safe_psql('postgres', $world);
my $position = log_position();
$node->safe_psql('postgres', q(SELECT evil.one(1)));
is(evil_since($position), 'evil code ran as postgres', 'the log shows when that code runs');

for my $case (
	# A superuser's view
	[ postgres => 'to_jsonb(name)', 'evil.t', 'relation evil.t' ],
	[ postgres => 'to_jsonb(name)', 'evil.v', 'view evil.v' ],
	[ postgres => 'to_jsonb(name)', 'app.parent', 'relation app.child' ],
	[ postgres => 'to_jsonb(evil.one(id))', 'app.t', 'relation app.t belongs to role owner' ],
	[ postgres => 'to_jsonb(evil.one(id))', '(SELECT 1 AS id) x', 'function evil.one(integer)' ],
	[ postgres => 'to_jsonb(app.of_friend(id))', '(SELECT 1 AS id) x', 'function app.of_friend(integer) belongs to role friend' ],
	[ postgres => 'to_jsonb(name)', 'evil.policed', 'relation evil.policed' ],

	# An ordinary role's
	[ owner => 'to_jsonb(evil.one(id))', 'app.t', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(evil.definer(id))', 'app.t', 'function evil.definer(integer)' ],
	[ owner => 'to_jsonb(name)', 'evil.v', 'view evil.v' ],
	[ owner => 'to_jsonb(id OPERATOR(evil.===) 1)', 'app.t', 'function evil.yes(integer,integer)' ],
	[ owner => 'to_jsonb(name)', '(SELECT * FROM app.t WHERE id OPERATOR(evil.===) ANY (ARRAY[1])) x', 'function evil.yes(integer,integer)' ],
	[ owner => 'to_jsonb(evil.total(id))', 'app.t GROUP BY id', 'evil.' ],
	[ owner => 'to_jsonb(evil.final(id))', 'app.t GROUP BY id', 'evil.' ],
	[ owner => q(to_jsonb(name || 'calm'::evil.mood::text) || to_jsonb('calm'::evil.mood)), 'app.t', 'function evil.to_json(evil.mood)' ],
	[ owner => q(jsonb_build_object('a', ARRAY[ROW('calm'::evil.mood, id)])), 'app.t', 'function evil.to_json(evil.mood)' ],
	[ owner => 'to_jsonb(id::evil.checked)', 'app.t', 'evil.' ],
	[ owner => 'to_jsonb(id::evil.harmless)', 'app.t', 'domain evil.harmless' ],
	[ owner => q(to_jsonb(('{' || id || '}')::evil.harmless[])), 'app.t', 'domain evil.harmless' ],
	[ owner => 'to_jsonb(name)', 'evil.policed', 'the row security of evil.policed' ],
	[ owner => 'to_jsonb(name)', 'evil.indexed', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(name)', 'evil.constrained', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(name)', 'evil.counted', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(app.with_default(id))', 'app.t', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(app.in_sql(id))', 'app.t', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(app.inner_sql(id))', 'app.t', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(f)', 'app.t, app.rows_in_sql(id) f', 'function evil.one(integer)', watches => '{"app.t": "id"}' ],
	[ owner => 'to_jsonb(name)', '(SELECT id, max(name) OVER (ORDER BY evil.one(id)) AS name FROM app.t) x', 'function evil.one(integer)' ],
	[ owner => 'to_jsonb(name)', '(SELECT * FROM app.t ORDER BY id LIMIT evil.one(1)) x', 'function evil.one(integer)' ],

	# With a ttl nothing need be exact, but all of it safe, and what is not known is not.
	[ owner => 'to_jsonb(evil.one(id))', 'app.t', 'function evil.one(integer)', ttl => 1 ],
	[ postgres => 'to_jsonb(name)', 'evil.t', 'relation evil.t', ttl => 1 ],
	[ owner => 'to_jsonb(name)', 'evil.policed', 'the row security of evil.policed', ttl => 1 ])
{
	my ($owner, $doc, $source, $found, %more) = @$case;
	my $what = "$owner: $doc FROM $source" . ($more{ttl} ? ', with a ttl' : '');
	$position = log_position();
	my $error = error_of($node, 'BEGIN; ' . statements($owner, $doc, $source, %more));
	like($error, qr/ERROR:  42501: projection "p" would run code with more rights than its owner has\n/, "refused: $what");
	like($error, qr/DETAIL:  In the way: [^\n]*\Q$found\E/, '... and named');
	like($error, qr/which does not have the rights of role $owner\./, '... with its role');
	is(evil_since($position), '', '... and nothing of it ran');
}

# What is safe is not refused.
for my $case (
	[ owner => 'to_jsonb(app.mine(id) + app.of_friend(id) + app.of_admin(id))', 'app.t' ],
	[ owner => 'to_jsonb(name)', 'app.inner_view' ],
	[ owner => 'to_jsonb(name)', 'evil.t' ],
	[ friend => 'to_jsonb(name)', 'evil.t' ],
	[ owner => 'to_jsonb(name)', 'app.parent', grant => 'GRANT SELECT ON app.parent TO owner' ],
	[ lesser => 'to_jsonb(evil.one(id))', 'evil.policed' ],
	[ postgres => 'to_jsonb(app.mine(id) + app.of_admin(id))', '(SELECT 1 AS id) x', watches => '{}' ])
{
	my ($owner, $doc, $source, %more) = @$case;
	is($node->psql('postgres', 'BEGIN; ' . ($more{grant} // '') . ';' . statements($owner, $doc, $source, %more) . q(; SELECT rolecall.project('p', '1'); SELECT 1 / count(*) FROM rolecall.projections WHERE name = 'p'; ROLLBACK), on_error_stop => 1), 0,
		"admitted: $owner: $doc FROM $source");
}

# ---- It comes about later

my $as_lesser = 'SET ROLE lesser; ';
for my $case (
	[ 'a view behind is replaced by its owner', 'to_jsonb(name)', 'app.inner_view',
		'SET ROLE owner; CREATE OR REPLACE VIEW app.inner_view AS SELECT evil.one(id) AS id, name FROM app.t', 'function evil.one(integer)', 1 ],
	[ 'the view is replaced', 'to_jsonb(name)', 'app.t', 'CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, to_jsonb(evil.one(id)) AS doc FROM app.t', 'function evil.one(integer)', 1 ],
	[ 'the owner of a view behind changes', 'to_jsonb(name)', 'app.inner_view', 'ALTER VIEW app.inner_view OWNER TO lesser', 'view app.inner_view', 1 ],
	[ 'the owner of the view is a superuser now', 'to_jsonb(app.of_friend(id))', 'app.t', 'ALTER VIEW app.v OWNER TO postgres', 'relation app.t belongs to role owner', 1 ],
	[ 'the owner of a function changes', 'to_jsonb(app.mine(id))', 'app.t', "ALTER FUNCTION app.mine(int) OWNER TO lesser; $as_lesser"
		  . 'CREATE OR REPLACE FUNCTION app.mine(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN evil.one(i); END $$', 'function app.mine(integer)', 0 ],
	[ 'a function in SQL is replaced', 'to_jsonb(app.mine(id))', 'app.t', 'CREATE OR REPLACE FUNCTION app.mine(i int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT evil.one(i) $$', 'function evil.one(integer)', 0 ],
	[ 'an owner loses the membership', 'to_jsonb(app.of_friend(id))', 'app.t', 'REVOKE owner FROM friend', 'function app.of_friend(integer) belongs to role friend', 0 ],
	[ 'an owner is no superuser any more', 'to_jsonb(app.of_admin(id))', 'app.t', 'ALTER ROLE admin NOSUPERUSER', 'function app.of_admin(integer) belongs to role admin', 0 ],
	[ 'a table gets a policy of its owner', 'to_jsonb(name)', 'evil.t', "$as_lesser ALTER TABLE evil.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON evil.t USING (evil.one(id) > 0)", 'the row security of evil.t', 1 ],
	[ 'a table gets a policy without functions', 'to_jsonb(name)', 'evil.t', "$as_lesser ALTER TABLE evil.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON evil.t USING (id > 0)", 'the row security of evil.t', 1 ],
	[ 'a table gets an index by a function', 'to_jsonb(name)', 'evil.t', "$as_lesser CREATE INDEX ON evil.t ((evil.one(1)))", 'function evil.one(integer)', 1 ],
	[ 'a table gets a constraint with a function', 'to_jsonb(name)', 'evil.t', "$as_lesser ALTER TABLE evil.t ADD CHECK (evil.one(1) > 0)", 'function evil.one(integer)', 1 ],
	[ 'a type gets a cast', 'to_jsonb(m)', 'evil.feels', "$as_lesser CREATE CAST (evil.feeling AS json) WITH FUNCTION evil.feeling_to_json(evil.feeling)", 'function evil.feeling_to_json(evil.feeling)', 0,
		"$as_lesser CREATE TYPE evil.feeling AS ENUM ('calm'); CREATE TABLE evil.feels (id int PRIMARY KEY, m evil.feeling); INSERT INTO evil.feels VALUES (1, 'calm'); GRANT SELECT ON evil.feels TO PUBLIC;
		 CREATE FUNCTION evil.feeling_to_json(evil.feeling) RETURNS json IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN to_json(evil.one(1)); END \$\$; RESET ROLE" ],
	[ 'a table becomes a view', 'to_jsonb(name)', 'evil.turns', <<'SQL', 'view evil.turns', 1, 'SET ROLE lesser; CREATE TABLE evil.turns (id int, name text); GRANT SELECT ON evil.turns TO PUBLIC; RESET ROLE' ],
SET ROLE lesser;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON evil.turns', tgname), '; ') FROM pg_trigger WHERE tgrelid = 'evil.turns'::regclass); END $$;
VACUUM evil.turns;  -- sees that it has none
CREATE RULE "_RETURN" AS ON SELECT TO evil.turns DO INSTEAD SELECT evil.one(id) AS id, name FROM evil.t;
SQL
	[ 'a table is another by its name', 'to_jsonb(name)', 'evil.t', "$as_lesser ALTER TABLE evil.t RENAME TO old; CREATE VIEW evil.t AS SELECT evil.one(id) AS id, name FROM evil.old; GRANT SELECT ON evil.t TO PUBLIC", '', 1 ])
{
	my ($what, $doc, $source, $change, $found, $known, $setup) = @$case;
	next if $what eq 'a table becomes a view' and $major > 15;
	$node->safe_psql('postgres', $world);
	$node->safe_psql('postgres', $setup) if $setup;
	$node->safe_psql('postgres', statements('owner', $doc, $source));
	$node->safe_psql('postgres', q(SELECT rolecall.project('p', '1')));
	is($node->safe_psql('postgres', 'SELECT * FROM rolecall.check_projections()'), '', "in order before $what");
	my $session = session($node);
	$session->query_safe(q(SELECT rolecall.project('p', '1'))) for 1 .. 2;
	$position = log_position();
	is($node->psql('postgres', $change, on_error_stop => 1), 0, "later: $what");

	if ($found eq '') {
		is($node->psql('postgres', q(SELECT rolecall.project('p', '1'), rolecall.project('p', '2'))), 0, '... and the view reads what it read');
		is(evil_since($position), '', '... and nothing of the other ran');
		$session->quit;
		next;
	}
	# Another key each, which nobody has read.
	like(error_of($node, q(SELECT rolecall.project('p', '2'))), qr/ERROR:  42501: projection "p" would run code.*\nDETAIL:  In the way: \Q$found\E/, '... reads raise an error');
	if ($known) {
		$session->query(q(SELECT rolecall.project('p', '2')));
		like($session->{stderr}, qr/would run code with more rights/, '... in a session that knew it before, too');
	}
	like(error_of($node, q(SELECT rolecall.project_json('p', '2'))), qr/42501: projection "p" would run code/, '... and as text');
	like(error_of($node, q(SELECT * FROM rolecall.project_many('p', '{3,4}'))), qr/42501: projection "p" would run code/, '... and many');
	like($node->safe_psql('postgres', 'SELECT problem, repair FROM rolecall.check_projections()'), qr/^\Q$found\E.*\|let one role own/m, '... a problem');
	is($node->safe_psql('postgres', q(SELECT bool_or(lasting) FROM rolecall.projection_problems('p'))), 't', '... that lasts');
	is(evil_since($position), '', '... and nothing of it ran');
	$session->quit;
}

# ---- A projection named me, its search by address, and what loads all

$node->safe_psql('postgres', $world);
$node->safe_psql('postgres', q(CREATE VIEW app.me AS SELECT id AS uid, to_jsonb(name) AS doc, name AS email FROM app.t; ALTER VIEW app.me OWNER TO owner;
	SELECT rolecall.create_projection('me', 'app.me', 'uid', 'doc', watches => '{"app.t": "id"}')));
is($node->safe_psql('postgres', q(SELECT rolecall.me_by_email('one'))), '"one"', 'by address');
$node->safe_psql('postgres', 'CREATE OR REPLACE VIEW app.me AS SELECT id AS uid, to_jsonb(evil.one(id)) AS doc, name AS email FROM app.t');
$position = log_position();
for my $read (q(me_by_email('one')), 'me(1)', q(has_role(1, 'x')), 'auth_projection(1)', 'me_json(1)') {
	like(error_of($node, "SELECT rolecall.$read"), qr/42501: projection "me" would run code/, "$read is an error");
}
$node->safe_psql('postgres', q(SELECT rolecall.reload('me')));
$node->poll_query_until('postgres', q(SELECT phase IN ('failed', 'not cached') FROM rolecall.stat_progress WHERE projection = 'me'), 't') or die;
like($node->safe_psql('postgres', q(SELECT message FROM rolecall.stat_progress WHERE projection = 'me')), qr/function evil.one\(integer\) belongs to role lesser/, 'what loads all says why it does not');
$node->safe_psql('postgres', q(UPDATE rolecall.projections SET ttl = '1 hour' WHERE name = 'me'; SELECT rolecall.reload('me')));
$node->poll_query_until('postgres', q(SELECT message LIKE '%would run code%' FROM rolecall.stat_progress WHERE projection = 'me'), 't') or die;
like(error_of($node, 'SELECT rolecall.me(1)'), qr/42501: projection "me" would run code/, 'with a ttl likewise');
like($node->safe_psql('postgres', 'SELECT problem FROM rolecall.check_projections()'), qr/^function evil.one\(integer\) belongs to role lesser[^\n]*$/, '... and it is a problem then, the only one');
is(evil_since($position), '', '... and nothing of it ran');
$node->safe_psql('postgres', q(SELECT rolecall.drop_projection('me')));

# ---- No moment between looking and running

$node->safe_psql('postgres', $world);
$node->safe_psql('postgres', statements('owner', 'to_jsonb(name)', 'evil.t'));
my $reader = session($node, 'rolecall.debug_points' => 'on');
$reader->query_safe(q(SELECT rolecall.project('p', '1')));    # it knows the definition, and holds no lock
hold($node, 'before-query');
begin_query($reader, q(SELECT rolecall.project('p', '2')));
wait_at($node, 'before-query');
like(error_of($node, "$as_lesser BEGIN; LOCK TABLE evil.t IN ACCESS EXCLUSIVE MODE NOWAIT"), qr/55P03: could not obtain lock/, 'what was found to be safe is locked until it was read');
like(error_of($node, 'SET ROLE owner; BEGIN; LOCK TABLE app.v IN ACCESS EXCLUSIVE MODE NOWAIT'), qr/55P03: could not obtain lock/, '... the view as well');
release($node, 'before-query');
like(finish_query($reader), qr/"two"/, '... and read');
$reader->quit;

# A change that commits while the definition is about to be verified is seen.
$reader = session($node, 'rolecall.debug_points' => 'on');
$reader->query_safe(q(SELECT rolecall.project('p', '1')));
$node->safe_psql('postgres', q(SELECT rolecall.invalidate('p', '2')));
hold($node, 'before-definition');
begin_query($reader, q(SELECT rolecall.project('p', '2')));
wait_at($node, 'before-definition');
$position = log_position();
$node->safe_psql('postgres', "$as_lesser ALTER TABLE evil.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON evil.t USING (evil.one(id) > 0)");
release($node, 'before-definition');
finish_query($reader);
like($reader->{stderr}, qr/would run code with more rights/, 'a change that came first is seen');
is(evil_since($position), '', '... and nothing of it ran');
$reader->quit;

# The built-in projection is safe.
is($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.projection_problems('me'))), '0', 'the built-in me has no problem');

$node->stop;

done_testing();
