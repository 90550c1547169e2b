# DDL behind a projection: each case comes out right as the code is, and stale when the guard that sees it is switched
# off on purpose, so that it is the guard and nothing else that keeps documents fresh.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('ddl', "autovacuum = off\n");
$node->safe_psql('postgres', 'CREATE ROLE app_owner');
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);

my $world = <<'SQL';
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app CASCADE;
CREATE EXTENSION rolecall;
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('calm', 'angry');
CREATE TABLE app.users (id int PRIMARY KEY, name text NOT NULL, mood app.mood NOT NULL DEFAULT 'calm', extra text);
INSERT INTO app.users SELECT g, 'user ' || g FROM generate_series(1, 5) g;
CREATE TABLE app.events (user_id int NOT NULL, kind text NOT NULL) PARTITION BY LIST (kind);
CREATE TABLE app.events_a PARTITION OF app.events FOR VALUES IN ('a');
CREATE TABLE app.events_b PARTITION OF app.events FOR VALUES IN ('b');
INSERT INTO app.events SELECT g, k FROM generate_series(1, 5) g, unnest('{a,b}'::text[]) k;
CREATE TABLE app.events_c (user_id int NOT NULL, kind text NOT NULL);
INSERT INTO app.events_c VALUES (1, 'c');
CREATE TABLE app.notes (user_id int NOT NULL, note text NOT NULL);
CREATE TABLE app.old_notes (user_id int NOT NULL, note text NOT NULL);
INSERT INTO app.old_notes VALUES (1, 'old');
CREATE TABLE app.kept_notes () INHERITS (app.notes);
INSERT INTO app.kept_notes VALUES (1, 'kept');
CREATE FUNCTION app.decorate(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN t || ' v1';
CREATE VIEW app.inner_view AS SELECT u.id, u.name, u.mood FROM app.users u;
CREATE VIEW app.view AS
SELECT u.id AS uid, jsonb_build_object('name', app.decorate(u.name), 'mood', u.mood,
    'events', (SELECT jsonb_agg(e.kind ORDER BY e.kind) FROM app.events e WHERE e.user_id = u.id),
    'notes', (SELECT jsonb_agg(n.note ORDER BY n.note) FROM app.notes n WHERE n.user_id = u.id)) AS doc
FROM app.inner_view u;
SELECT rolecall.create_projection('p', 'app.view', 'uid', 'doc',
    watches => '{"app.users": "id", "app.events": "user_id", "app.notes": "user_id"}');
-- Names are looked for as projections look for them, so that functions are called in one way only.
CREATE FUNCTION app.differs() RETURNS boolean LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS
$$ SELECT count(*) > 0 FROM generate_series(1, 5) g LEFT JOIN app.view v ON v.uid = g WHERE rolecall.project('p', g::text) IS DISTINCT FROM v.doc $$;
CREATE FUNCTION app.hit() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project('p', '1');
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) > before;
END $$;
SQL

# What DDL does to rows without any row trigger.
my @announced = (
	[ 'a column changes its type, with USING', q(DROP VIEW app.view; CREATE VIEW app.view AS SELECT u.id AS uid, jsonb_build_object('extra', u.extra) AS doc FROM app.users u;
		UPDATE app.users SET extra = 'text'; SELECT rolecall.drop_projection('p'); SELECT rolecall.create_projection('p', 'app.view', 'uid', 'doc', watches => '{"app.users": "id"}');
		ALTER TABLE app.users ADD COLUMN more int), q(BEGIN; DROP VIEW app.view; ALTER TABLE app.users ALTER COLUMN extra TYPE int USING length(extra);
		CREATE VIEW app.view AS SELECT u.id AS uid, jsonb_build_object('extra', u.extra) AS doc FROM app.users u; UPDATE rolecall.projections SET view = 'app.view' WHERE name = 'p'; COMMIT), 'definitions' ],
	[ 'a partition is attached', '', q(ALTER TABLE app.events ATTACH PARTITION app.events_c FOR VALUES IN ('c')) ],
	[ 'a partition is detached', '', 'ALTER TABLE app.events DETACH PARTITION app.events_b' ],
	[ 'a partition is detached concurrently', '', 'ALTER TABLE app.events DETACH PARTITION app.events_b CONCURRENTLY' ],
	[ 'a partition is dropped', '', 'DROP TABLE app.events_b' ],
	[ 'a child is inherited', '', 'ALTER TABLE app.old_notes INHERIT app.notes' ],
	[ 'a child is no longer inherited', '', 'ALTER TABLE app.kept_notes NO INHERIT app.notes' ],
	[ 'a child is dropped', '', 'DROP TABLE app.kept_notes' ],
	[ 'a function is replaced', '', q(CREATE OR REPLACE FUNCTION app.decorate(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN t || ' v2') ],
	[ 'a view behind the view is replaced', '', q(CREATE OR REPLACE VIEW app.inner_view AS SELECT u.id, upper(u.name) AS name, u.mood FROM app.users u) ],
	[ 'the view is replaced', '', q(CREATE OR REPLACE VIEW app.view AS SELECT u.id AS uid, jsonb_build_object('only', u.name) AS doc FROM app.users u) ],
	[ 'a label of an enum is renamed', '', q(ALTER TYPE app.mood RENAME VALUE 'calm' TO 'serene') ],
	[ 'row-level security is switched on', q(GRANT USAGE ON SCHEMA app TO app_owner; GRANT SELECT ON ALL TABLES IN SCHEMA app TO app_owner; ALTER VIEW app.inner_view OWNER TO app_owner; ALTER VIEW app.view OWNER TO app_owner),
		q(ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON app.users USING (id > 3)), 'row_security' ],
	[ 'the same with the event triggers of this session switched off', '', q(SET event_triggers = off; CREATE OR REPLACE FUNCTION app.decorate(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN t || ' v2'), 'event_triggers' ],
);

# Watches that no longer see what changes.
my $update = q(; SELECT rolecall.project('p', uid::text) FROM app.view; UPDATE app.users SET name = 'changed' WHERE id = 1);
my $users_watch = q(DO $do$ BEGIN EXECUTE (SELECT format('%s', string_agg(format('STATEMENT', tgname), '; ')) FROM pg_trigger WHERE tgrelid = 'app.users'::regclass AND tgname LIKE 'rolecall\_%'); END $do$);
my @verified = (
	[ 'all triggers are disabled', "ALTER TABLE app.users DISABLE TRIGGER ALL$update" ],
	[ 'all triggers were disabled and enabled again, and this is a replica', "ALTER TABLE app.users DISABLE TRIGGER ALL; ALTER TABLE app.users ENABLE TRIGGER ALL; SET session_replication_role = replica$update", 6 ],
	[ 'the triggers are dropped', ($users_watch =~ s/STATEMENT/DROP TRIGGER %I ON app.users/r) . $update ],
	[ 'a trigger fires on some columns only', q(DO $do$ BEGIN EXECUTE (SELECT replace(string_agg(format('DROP TRIGGER %I ON app.users; ', tgname) || replace(pg_get_triggerdef(oid), ' OR UPDATE ', ' OR UPDATE OF extra '), '; '), '', '')
		FROM pg_trigger WHERE tgrelid = 'app.users'::regclass AND tgname LIKE 'rolecall\_%' AND tgtype & 1 = 1); END $do$) . $update ],
);

# Is a document out of date after this?
sub is_stale {
	my ($ddl, $setup) = @_;
	$node->safe_psql('postgres', $world);
	$node->safe_psql('postgres', $setup) if $setup;
	$node->safe_psql('postgres', 'SELECT app.differs()');
	is($node->safe_psql('postgres', 'SELECT app.hit()'), 't', 'cached before');
	$node->psql('postgres', $ddl, on_error_die => 1);
	return $node->safe_psql('postgres', 'SELECT app.differs()') eq 't';
}

for my $case (@announced) {
	my ($what, $setup, $ddl, $kind) = (@$case, '');
	next if $kind eq 'event_triggers' and $major < 17;
	ok(!is_stale($ddl, $setup), "fresh: $what");
	my $problems = $node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.check_projections()));
	if ($problems > 0) {
		$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('p')));
		is($node->safe_psql('postgres', q(SELECT * FROM rolecall.check_projections())), '', "repaired: $what");
	}
	$node->safe_psql('postgres', 'SELECT app.hit()');
	is($node->safe_psql('postgres', 'SELECT app.hit()'), 't', "cached again: $what");
	next if $kind eq 'definitions';    # several guards see it
	set_fault($node, 18);
	ok(is_stale($ddl, $setup), "stale without the guard: $what");
	set_fault($node, 0);
}

for my $case (@verified) {
	my ($what, $ddl, $fault) = (@$case, 24);
	ok(!is_stale($ddl), "fresh: $what");
	like($node->safe_psql('postgres', 'SELECT problem, repair FROM rolecall.check_projections()'),
		qr/the watch on app.users is not in place\|SELECT rolecall.repair_projection\('p'\)/, "named: $what");
	$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('p')));
	is($node->safe_psql('postgres', q(SELECT * FROM rolecall.check_projections())), '', "repaired: $what");
	is($node->safe_psql('postgres', 'SELECT app.differs(); SELECT app.hit()'), "f\nt", "cached again: $what");
	set_fault($node, $fault);
	ok(is_stale($ddl), "stale without the guard: $what");
	set_fault($node, 0);
}

# TRUNCATE of a partition, whose trigger is not inherited
my $truncate = q(DO $do$ BEGIN EXECUTE (SELECT string_agg(format('DROP TRIGGER %I ON app.events_b', tgname), '; ') FROM pg_trigger
	WHERE tgrelid = 'app.events_b'::regclass AND tgname LIKE 'rolecall\_%\_truncate'); END $do$; SELECT rolecall.project('p', uid::text) FROM app.view; TRUNCATE app.events_b);
ok(!is_stale('TRUNCATE app.events_b'), 'fresh: a partition is truncated');
ok(!is_stale($truncate), 'fresh: a partition is truncated whose watch is not in place');
set_fault($node, 19);
ok(is_stale($truncate), 'stale without the guard: a partition is truncated whose watch is not in place');
set_fault($node, 0);

# What changes nothing that a document shows leaves it right, and renaming is followed.
for my $case (
	[ 'a trigger is renamed', q(DO $do$ BEGIN EXECUTE (SELECT string_agg(format('ALTER TRIGGER %I ON app.users RENAME TO mine_%s', tgname, oid), '; ') FROM pg_trigger
		WHERE tgrelid = 'app.users'::regclass AND tgname LIKE 'rolecall\_%'); END $do$), 0 ],
	[ 'a table is renamed', 'ALTER TABLE app.users RENAME TO people', 0 ],
	[ 'a table goes to another schema', 'ALTER TABLE app.users SET SCHEMA public', 0, 'DROP TABLE public.users CASCADE' ],
	[ 'the view is renamed', 'ALTER VIEW app.view RENAME TO view_2; CREATE VIEW app.view AS SELECT * FROM app.view_2', 0 ],
	[ 'a column is dropped', 'ALTER TABLE app.users DROP COLUMN extra', 0 ],
	[ 'the key column is renamed', 'ALTER TABLE app.users RENAME COLUMN id TO user_id', 1 ])
{
	my ($what, $ddl, $broken, $cleanup) = @$case;
	ok(!is_stale($ddl), "fresh: $what");
	$node->safe_psql('postgres', q(DO $$ BEGIN UPDATE app.users SET name = 'changed'; EXCEPTION WHEN undefined_table THEN NULL; END $$));
	is($node->safe_psql('postgres', 'SELECT app.differs()'), 'f', "fresh after a write: $what");
	is($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.check_projections())), $broken, "watched or not: $what");
	is($node->safe_psql('postgres', 'SELECT app.differs(); SELECT app.hit()'), $broken ? "f\nf" : "f\nt", "cached or not: $what");
	$node->safe_psql('postgres', $cleanup) if $cleanup;
}

# A table goes, and the view with it: an error, not an old document.
$node->safe_psql('postgres', $world);
$node->safe_psql('postgres', 'SELECT app.differs()');
$node->safe_psql('postgres', 'DROP TABLE app.users CASCADE');
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42P01: the view of projection "p" does not exist/, 'dropped with its view');
is($node->safe_psql('postgres', q(SELECT projection, problem, repair FROM rolecall.check_projections())),
	'p|the view of projection "p" does not exist|restore the view, or drop the projection', '... and named');
$node->safe_psql('postgres', q(SELECT rolecall.drop_projection('p')));

# A function of another extension
my $share = $node->config_data('--sharedir') . '/extension';
append_to_file("$share/app_functions.control", "default_version = '1'\nrelocatable = true\n");
append_to_file("$share/app_functions--1.sql", q(CREATE FUNCTION app_version() RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN '1'; END $$;));
append_to_file("$share/app_functions--1--2.sql", q(CREATE OR REPLACE FUNCTION app_version() RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN '2'; END $$;));
my $with_function = q(DROP EXTENSION IF EXISTS app_functions; CREATE EXTENSION app_functions;
	CREATE OR REPLACE VIEW app.view AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'version', app_version()) AS doc FROM app.users u);
ok(!is_stale(q(ALTER EXTENSION app_functions UPDATE TO '2'), $with_function), 'fresh: an extension is updated');
set_fault($node, 18);
$node->safe_psql('postgres', 'DROP EXTENSION app_functions CASCADE');
ok(is_stale(q(ALTER EXTENSION app_functions UPDATE TO '2'), $with_function), 'stale without the guard: an extension is updated');
set_fault($node, 0);
$node->safe_psql('postgres', 'DROP EXTENSION app_functions CASCADE');
unlink glob("$share/app_functions*");

$node->stop;

done_testing();
