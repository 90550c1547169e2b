# Beside Citus: a projection over tables that it manages is refused, or serves nothing from the cache; a worker that has no
# directory of its own says so; what conversions do to tables and views can be repaired, or dropped.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Citus;
use Rolecall::Test;

my $node = new_node('citus', "autovacuum = off\n");
install_citus($node);
create_extension($node);
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query); }
sql('CREATE ROLE app_owner; CREATE ROLE somebody; CREATE EXTENSION citus');

my $world = <<'SQL';
DELETE FROM pg_dist_partition;
SELECT rolecall.drop_projection(name) FROM rolecall.projections WHERE NOT builtin;
DROP SCHEMA IF EXISTS app CASCADE;
CREATE SCHEMA app;
CREATE TABLE app.tenants (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO app.tenants VALUES (1, 'one'), (2, 'two');
CREATE TABLE app.users (id int PRIMARY KEY, tenant int NOT NULL, name text NOT NULL);
INSERT INTO app.users SELECT g, 1 + g % 2, 'user ' || g FROM generate_series(1, 5) g;
CREATE VIEW app.view AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'tenant', (SELECT t.name FROM app.tenants t WHERE t.id = u.tenant)) AS doc FROM app.users u;
CREATE FUNCTION app.differs(projection name DEFAULT 'p') RETURNS boolean LANGUAGE sql VOLATILE AS
$$ SELECT count(*) > 0 FROM generate_series(1, 5) g LEFT JOIN app.view v ON v.uid = g WHERE rolecall.project(projection, g::text) IS DISTINCT FROM v.doc $$;
CREATE FUNCTION app.hit(projection name DEFAULT 'p') RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project(projection, '1');
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) > before;
END $$;
SQL
my $watches = q('{"app.users": "id", "app.tenants": {"lookup": "id", "referencing": {"app.users": "tenant"}}}');
my $create = "SELECT rolecall.create_projection('p', 'app.view', 'uid', 'doc', watches => $watches)";
my $problems = 'SELECT problem FROM rolecall.check_projections() ORDER BY 1';
my $triggers = q(SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'rolecall\_%' AND tgrelid::regclass::text LIKE 'app.%' AND NOT tgisinternal);
my %managed = (
	'a distributed table' => q(SELECT create_distributed_table('app.users', 'id')),
	'a reference table' => q(SELECT create_reference_table('app.tenants')),
	'a schema' => q(SELECT citus_schema_distribute('app')),
	'a local table with metadata' => q(SELECT citus.manage('app.users', 'n', 's', 0)));

# Where Citus manages nothing, all is as ever.
sql("$world $create");
is(sql($problems), '', 'installed: all is in order');
is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", '... and cached');
is(sql('SELECT rolecall.me(1) IS NOT NULL; SELECT rolecall.me(999) IS NULL'), "t\nt", '... on the coordinator');

for my $kind (sort keys %managed) {
	# At creation
	sql("$world $managed{$kind}");
	like(error_of($node, $create), qr/42P17: documents of view app.view cannot be kept exact.*DETAIL:  In the way: .*app\.\w+ is managed by Citus/s, "$kind: refused");
	like(error_of($node, $create =~ s/watches =>/strict => false, watches =>/r), qr/42P17: /, '... and if it need not be strict');
	is(sql($triggers), '0', '... before any table gets a trigger');
	like(error_of($node, $create =~ s/watches =>/ttl => '1 hour', watches =>/r), qr/42809: relation app\.\w+ cannot be watched/, '... nor watched');
	sql(q(SELECT rolecall.create_projection('p', 'app.view', 'uid', 'doc', ttl => '1 hour')));
	is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", '... but with a ttl');

	# Later, in sessions that have read it
	sql("$world $create");
	my $reader = session($node);
	my $open = session($node);
	is($reader->query_safe('SELECT app.differs(); SELECT app.hit()'), "f\nt", "$kind: cached before");
	$open->query_safe('BEGIN');
	is($open->query_safe('SELECT app.hit()'), 't', '... and read in a transaction that stays open');
	sql($managed{$kind});
	# A row of a shard changes: no trigger here fires.
	sql(q(SET session_replication_role = replica; ALTER TABLE app.users DISABLE TRIGGER ALL; ALTER TABLE app.tenants DISABLE TRIGGER ALL;
		UPDATE app.users SET name = 'changed'; UPDATE app.tenants SET name = 'changed';
		ALTER TABLE app.users ENABLE TRIGGER ALL; ALTER TABLE app.tenants ENABLE TRIGGER ALL));
	is($_->query_safe('SELECT app.differs()'), 'f', '... right afterwards') for $open, $reader;
	is($_->query_safe('SELECT app.hit()'), 'f', '... and not from the cache') for $open, $reader;
	like(sql($problems), qr/app\.\w+ is managed by Citus/, '... as check_projections() says');
	like(sql(q(SELECT reason FROM rolecall.cache_entry('p', '1'))), qr/managed by Citus|not in place/, '... and cache_entry()');
	$_->quit for $reader, $open;

	# Repair does what it can, and dropping goes through where Citus lets no trigger be dropped.
	my $err = '';
	sql(q(ALTER EVENT TRIGGER citus_drop_trigger DISABLE; DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass), '; ')
		FROM pg_trigger WHERE tgname LIKE 'rolecall\_%\_truncate' AND tgrelid IN ('app.users'::regclass, 'app.tenants'::regclass)); END $$; ALTER EVENT TRIGGER citus_drop_trigger ENABLE));
	sql(q(SELECT rolecall.repair_projection('p')));
	like(sql($problems), qr/app\.\w+ is managed by Citus/, "$kind: repaired as far as can be");
	is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nf", '... right, and not from the cache');
	$node->psql('postgres', q(SELECT rolecall.drop_projection('p')), stderr => \$err, on_error_die => 1);
	if ($kind eq 'a local table with metadata') { is($err, '', '... and dropped, with its triggers') }
	else { like($err, qr/WARNING:  trigger "rolecall_\w+" on table app\.\w+ could not be dropped\nDETAIL:  triggers are not supported on distributed tables/, '... and dropped, but for triggers') }
	is(sql(q(SELECT count(*) FROM rolecall.projections WHERE name = 'p')), '0', '... it is gone');
	is(sql('UPDATE app.users SET name = name; SELECT count(*) FROM app.view'), '5', '... and what is left of it does no harm');
	my $left = sql($triggers);
	is(sql(q(SELECT count(*) FROM rolecall.check_projections() WHERE problem LIKE 'trigger "rolecall%" is of no projection of this database')), $left, '... and is listed');
	# Citus lets go of the tables.
	sql('DELETE FROM pg_dist_partition');
	sql($_) for split /\n/, sql(q(SELECT repair FROM rolecall.check_projections() WHERE projection IS NULL));
	is(sql($triggers) . sql($problems), '0', '... until it is dropped as the list says');
	sql($create);
	is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", '... and the tables can be watched again');
}

# A table becomes a shard and a shell takes its name; the view is made anew over the shell.
sql("$world $create");
my $reader = session($node);
is($reader->query_safe('SELECT app.differs(); SELECT app.hit()'), "f\nt", 'a conversion: cached before');
sql(q(SELECT citus_add_local_table_to_metadata('app.tenants')));
is($reader->query_safe('SELECT app.differs()'), 'f', '... the view is found by its name');
is($reader->query_safe('SELECT app.hit()'), 'f', '... and nothing is cached');
is(sql(q(SELECT rolecall.project('p', '1'))), '{"name": "user 1", "tenant": null}', '... it is the new one');
like(sql($problems), qr/app.tenants is managed by Citus.*view app.view was dropped and made anew/s, '... as check_projections() says');
sql(q(SELECT rolecall.repair_projection('p')));
unlike(sql($problems), qr/made anew/, '... repaired: the view is that one now');
is(sql(q(SELECT view = 'app.view'::regclass FROM rolecall.projections WHERE name = 'p')), 't', '... in its row');
is(sql(q(SELECT app.differs(); SELECT app.hit(); SELECT rolecall.drop_projection('p');)), "f\nf\n", '... and it can be dropped');
is(sql($triggers), 2, '... with its triggers, but for those of the shell');
$reader->quit;

# Only the view is made anew: everybody's me() goes on.
sql("$world " . $create =~ s/'p'/'me'/r);
my $caller = session($node);
is($caller->query_safe(q(SELECT app.differs('me'); SELECT app.hit('me'))), "f\nt", 'a view is made anew: cached before');
my $view = q(app.view AS SELECT u.id AS uid, jsonb_build_object('name', upper(u.name)) AS doc FROM app.users u);
sql("BEGIN; DROP VIEW app.view; CREATE VIEW $view; COMMIT");
is($caller->query_safe(q(SELECT rolecall.me(1); SELECT app.differs('me'); SELECT app.hit('me'))), qq({"name": "USER 1"}\nf\nf), '... right afterwards, and not from the cache');
is(sql($problems), 'view app.view was dropped and made anew', '... as check_projections() says');
sql('CREATE OR REPLACE VIEW ' . $view =~ s/upper/lower/r);
is($caller->query_safe(q(SELECT rolecall.me(1); SELECT app.differs('me'); SELECT app.hit('me'))), qq({"name": "user 1"}\nf\nf), '... right when it changes');
sql(q(SELECT rolecall.repair_projection('me')));
is(sql($problems), '', '... repaired: all is in order');
is($caller->query_safe(q(SELECT app.differs('me'); SELECT app.hit('me'))), "f\nt", '... and cached');
sql("CREATE OR REPLACE VIEW $view");
is($caller->query_safe(q(SELECT rolecall.me(1); SELECT app.differs('me'))), qq({"name": "USER 1"}\nf), '... and right when it changes again');
$caller->quit;

# A table comes back from being distributed, as another table without triggers.
sql("$world $create");
sql(q(ALTER VIEW app.view OWNER TO app_owner; GRANT USAGE ON SCHEMA app TO app_owner; GRANT SELECT ON ALL TABLES IN SCHEMA app TO app_owner; SELECT rolecall.repair_projection('p')));
is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", 'back again: cached before');
sql(q(SELECT create_distributed_table('app.users', 'id'); SELECT undistribute_table('app.users'); GRANT SELECT ON app.users TO app_owner));
is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nf", '... right afterwards, and not from the cache');
is(sql(q(UPDATE app.users SET name = 'x' WHERE id = 1; SELECT rolecall.project('p', '1') ->> 'name')), 'x', '... and after a write');
like(sql($problems), qr/a watched relation was dropped.*view app.view was dropped and made anew/s, '... as check_projections() says');
sql(q(SELECT rolecall.repair_projection('p')));
like(sql($problems), qr/app.users is not watched/, '... repaired: the table is another, which is to be watched');
sql(q(SELECT rolecall.unwatch('p', 'app.tenants'); SELECT rolecall.watch('p', 'app.users', 'id'); SELECT rolecall.watch_lookup('p', 'app.tenants', 'id', '{"app.users": "tenant"}')));
is(sql($problems), '', '... and is');
is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", '... and cached');
is(sql(q(UPDATE app.users SET name = 'y' WHERE id = 1; UPDATE app.tenants SET name = name || '!'; SELECT app.differs())), 'f', '... and fresh');

# A view of the same name is not taken for it where somebody else owns it, or where it is none.
sql(q(DROP VIEW app.view; CREATE VIEW app.view AS SELECT 1 AS uid, '{"whose": "somebody''s"}'::jsonb AS doc; ALTER VIEW app.view OWNER TO somebody; GRANT USAGE ON SCHEMA app TO somebody));
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42P01: the view of projection "p" does not exist/, 'a view of another owner is another view');
sql(q(SELECT rolecall.repair_projection('p')));
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42P01: /, '... for repair_projection() too');
sql(q(DROP VIEW app.view; CREATE TABLE app.view AS SELECT 1 AS uid, '{}'::jsonb AS doc; ALTER TABLE app.view OWNER TO app_owner));
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42P01: /, 'a table is no view');
sql(q(DROP TABLE app.view; CREATE VIEW app.view AS SELECT 1 AS uid, 'text' AS doc; ALTER VIEW app.view OWNER TO app_owner));
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42804: column "doc" of the view of projection "p" must be of type jsonb/, 'columns must be of the same types');
sql(q(DROP VIEW app.view; CREATE VIEW app.view AS SELECT '1'::text AS uid, '{"key": "text"}'::jsonb AS doc; ALTER VIEW app.view OWNER TO app_owner));
is(sql(q(SELECT rolecall.project('p', '1'); SELECT app.hit())), qq({"key": "text"}\nf), '... and keys of another type are read, not cached');
sql(q(SELECT rolecall.drop_projection('p')));
is(sql($triggers), '0', 'dropped, with all triggers');

# The directory
sql('SELECT rolecall.me(1)');
my $user = session($node);
is($user->query_safe(q(SELECT rolecall.me(1) ->> 'email', rolecall.has_role(1, 'admin'))), 'user1@example.org|f', 'the directory: read before');
sql(q(SELECT create_distributed_table('rolecall.users', 'id')));
is($user->query_safe(q(SELECT rolecall.me(1) ->> 'email')), 'user1@example.org', 'users are distributed: right');
is(sql(q(SELECT app.hit('me'))), 'f', '... and not from the cache');
like(sql($problems), qr/rolecall.users is managed by Citus/, '... as check_projections() says');
sql('DELETE FROM pg_dist_partition');
sql(q(SELECT citus.invalidate('rolecall.users'); DO $$ BEGIN EXECUTE (SELECT format('DROP TRIGGER %I ON rolecall.users', tgname) FROM pg_trigger WHERE tgname LIKE 'truncate\_trigger\_%' AND tgrelid = 'rolecall.users'::regclass); END $$));
is(sql(q(SELECT app.hit('me'); SELECT app.hit('me'))), "f\nt", '... until they are no more');

# A worker, whose directory is empty, or nobody's
sql($world);
$user->query_safe('SELECT rolecall.me(1), rolecall.me(996)');
sql('UPDATE pg_dist_local_group SET groupid = 3');
my $nobody = qr/55000: this node has no directory of its own\nDETAIL:  It is a worker of a Citus cluster/;
my @reads = (
	'rolecall.me(1)', 'rolecall.me(999)', q(rolecall.me_json(1)), q(rolecall.has_role(1, 'banned')), q(NOT rolecall.has_role(999, 'banned')),
	q(rolecall.has_role(1, 'banned', 'unit', 'u1')), 'rolecall.auth_projection(1)', 'rolecall.require_user(999)', 'rolecall.me_many(ARRAY[1, 999])',
	q(rolecall.me_by_email('user1@example.org')), q(rolecall.project('me', '1')), q(rolecall.project_json('me', '1')), q(rolecall.project_many('me', '{1}')),
	q(rolecall.user_id('x')), 'rolecall.issue_refresh_token(1)', q(rolecall.create_oauth_state('google', 1)), 'rolecall.sync_user_roles(1)', 'rolecall.trigger_role_sync_for_user(1)',
	q(rolecall.sync_user_roles(1, '{"roles": []}')), q(rolecall.sync_provider('hr')));
like(error_of($node, "SELECT $_"), $nobody, "a worker: $_") for @reads;
$user->query('SELECT rolecall.me(997)');
like($user->{stderr}, qr/this node has no directory of its own/, 'a worker: a session that has read before');
like(error_of($node, q(SET rolecall.uid = '1'; SELECT rolecall.has_role('banned'))), $nobody, 'a worker: has_role(role)');
like(error_of($node, q(SELECT count(*) FROM app.users u WHERE NOT rolecall.has_role(u.id, 'banned'))), $nobody, 'a worker: a part of a query over users');
like(error_of($node, q(SELECT rolecall.create_projection('accounts', 'rolecall.me_view', 'uid', 'doc'))), $nobody, 'a worker: a projection over the directory');
is(sql(q(SELECT problem, repair LIKE 'Ask the coordinator%' FROM rolecall.check_projections())), 'this node has no directory of its own|t', '... as check_projections() says');
# Placements are ordinary tables of this node.
sql('ALTER TABLE app.users RENAME TO users_102008; ALTER TABLE app.tenants RENAME TO tenants_102009');
sql($create =~ s/app\.users/app.users_102008/gr =~ s/app\.tenants/app.tenants_102009/gr);
is(sql('SELECT app.differs(); SELECT app.hit()'), "f\nt", 'a worker: a projection over its own placements is cached');
is(sql(q(UPDATE app.users_102008 SET name = name || '+'; UPDATE app.tenants_102009 SET name = name || '+'; SELECT app.differs(); SELECT app.hit())), "f\nt", '... and fresh');
# What the administrator says
sql('ALTER DATABASE postgres SET rolecall.directory_is_local = on');
is(sql(q(SELECT rolecall.me(1) ->> 'email', rolecall.has_role(999, 'banned'); SELECT app.hit('me'))), "user1\@example.org|f\nt", 'a worker that has a directory of its own');
is(error_of($node, q(SET ROLE somebody; SET rolecall.directory_is_local = off)) =~ /42501/, 1, '... which is for superusers to say');
sql('ALTER DATABASE postgres RESET rolecall.directory_is_local');
my $declaring = session($node);
is($declaring->query_safe(q(SET rolecall.directory_is_local = on; SELECT rolecall.me(999) IS NULL)), 't', '... in a session');
$declaring->query(q(SET rolecall.directory_is_local = off; SELECT rolecall.me(998) IS NULL));
like($declaring->{stderr}, qr/this node has no directory of its own/, '... until it is taken back');
$declaring->quit;
# A directory in reference tables is the cluster's, here as well.
sql(q(SELECT create_reference_table(('rolecall.' || name)::regclass) FROM unnest('{tenants,users,roles,user_roles,units}'::text[]) name));
like(error_of($node, q(SELECT rolecall.me(1))), $nobody, 'a worker: one table of the directory is its own');
sql(q(SELECT create_reference_table('rolecall.user_units')));
is(sql(q(SELECT rolecall.me(1) ->> 'email', rolecall.me(999) IS NULL; SELECT app.hit('me'))), "user1\@example.org|t\nf", 'a worker: the directory is replicated: read from the view');

# A node that was given no metadata knows itself as a coordinator of nobody.
sql('DELETE FROM pg_dist_partition; UPDATE pg_dist_local_group SET groupid = 0');
is(sql('SELECT rolecall.me(999) IS NULL'), 't', 'a coordinator');
my $internal = q(SET application_name = 'citus_internal gpid=10000000123'; SELECT rolecall.me(999) IS NULL);
like(error_of($node, $internal), $nobody, 'a node without metadata, asked by another node');
sql('INSERT INTO pg_dist_node VALUES (1, 0), (2, 1)');
is(sql($internal), 't', 'the coordinator, asked by itself');

sql('DROP EXTENSION citus CASCADE');
is(sql(q(SELECT rolecall.me(999) IS NULL; SELECT app.hit('me'); SELECT app.hit('me'))), "t\nf\nt", 'without Citus');
$user->quit;
$node->stop;
remove_citus();

done_testing();
