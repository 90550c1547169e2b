# Rights: what a projection shows to whom, while rights, views and names change under it; and how far the rights reach
# with which its queries run.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('access');
create_extension($node);
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query); }
sub fails { my ($query, $error, $what) = @_; return like(error_of($node, $query), $error, $what); }

sql(<<'SQL');
CREATE ROLE app_owner;
CREATE ROLE view_owner;
CREATE ROLE app_admins;
CREATE ROLE web;
CREATE ROLE stranger;
GRANT CREATE ON DATABASE postgres TO app_owner;
CREATE SCHEMA app AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA app TO view_owner, web;
GRANT USAGE ON SCHEMA rolecall TO web, stranger;
GRANT EXECUTE ON FUNCTION rolecall.project(name, text), rolecall.project_many(name, text[]) TO web, stranger;
SET ROLE app_owner;
CREATE TABLE app.users (id int PRIMARY KEY, email text NOT NULL, team int);
CREATE TABLE app.teams (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO app.teams VALUES (1, 'one'), (2, 'two');
INSERT INTO app.users SELECT g, 'user' || g || '@example.org', 1 + g % 2 FROM generate_series(1, 9) g;
GRANT SELECT ON app.users, app.teams TO view_owner;
CREATE VIEW app.profile AS
SELECT u.id AS uid, jsonb_build_object('email', u.email, 'team', t.name) AS doc FROM app.users u JOIN app.teams t ON t.id = u.team;
RESET ROLE;
ALTER VIEW app.profile OWNER TO view_owner;
GRANT SELECT ON app.profile TO web;
CREATE FUNCTION test.watches() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"app.users": "id", "app.teams": {"lookup": "id", "referencing": {"app.users": "team"}}}'::jsonb $$;
SELECT rolecall.create_projection('profile', 'app.profile', 'uid', 'doc', watches => test.watches());
CREATE FUNCTION test.cached(key text, projection name DEFAULT 'profile') RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT c.cached AND c.usable FROM rolecall.cache_entry(projection, key) c';
SQL
my $as_web = q(SET ROLE web; SELECT rolecall.project('profile', '1') ->> 'email');

# ---- Who may ask: SELECT on the view, as it is now

is(sql($as_web), 'user1@example.org', 'with SELECT on the view');
is(sql(q(SELECT test.cached('1'))), 't', '... which is cached now');
fails(q(SET ROLE stranger; SELECT rolecall.project('profile', '1')), qr/42501: permission denied for view profile/, 'without it, though it is cached');
fails(q(SET ROLE stranger; SELECT * FROM rolecall.project_many('profile', '{1}')), qr/42501: permission denied for view profile/, '... nor many');
my $asking = session($node, 'rolecall.debug_points' => 'on');
$asking->query_safe('SET ROLE web; BEGIN');
is($asking->query_safe(q(SELECT rolecall.project('profile', '1') ->> 'email')), 'user1@example.org', 'a transaction that stays open');
sql('REVOKE SELECT ON app.profile FROM web');
$asking->query(q(SELECT rolecall.project('profile', '1')));
like($asking->{stderr}, qr/permission denied for view profile/, '... may not ask any more once the right is revoked');
$asking->{stderr} = '';
$asking->query('ROLLBACK');
sql('GRANT SELECT ON app.profile TO web');

# The right that counts is the one on the view that answers: also when the projection is made anew in between.
sql(<<'SQL');
CREATE VIEW app.secret AS SELECT id AS uid, jsonb_build_object('email', 'secret') AS doc FROM app.users;
ALTER VIEW app.secret OWNER TO view_owner;
SQL
$asking->query_safe('BEGIN');
is($asking->query_safe(q(SELECT rolecall.project('profile', '1') ->> 'email')), 'user1@example.org', 'a definition that is known');
hold($node, 'before-definition');
begin_query($asking, q(SELECT rolecall.project('profile', '999')));
wait_at($node, 'before-definition');
sql(q(UPDATE rolecall.projections SET view = 'app.secret' WHERE name = 'profile'));
release($node, 'before-definition');
finish_query($asking);
like($asking->{stderr}, qr/permission denied for view secret/, '... and replaced by one over another view, while it is asked');
$asking->{stderr} = '';
$asking->query('ROLLBACK');
sql(q(UPDATE rolecall.projections SET view = 'app.profile' WHERE name = 'profile'));
is($asking->query_safe(q(SELECT rolecall.project('profile', '1') ->> 'email')), 'user1@example.org', '... and back');

# ---- The view's owner: its rights are what the documents are read with

sub read_one { return sql($as_web) }
read_one();
is(sql(q(SELECT test.cached('1'))), 't', 'cached while the owner may read the tables');
for my $case (
	[ 'REVOKE SELECT ON app.users FROM view_owner', 'GRANT SELECT ON app.users TO view_owner', 'a right on a table' ],
	[ 'REVOKE SELECT ON ALL TABLES IN SCHEMA app FROM view_owner', 'GRANT SELECT ON app.users, app.teams, app.profile TO view_owner', 'rights on all tables' ],
	[ 'DROP OWNED BY app_admins', 'GRANT SELECT ON app.users TO view_owner', 'all that a role was granted',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO app_admins; GRANT app_admins TO view_owner' ],
	[ 'REVOKE app_admins FROM view_owner', 'GRANT SELECT ON app.users TO view_owner', 'a membership',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO app_admins; GRANT app_admins TO view_owner' ],
	[ 'ALTER GROUP app_admins DROP USER view_owner', 'GRANT SELECT ON app.users TO view_owner', 'a membership of a group',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO app_admins; ALTER GROUP app_admins ADD USER view_owner' ],
	[ 'REVOKE SELECT ON app.users FROM app_admins', 'GRANT SELECT ON app.users TO view_owner', 'a right of a role that it is a member of',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO app_admins; GRANT app_admins TO view_owner' ],
	[ 'REVOKE SELECT ON app.users FROM PUBLIC', 'GRANT SELECT ON app.users TO view_owner', 'a right of everybody',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO PUBLIC' ],
	[ 'DROP ROLE between', 'GRANT SELECT ON app.users TO view_owner; REVOKE SELECT ON app.users FROM app_admins', 'the role between',
		'REVOKE app_admins FROM view_owner; REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO app_admins; CREATE ROLE between IN ROLE app_admins; GRANT between TO view_owner' ],
	[ 'ALTER DATABASE postgres OWNER TO CURRENT_USER', 'REVOKE SELECT ON app.users FROM pg_database_owner; GRANT SELECT ON app.users TO view_owner', 'the database',
		'REVOKE SELECT ON app.users FROM view_owner; GRANT SELECT ON app.users TO pg_database_owner; ALTER DATABASE postgres OWNER TO view_owner' ],
	[ 'ALTER ROLE view_owner NOSUPERUSER', 'ALTER ROLE app_owner NOSUPERUSER; GRANT SELECT ON app.users TO view_owner', 'being superuser',
		'REVOKE SELECT ON app.users FROM view_owner; ALTER ROLE view_owner SUPERUSER; ALTER ROLE app_owner SUPERUSER' ],
  ) {
	my ($revoke, $grant, $what, $setup) = @$case;
	sql($setup) if $setup;
	read_one();
	is(sql(q(SELECT test.cached('1'))), 't', "$what, lost by the view's owner: cached before");
	# The error of the view itself, when it is asked by itself, is the measure.
	sql($revoke);
	fails('SET ROLE web; SELECT doc FROM app.profile WHERE uid = 1', qr/42501: permission denied for (table|view)/, '... the view is denied');
	fails($as_web, qr/42501: permission denied for (table|view)/, '... and so is its document');
	sql($grant);
	is(read_one(), 'user1@example.org', '... until it is granted again');
	read_one();
	is(sql(q(SELECT test.cached('1'))), 't', '... and cached');
}
# A transaction that revokes, and one that began before
my $revoking = session($node);
$revoking->query_safe('BEGIN; REVOKE SELECT ON app.users FROM view_owner');
is(read_one(), 'user1@example.org', 'a right that is being revoked');
$revoking->query_safe('ROLLBACK');
is(read_one(), 'user1@example.org', '... and was not');
$asking->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$asking->query_safe(q(SELECT rolecall.project('profile', '1')));
sql('REVOKE SELECT ON app.users FROM view_owner');
$asking->query(q(SELECT rolecall.project('profile', '1')));
like($asking->{stderr}, qr/permission denied for table users/, 'rights are those of now, whatever the snapshot');
$asking->{stderr} = '';
$asking->query('ROLLBACK');
sql('GRANT SELECT ON app.users TO view_owner');
# Roles and databases are everybody's: what is changed in another database, committed, and not yet told to this one
sql('REVOKE SELECT ON app.users FROM view_owner');
sql('CREATE DATABASE elsewhere');
my $elsewhere = $node->background_psql('elsewhere', on_error_stop => 0);
$elsewhere->query_safe('SET rolecall.debug_points = on');
$elsewhere->query_safe('SET event_triggers = off') if $node->pg_version->major >= 17;
for my $case (
	[ 6, 'a database that is given away', 'GRANT SELECT ON app.users TO pg_database_owner; ALTER DATABASE postgres OWNER TO view_owner',
		'REASSIGN OWNED BY view_owner TO app_admins', 'REVOKE SELECT ON app.users FROM pg_database_owner; ALTER DATABASE postgres OWNER TO CURRENT_USER' ],
	[ 7, 'a membership that is revoked', 'GRANT SELECT ON app.users TO app_admins; GRANT app_admins TO view_owner',
		'REVOKE app_admins FROM view_owner', 'REVOKE SELECT ON app.users FROM app_admins' ],
  ) {
	my ($user, $what, $setup, $change, $cleanup) = @$case;
	sql($setup);
	$revoking->query_safe(q(SELECT rolecall.project('profile', '1')));
	hold($node, 'between-proc-array-and-invalidations');
	begin_query($elsewhere, $change);
	wait_at($node, 'between-proc-array-and-invalidations');
	is($revoking->query_safe(qq(SELECT rolecall.project('profile', '$user') ->> 'email')), "user$user\@example.org", "$what elsewhere still counts ...");
	release($node, 'between-proc-array-and-invalidations');
	finish_query($elsewhere);
	fails(qq(SELECT rolecall.project('profile', '$user')), qr/permission denied for table users/, '... and leaves nothing cached');
	sql($cleanup);
}
$elsewhere->quit;
sql('DROP DATABASE elsewhere');
sql('GRANT SELECT ON app.users TO view_owner');
# Functions
sql(<<'SQL');
CREATE FUNCTION app.shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1) || random() * 0';
ALTER FUNCTION app.shout(text) VOLATILE;
CREATE OR REPLACE FUNCTION app.shout(text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp IMMUTABLE AS 'BEGIN RETURN upper($1); END';
CREATE VIEW app.loud AS SELECT id AS uid, to_jsonb(app.shout(email)) AS doc FROM app.users;
ALTER VIEW app.loud OWNER TO view_owner;
SELECT rolecall.create_projection('loud', 'app.loud', 'uid', 'doc', watches => '{"app.users": "id"}');
SQL
is(sql(q(SELECT rolecall.project('loud', '1'))), '"USER1@EXAMPLE.ORG"', 'a function in the view');
is(sql(q(SELECT test.cached('1', 'loud'))), 't', '... is cached');
sql('REVOKE EXECUTE ON FUNCTION app.shout(text) FROM PUBLIC');
fails(q(SELECT rolecall.project('loud', '1')), qr/42501: permission denied for function shout/, "... until the view's owner may not call it");
sql('GRANT EXECUTE ON FUNCTION app.shout(text) TO view_owner');
is(sql(q(SELECT rolecall.project('loud', '1'))), '"USER1@EXAMPLE.ORG"', '... or may again');
# What changes nothing for the view's owner leaves everything in place.
read_one();
for my $unrelated ('GRANT SELECT ON app.profile TO stranger', 'GRANT SELECT ON app.users TO web', 'CREATE TABLE app.other (); GRANT SELECT ON app.other TO web; REVOKE SELECT ON app.other FROM web',
	'REVOKE SELECT ON app.users FROM web', 'GRANT app_admins TO web', 'REVOKE app_admins FROM web', 'CREATE ROLE passing IN ROLE app_admins; DROP ROLE passing', q(ALTER ROLE view_owner PASSWORD 'x'), 'ALTER ROLE web CREATEDB') {
	sql($unrelated);
	is(sql(q(SELECT test.cached('1'))), 't', "cached after $unrelated");
}
sql('REVOKE SELECT ON app.profile FROM stranger; REVOKE SELECT ON app.users FROM web');

# ---- Security-invoker views: what they return depends on who asks

sql(<<'SQL');
CREATE VIEW app.invoker WITH (security_invoker = true) AS SELECT id AS uid, to_jsonb(email) AS doc FROM app.users;
ALTER VIEW app.invoker OWNER TO view_owner;
GRANT SELECT ON app.invoker TO web;
SQL
fails('SET ROLE web; SELECT * FROM app.invoker', qr/42501: permission denied for table users/, 'a security-invoker view');
for my $ttl ('NULL', q('1 hour')) {
	fails(qq(SELECT rolecall.create_projection('invoker', 'app.invoker', 'uid', 'doc', ttl => $ttl, strict => false, watches => '{"app.users": "id"}')),
		qr/42809: app.invoker is a security-invoker view/, "... is refused, ttl $ttl");
}
is(read_one(), 'user1@example.org', 'another that becomes one');
sql('ALTER VIEW app.profile SET (security_invoker = true)');
fails($as_web, qr/42809: app.profile is a security-invoker view/, '... answers nobody any more');
sql('ALTER VIEW app.profile RESET (security_invoker)');
is(read_one(), 'user1@example.org', '... until it is none');
sql(<<'SQL');
CREATE VIEW app.over_invoker AS SELECT uid, doc FROM app.invoker;
ALTER VIEW app.over_invoker OWNER TO view_owner;
GRANT SELECT ON app.over_invoker TO web;
GRANT SELECT ON app.invoker TO view_owner;
SQL
fails('SET ROLE web; SELECT doc FROM app.over_invoker WHERE uid = 1', qr/42501: permission denied for table users/, 'behind another view it asks who asks as well');
fails(q(SELECT rolecall.create_projection('over', 'app.over_invoker', 'uid', 'doc', ttl => '1 hour')), qr/42809: app.invoker is a security-invoker view/, '... and is refused');

# ---- Row-level security on the tables behind the view, the view's owner subject to it

# Policies run with the rights of the view's owner, which the tables' owner must have.
sql(<<'SQL');
GRANT view_owner TO app_owner;
SET ROLE app_owner;
ALTER TABLE app.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON app.users TO view_owner USING (id < 5);
SQL
is(read_one(), 'user1@example.org', 'a row that the policy shows to the owner of the view');
is(sql(q(SELECT rolecall.project('profile', '7') IS NULL, rolecall.project('profile', '7') IS NULL, test.cached('7'))), 't|t|t', '... and one that it hides, from superusers too');
sql('SET ROLE app_owner; ALTER POLICY visible ON app.users USING (id < 8)');
is(sql(q(SELECT rolecall.project('profile', '7') ->> 'email')), 'user7@example.org', '... is seen when the policy is another');
# A role that the owner of the view becomes a member of brings policies along.
for my $case ([ 'ROLE view_owner', 'that it is made for' ], [ 'ADMIN view_owner', 'whose administrator it is' ]) {
	my ($clause, $what) = @$case;
	sql('SET ROLE app_owner; CREATE POLICY more ON app.users TO app_admins USING (id = 9)');
	is(sql(q(SELECT rolecall.project('profile', '9') IS NULL, rolecall.project('profile', '9') IS NULL, test.cached('9'))), 't|t|t', "a policy of a role, before one $what");
	sql("CREATE ROLE passing IN ROLE app_admins $clause");
	is(sql(q(SELECT rolecall.project('profile', '9') ->> 'email')), 'user9@example.org', '... and after');
	sql('DROP ROLE passing');
	is(sql(q(SELECT rolecall.project('profile', '9'))), '', '... and when that is gone');
	sql('SET ROLE app_owner; DROP POLICY more ON app.users');
}
# 001-4: a hidden row of the key counts among its groups: what hides it may be the group.
sql(<<'SQL');
SET ROLE app_owner;
ALTER TABLE app.teams ADD open boolean NOT NULL DEFAULT true;
ALTER TABLE app.users FORCE ROW LEVEL SECURITY;
ALTER POLICY visible ON app.users TO PUBLIC USING (EXISTS (SELECT FROM app.teams t WHERE t.id = team AND t.open));
UPDATE app.teams SET open = false WHERE id = 2;
SQL
is(sql(q(SELECT rolecall.project('profile', '1') IS NULL, rolecall.project('profile', '1') IS NULL, test.cached('1'))), 't|t|t', 'a policy that asks a lookup');
sql('UPDATE app.teams SET open = true WHERE id = 2');
is(read_one(), 'user1@example.org', '... which changes');
is(sql(q(SELECT problem FROM rolecall.check_projections() WHERE projection = 'profile')), '', '... and is in order');
# What depends on who asks is no document for everybody.
sql(q(SET ROLE app_owner; ALTER POLICY visible ON app.users USING (email = current_setting('app.email', true) OR current_user = 'view_owner')));
is(sql(q(SELECT rolecall.project('profile', '1') ->> 'email', test.cached('1'))), 'user1@example.org|f', 'a policy that asks the session: not cached, and asked as the owner of the view');
like(sql(q(SELECT problem FROM rolecall.check_projections() WHERE projection = 'profile')), qr/the view is not exact/, '... which the check says');
sql(q(SET ROLE app_owner; ALTER POLICY visible ON app.users USING (true)));
sql('SET ROLE app_owner; ALTER TABLE app.users NO FORCE ROW LEVEL SECURITY; ALTER TABLE app.users DISABLE ROW LEVEL SECURITY; DROP POLICY visible ON app.users');
sql('REVOKE view_owner FROM app_owner');
is(read_one(), 'user1@example.org', 'no policy');

# ---- Names: whoever may create in the view's schema, or rename it, cannot put something else in its place

sub evil {
	my ($role, $schema, $view) = @_;
	return <<"SQL";
CREATE TABLE $schema.caught AS SELECT ''::name AS who LIMIT 0;
GRANT INSERT, SELECT ON $schema.caught TO PUBLIC;
GRANT USAGE ON SCHEMA $schema TO PUBLIC;
CREATE FUNCTION $schema.evil() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp VOLATILE AS \$\$ BEGIN INSERT INTO $schema.caught VALUES (current_user); RETURN 'evil'; END \$\$;
CREATE FUNCTION $schema.evil_wrapper() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp IMMUTABLE AS \$\$ BEGIN RETURN $schema.evil(); END \$\$;
CREATE VIEW $schema.$view AS SELECT g AS uid, g AS id, g AS team, to_jsonb($schema.evil_wrapper()) AS doc FROM generate_series(1, 9) g;
GRANT SELECT ON $schema.$view TO PUBLIC;
SQL
}
# The schema is renamed, and another takes its name, while a session knows the definition.
$asking->query_safe('RESET ROLE');
$asking->query_safe(q(SELECT rolecall.project('profile', '2')));
sql('SET ROLE app_owner; BEGIN; ALTER SCHEMA app RENAME TO old_app; CREATE SCHEMA app AUTHORIZATION app_owner; ' . evil('app_owner', 'app', 'profile') . 'COMMIT');
is($asking->query_safe(q(SELECT rolecall.project('profile', '2') ->> 'email')), 'user2@example.org', 'a schema that was renamed: the view is still the same');
is($asking->query_safe(q(SELECT rolecall.project('profile', '3') ->> 'email')), 'user3@example.org', '... for what was not cached too');
is(sql('SELECT count(*) FROM app.caught'), '0', '... and the one that took its name was never asked');
sql('DROP SCHEMA app CASCADE; ALTER SCHEMA old_app RENAME TO app');
is($asking->query_safe(q(SELECT rolecall.project('profile', '3') ->> 'email')), 'user3@example.org', '... and renamed back');

# The same between the reading of the definition and the query.
hold($node, 'before-query');
begin_query($asking, q(SELECT rolecall.project('profile', '4')));
wait_at($node, 'before-query');
sql('SET ROLE app_owner; BEGIN; ALTER SCHEMA app RENAME TO old_app; CREATE SCHEMA app AUTHORIZATION app_owner; ' . evil('app_owner', 'app', 'profile') . 'COMMIT');
release($node, 'before-query');
my $answer = finish_query($asking);
like("$answer$asking->{stderr}", qr/user4\@example.org|projection "profile" was changed while it was read/, 'a schema that is renamed meanwhile: the view that was locked, or an error');
$asking->{stderr} = '';
is(sql('SELECT count(*) FROM app.caught'), '0', '... nothing ran that is not of the view');
sql('DROP SCHEMA app CASCADE; ALTER SCHEMA old_app RENAME TO app');
is($asking->query_safe(q(SELECT rolecall.project('profile', '4') ->> 'email')), 'user4@example.org', '... and the next read finds it');

# A table behind the view, which documents refer from: its rows are read with the rights of its owner only.
sql(<<'SQL');
CREATE TABLE app.memberships (user_id int, team int);
ALTER TABLE app.memberships OWNER TO app_owner;
SELECT rolecall.watch('profile', 'app.memberships', 'user_id');
SELECT rolecall.unwatch('profile', 'app.teams');
SELECT rolecall.watch_lookup('profile', 'app.teams', 'id', '{"app.users": "team", "app.memberships": "team"}');
SQL
$asking->query_safe(q(SELECT rolecall.project('profile', '5')));
is(sql(q(SELECT test.cached('5'))), 't', 'a table that only a watch names');
hold($node, 'before-query');
begin_query($asking, q(SELECT rolecall.project('profile', '6')));
wait_at($node, 'before-query');
sql('SET ROLE app_owner; BEGIN; ALTER TABLE app.memberships RENAME TO old_memberships; ' . evil('app_owner', 'app', 'memberships') =~ s/g AS id, g AS team/g AS user_id, length(app.evil_wrapper()) AS team/r . 'COMMIT');
release($node, 'before-query');
finish_query($asking);
is(sql('SELECT count(*) FROM app.caught'), '0', '... and that is replaced by a view meanwhile: that is not asked');
$asking->{stderr} = '';
sql('DROP VIEW app.memberships; ALTER TABLE app.old_memberships RENAME TO memberships');
# An index of its owner's runs what it likes when a query of the table is planned.
sql(<<'SQL');
SET ROLE app_owner;
CREATE FUNCTION app.folded(int) RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp IMMUTABLE AS $$ BEGIN RAISE LOG 'folded as %', current_user; RETURN $1; END $$;
CREATE INDEX folded ON app.memberships ((team + app.folded(1)));
SQL
my $before = -s $node->logfile;
is(sql(q(SELECT rolecall.project('profile', '8') ->> 'email')), 'user8@example.org', 'a function that planning calls');
my $log = substr(slurp_file($node->logfile), $before);
like($log, qr/folded as app_owner/, '... is called');
unlike($log, qr/folded as (?!app_owner)/, '... as nobody but the owner of the table');
# Tables of several owners, with keys of several types: documents belong to the groups that any of them names.
sql(<<'SQL');
DROP INDEX app.folded;  -- its function is app_owner's
CREATE ROLE other_owner;
GRANT USAGE ON SCHEMA app TO other_owner;
ALTER TABLE app.memberships ALTER user_id TYPE bigint, OWNER TO other_owner;
CREATE TABLE app.guests (user_id smallint, team int);
ALTER TABLE app.guests OWNER TO other_owner;
SELECT rolecall.watch('profile', 'app.guests', 'user_id');
SELECT rolecall.unwatch('profile', 'app.teams');
SELECT rolecall.watch_lookup('profile', 'app.teams', 'id', '{"app.users": "team", "app.memberships": "team", "app.guests": "team"}');
INSERT INTO app.teams SELECT g, 'team ' || g FROM generate_series(3, 5) g;
INSERT INTO app.memberships VALUES (9, 3);
INSERT INTO app.guests VALUES (9, 4);
SQL
for my $case ([ 2, 'f', "their users' table" ], [ 3, 'f', 'one of another owner, with wider keys' ], [ 4, 'f', 'another of that owner, with narrower ones' ], [ 5, 't', 'none' ]) {
	my ($team, $expected, $what) = @$case;
	sql(q(SELECT rolecall.project('profile', '9')));
	is(sql(q(SELECT test.cached('9'))), 't', "a group that $what names: cached");
	sql("UPDATE app.teams SET name = name || '!' WHERE id = $team");
	is(sql(q(SELECT test.cached('9'))), $expected, '... and changed');
}
$_->quit for $asking, $revoking;
$node->stop;

done_testing();
