# What comes about later to a projection that was exact: its view is read as it is, or it is a problem that check_projections()
# names. The cases of sql/exactness.sql that need roles, sessions or a later server are here too.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('exactness', "autovacuum = off\n");
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
$node->safe_psql('postgres', 'CREATE ROLE app_owner; CREATE ROLE grp; CREATE ROLE somebody');

my $world = <<'SQL';
SET client_min_messages = error;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app CASCADE;
REVOKE grp FROM app_owner;
CREATE EXTENSION rolecall;
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO PUBLIC;
CREATE TABLE app.users (id bigint PRIMARY KEY, name text, new_id bigint);
INSERT INTO app.users VALUES (1, 'ada', 1001), (2, 'bob', 1002);
CREATE TABLE app.allowed (user_id bigint PRIMARY KEY); INSERT INTO app.allowed VALUES (1), (2);
CREATE TABLE app.teams (id int PRIMARY KEY, name text, other_id int); INSERT INTO app.teams VALUES (1, 'red', 2), (2, 'blue', 1);
CREATE TABLE app.members (user_id bigint, team_id int, second_id int); INSERT INTO app.members VALUES (1, 1, 2), (2, 2, 1);
CREATE FUNCTION app.tenant() RETURNS text STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN current_setting('app.tenant', true); END $$;
CREATE VIEW app.v AS SELECT id AS uid, jsonb_build_object('n', name) AS doc FROM app.users;
CREATE VIEW app.teams_of AS SELECT u.id AS uid, jsonb_build_object('n', u.name, 'teams', (SELECT jsonb_agg(t.name ORDER BY t.name)
    FROM app.members m JOIN app.teams t ON t.id = m.team_id WHERE m.user_id = u.id)) AS doc FROM app.users u;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO app_owner;
ALTER VIEW app.v OWNER TO app_owner; ALTER VIEW app.teams_of OWNER TO app_owner;
SQL
my $create = q(SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id"}'));
my $create_teams = q(SELECT rolecall.create_projection('p', 'app.teams_of', 'uid', 'doc',
	watches => '{"app.users": "id", "app.members": "user_id", "app.teams": {"lookup": "id", "referencing": {"app.members": "team_id"}}}'));

sub begin_world { my ($more) = @_; $node->safe_psql('postgres', $world . ($more // '')); return; }

# Is it, in a session of its own, what its view says to the view's owner?
sub is_right {
	my ($what, %more) = @_;
	my $view = $more{view} // 'app.v';
	my $set = $more{set} // 'SET TimeZone = UTC';
	is($node->safe_psql('postgres', "$set; SELECT coalesce(rolecall.project('p', g::text)::text, '-') FROM generate_series(1, 3) g"),
		$node->safe_psql('postgres', "SET ROLE app_owner; $set; SELECT coalesce((SELECT doc FROM $view WHERE uid = g)::text, '-') FROM generate_series(1, 3) g"), $what)
	  for 1 .. 2;
	return;
}

sub problems { return $node->safe_psql('postgres', 'SELECT problem FROM rolecall.check_projections()'); }
sub is_lasting { return $node->safe_psql('postgres', q(SELECT bool_or(lasting) FROM rolecall.projection_problems('p'))) eq 't'; }

sub is_hit {
	return $node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'); SELECT rolecall.project('p', '1'); SELECT hits FROM rolecall.stat_cache;
		SELECT rolecall.project('p', '1'); SELECT hits FROM rolecall.stat_cache)) =~ /^(\d+)\n[^\n]*\n(\d+)$/m && $2 > $1;
}

# ---- Policies

for my $case (
	[ 'a policy for a group that the owner joins', q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON app.users USING (true);
		CREATE POLICY tenant ON app.users AS RESTRICTIVE TO grp USING (name = current_setting('app.tenant', true))), 'GRANT grp TO app_owner', 'function current_setting is not immutable' ],
	[ 'a policy that calls a function', q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON app.users USING (true)),
		q(CREATE POLICY tenant ON app.users AS RESTRICTIVE USING (name = app.tenant())), 'function tenant is not immutable' ],
	[ 'a policy that is altered', q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY tenant ON app.users USING (name <> '')),
		q(ALTER POLICY tenant ON app.users USING (name = current_setting('app.tenant', true) AND current_user = 'app_owner')), 'the view is not exact' ],
	[ 'row security of the owner of the table', q(ALTER TABLE app.users OWNER TO app_owner; ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
		CREATE POLICY tenant ON app.users USING (name = current_setting('app.tenant', true))), 'ALTER TABLE app.users FORCE ROW LEVEL SECURITY', 'function current_setting is not immutable' ])
{
	my ($what, $before, $change, $problem) = @$case;
	begin_world("$before; $create");
	is(problems(), '', "in order before: $what");
	is_right("... and right");
	$node->safe_psql('postgres', $change);
	like(problems(), qr/\Q$problem\E/, "$what: a problem");
	ok(is_lasting(), '... that lasts');
	is_right("... what one session asked for", set => q(SET app.tenant = 'ada'));
	is_right("... is not shown to another", set => q(SET app.tenant = 'bob'));
	ok(!is_hit(), '... since nothing is cached');
}
begin_world(q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY tenant ON app.users USING (name = current_setting('app.tenant', true))));
like(error_of($node, $create), qr/42P17: .*\n.*function current_setting is not immutable/, 'refused where it is there before');

# Rights on what a policy reads: where the view is an error, so is the document.
my $few = q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON app.users USING (EXISTS (SELECT FROM app.allowed a WHERE a.user_id = id)));
my $create_few = q(SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id", "app.allowed": "user_id"}'));
for my $case (
	[ 'REVOKE SELECT ON app.allowed FROM app_owner', 'permission denied for table allowed' ],
	[ 'REVOKE SELECT ON app.users FROM app_owner', 'permission denied for table users' ],
	[ 'REVOKE ALL ON SCHEMA app FROM PUBLIC', 'permission denied for schema app' ])
{
	my ($revoke, $why) = @$case;
	begin_world("$few; $revoke");
	like(error_of($node, $create_few), qr/ERROR:  42501: (?:documents of view app.v cannot be read\nDETAIL:  In the way: )?\Q$why\E/, "refused after $revoke");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.projections WHERE name = 'p')), '0', '... and not made');
	begin_world("$few; $create_few");
	is_right("right before $revoke");
	$node->safe_psql('postgres', $revoke);
	like(error_of($node, q(SELECT rolecall.project('p', '4'))), qr/ERROR:  42501: \Q$why\E/, '... and an error after it');
}

# ---- Types

begin_world(q(CREATE TYPE app.addr AS (street text); ALTER TABLE app.users ADD COLUMN a app.addr; UPDATE app.users SET a = ROW('s');
	CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object('a', a, 'b', ARRAY[a]) AS doc FROM app.users;) . $create);
is_right('a composite type');
$node->safe_psql('postgres', 'ALTER TYPE app.addr ADD ATTRIBUTE who regrole; UPDATE app.users SET a.who = 10');
like(problems(), qr/the text of type regrole depends on more than its value/, 'an attribute whose text depends on a catalog is a problem');
ok(is_lasting(), '... that lasts');

begin_world(q(CREATE TYPE app.mood AS ENUM ('calm'); ALTER TABLE app.users ADD COLUMN m app.mood DEFAULT 'calm';
	CREATE FUNCTION app.j(app.mood) RETURNS json STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN to_json(current_setting('app.tenant', true)); END $$;
	CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object('m', m) AS doc FROM app.users;) . $create);
is_right('an enum');
$node->safe_psql('postgres', 'CREATE CAST (app.mood AS json) WITH FUNCTION app.j(app.mood)');
like(problems(), qr/function j is not immutable/, 'a cast that comes later is a problem');
ok(is_lasting(), '... that lasts');

begin_world($create);
$node->safe_psql('postgres', 'ALTER TABLE app.users ADD COLUMN who regrole DEFAULT 10; CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object(\'w\', who) AS doc FROM app.users');
like(problems(), qr/the text of type regrole/, 'a view that is replaced by one with such a type');
is_right('... is read');

# ---- Row marks, windows

begin_world($create);
$node->safe_psql('postgres', 'CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object(\'n\', name) AS doc FROM app.users FOR SHARE');
like(problems(), qr/it locks rows/, 'a view that locks rows by now');
ok(is_lasting(), '... for ever');
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/ERROR:  0A000: SELECT FOR SHARE is not allowed/, '... is an error');

begin_world($create);
$node->safe_psql('postgres', 'CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object(\'n\', name) AS doc, NULL::timestamptz AS valid_until FROM app.users');
like(problems(), qr/columns "valid_from" and "valid_until" must both be there/, 'half a window');
is_right('... is read');
begin_world(q(CREATE TABLE app.grants (id bigint PRIMARY KEY, until timestamp); INSERT INTO app.grants VALUES (1, '2100-01-01'); GRANT SELECT ON app.grants TO app_owner;
	CREATE VIEW app.g AS SELECT id AS uid, to_jsonb(until) AS doc, NULL::timestamp AS valid_from, until AS valid_until FROM app.grants; ALTER VIEW app.g OWNER TO app_owner));
my $windows = q{SELECT rolecall.create_projection('p', 'app.g', 'uid', 'doc', watches => '{"app.grants": "id"}'};
like(error_of($node, "$windows)"), qr/42P17: .*\n.*of type timestamp with time zone/, 'a window in local time is refused');
$node->safe_psql('postgres', "$windows, ttl => '1 hour')");
is_right('with a ttl it counts for nothing', view => 'app.g');
is_right('... in any time zone', view => 'app.g', set => q(SET TimeZone = 'Asia/Tokyo'));

# ---- Columns that change places

my %swap = (
	watch => [ $create, 'app.v', 'app.users', 'id', 'new_id', q(UPDATE app.users SET name = name || '+') ],
	lookup => [ $create_teams, 'app.teams_of', 'app.teams', 'id', 'other_id', q(UPDATE app.teams SET name = name || '+') ],
	reference => [ $create_teams, 'app.teams_of', 'app.members', 'team_id', 'second_id', q(UPDATE app.teams SET name = name || '+') ]);
for my $of (sort keys %swap) {
	my ($made, $view, $table, $column, $other, $write) = @{ $swap{$of} };
	my @renames = ("ALTER TABLE $table RENAME COLUMN $column TO gone", "ALTER TABLE $table RENAME COLUMN $other TO $column");
	for my $how ('at once', 'one after the other', 'only one') {
		begin_world($made);
		is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1') IS NOT NULL; SELECT count(*) FROM rolecall.check_projections())), "t\n0", "the column of a $of changes places, $how");
		if ($how eq 'at once') { $node->safe_psql('postgres', join('; ', 'BEGIN', @renames, $write, 'COMMIT')); }
		else { $node->safe_psql('postgres', $_) for $how eq 'only one' ? $renames[0] : @renames; }
		is(problems(), qq(column "$column" of $table is called "gone" now), '... a problem');
		is_right('... and right', view => $view);
		$node->safe_psql('postgres', $write);
		is_right('... and after a write', view => $view);
		is($node->safe_psql('postgres', 'SELECT repair FROM rolecall.check_projections()'), q(SELECT rolecall.repair_projection('p')), '... with its repair');
		$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('p')));
		is(problems(), '', '... that repairs it');
		ok(is_hit(), '... and it is cached');
		$node->safe_psql('postgres', $write);
		is_right('... and right after a write', view => $view);
	}
}

# Two columns by which one table is watched change places with each other.
begin_world(q(CREATE TABLE app.friends (a bigint, b bigint, note text); INSERT INTO app.friends VALUES (1, 2, 'x'); GRANT SELECT ON app.friends TO app_owner;
	CREATE VIEW app.f AS SELECT u.id AS uid, jsonb_agg(f.note) AS doc FROM app.users u LEFT JOIN app.friends f ON u.id IN (f.a, f.b) GROUP BY u.id; ALTER VIEW app.f OWNER TO app_owner;
	SELECT rolecall.create_projection('p', 'app.f', 'uid', 'doc', watches => '{"app.users": "id", "app.friends": "a"}'); SELECT rolecall.watch('p', 'app.friends', 'b')));
$node->safe_psql('postgres', 'ALTER TABLE app.friends RENAME COLUMN a TO c; ALTER TABLE app.friends RENAME COLUMN b TO a; ALTER TABLE app.friends RENAME COLUMN c TO b');
is(() = problems() =~ /is called/g, 2, 'two columns that change places are two problems');
$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('p')));
is($node->safe_psql('postgres', q(SELECT key_column, key_number FROM rolecall.watches WHERE projection = 'p' AND relation = 'app.friends'::regclass ORDER BY key_number)), "b|1\na|2", '... and followed');
is(problems(), '', '... in order');
is_right('... and right', view => 'app.f');
$node->safe_psql('postgres', q(UPDATE app.friends SET note = 'y'));
is_right('... after a write', view => 'app.f');

# A column that is gone cannot be followed.
begin_world($create_teams =~ s/"team_id"/"second_id"/r);
$node->safe_psql('postgres', 'ALTER TABLE app.members DROP COLUMN second_id');
is($node->safe_psql('postgres', 'SELECT problem, repair FROM rolecall.check_projections()'),
	q(column "second_id" of app.members was dropped|SELECT rolecall.unwatch('p', 'app.teams'), then watch it by another column), 'a column that was dropped');

# Tables that no view reads are watched, and dropped.
for my $gone (qw(teams members)) {
	begin_world("DROP VIEW app.teams_of; " . ($create =~ s/"id"/"id", "app.members": "user_id", "app.teams": {"lookup": "id", "referencing": {"app.members": "team_id"}}/r));
	$node->safe_psql('postgres', "DROP TABLE app.$gone");
	like(problems(), qr/^a watched relation was dropped$/m, "$gone are dropped");
	is_right('... and right');
	$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('p')));
	is($node->safe_psql('postgres', q(SELECT repair FROM rolecall.check_projections())), $gone eq 'teams' ? '' : q(SELECT rolecall.unwatch('p', 'app.teams'), then watch it by another column), '... and repaired');
}

# A dump has the numbers of another database: a restore has its own.
$node->safe_psql('postgres', 'CREATE DATABASE copy');
begin_world(q(ALTER TABLE app.users DROP COLUMN new_id; ALTER TABLE app.users ADD COLUMN first int; ALTER TABLE app.users ADD COLUMN person bigint; UPDATE app.users SET person = id;
	CREATE OR REPLACE VIEW app.v AS SELECT person AS uid, jsonb_build_object('n', name) AS doc FROM app.users;) . ($create =~ s/"id"/"person"/r));
my $dump = "$PostgreSQL::Test::Utils::tmp_check/exactness.sql";
$node->run_log([ 'pg_dump', '-f', $dump, 'postgres' ]);
$node->run_log([ 'psql', '-Xq', '-d', 'copy', '-f', $dump ]);
is($node->safe_psql($_, q(SELECT key_column, key_number FROM rolecall.watches WHERE projection = 'p')), $_ eq 'copy' ? 'person|4' : 'person|5', "the number of a column in $_") for 'postgres', 'copy';
is($node->safe_psql('copy', 'SELECT count(*) FROM rolecall.check_projections()'), '0', '... in order');

# ---- Temporary children

for my $case ([ 'a table', 'app.users', $create, 'app.v' ], [ 'a lookup', 'app.teams', $create_teams, 'app.teams_of' ], [ 'a child', 'app.more_users', "CREATE TABLE app.more_users () INHERITS (app.users); $create", 'app.v' ]) {
	my ($what, $table, $made, $view) = @$case;
	begin_world($made);
	my $session = session($node);
	$session->query_safe("CREATE TEMP TABLE c () INHERITS ($table)");
	like($session->query_safe('SELECT problem FROM rolecall.check_projections()'), qr/^pg_temp_\d+\.c is a temporary table$/, "a temporary child of $what is a problem in its session");
	is(problems(), '', '... in no other');
	ok(is_hit(), '... where documents are cached');
	$session->query_safe(q(INSERT INTO c (id, name) VALUES (3, 'temp')));
	is($session->query_safe(q(SELECT rolecall.project('p', '3') IS NOT DISTINCT FROM ) . "(SELECT doc FROM $view WHERE uid = 3)"), 't', '... and what only this session sees is read');
	is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '3') IS NULL)), 't', '... and shown to nobody else');
	$session->query_safe('DROP TABLE c');
	is($session->query_safe('SELECT problem FROM rolecall.check_projections()'), '', '... until it is dropped');
	$session->quit;
}

# ---- What later servers have

if ($major >= 16) {
	for my $case (
		[ 16, q(JSON_OBJECT('a': id, 'n': name RETURNING jsonb)) ],
		[ 16, q(to_jsonb(JSON_ARRAY(id, name) IS JSON ARRAY)) ],
		[ 16, q((SELECT JSON_ARRAYAGG(t.name ORDER BY t.name RETURNING jsonb) FROM app.teams t)), teams => 1 ],
		[ 16, q(JSON_OBJECT('w': 10::oid::regrole RETURNING jsonb)), refused => 'regrole' ],
		[ 17, q(JSON_QUERY(to_jsonb(name), '$')) ],
		[ 17, q(to_jsonb(JSON_VALUE(jsonb_build_object('a', id), '$.a' RETURNING int))) ],
		[ 17, q((SELECT jsonb_agg(j ORDER BY j.i) FROM JSON_TABLE('[{"a": 1}, {"a": 2}]'::jsonb, '$[*]' COLUMNS (i FOR ORDINALITY, a int PATH '$.a', NESTED PATH '$.b' COLUMNS (c text PATH '$'))) j)) ],
		[ 17, q(to_jsonb(JSON_VALUE('"now"'::jsonb, '$' RETURNING timestamptz))), refused => 'a value of type timestamp with time zone depends on more than its text' ],
		[ 17, q((SELECT to_jsonb(j.a) FROM JSON_TABLE('"now"'::jsonb, '$' COLUMNS (a timestamptz PATH '$')) j)), refused => 'a value of type timestamp with time zone' ])
	{
		my ($from, $doc, %more) = @$case;
		next if $major < $from;
		begin_world("DROP VIEW app.v; CREATE VIEW app.v AS SELECT id AS uid, $doc AS doc FROM app.users; ALTER VIEW app.v OWNER TO app_owner");
		my $statement = $more{teams} ? $create =~ s/"id"/"id", "app.teams": null/r : $create;
		if ($more{refused}) { like(error_of($node, $statement), qr/42P17: .*\n.*\Q$more{refused}\E/, "refused: $doc"); next; }
		$node->safe_psql('postgres', $statement);
		is_right("admitted: $doc");
		ok(is_hit(), '... and cached');
	}
}
if ($major >= 18) {
	begin_world("ALTER TABLE app.users ADD COLUMN twice bigint GENERATED ALWAYS AS (id * 2) VIRTUAL; CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, jsonb_build_object('t', twice) AS doc FROM app.users; $create");
	is_right('a virtual column');
	ok(is_hit(), '... is cached');
	$node->safe_psql('postgres', 'UPDATE app.users SET id = id + 1 WHERE id = 2');
	is_right('... and right');
	begin_world('ALTER TABLE app.users OWNER TO somebody; ALTER TABLE app.users ADD COLUMN twice bigint GENERATED ALWAYS AS (id * 2) VIRTUAL');
	like(error_of($node, $create), qr/42501: .*\n.*a virtual column of app.users belongs to role somebody/, 'a virtual column of somebody else');
}

$node->stop;

done_testing();
