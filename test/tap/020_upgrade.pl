# ALTER EXTENSION rolecall UPDATE from each released version: before it the new library works with the old SQL and
# warns, after it the database is as after CREATE EXTENSION, data and grants are there, and documents are cached. What an
# administrator granted, revoked and disabled stays, and so does what an application has made on top.
#
# A change of sql/install/tables/ without a step in sql/upgrade/ fails here; sql/README.md says what a release adds.
use strict;
use warnings;

use File::Basename qw(basename);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('upgrade', "max_worker_processes = 20\n");
my $scripts = "$Rolecall::Test::root/sql/upgrade";
my @released = sort map { basename($_) =~ /^rolecall--([0-9.]+)\.sql$/ ? $1 : () } glob("$scripts/*.sql");
ok(@released > 0, 'there are released versions');

# A text of the whole catalog, with names for the random ids of projections and watches.
sub catalog {
	my ($database) = @_;
	my $text = '';
	$node->psql($database, "\\i $Rolecall::Test::root/test/tap/upgrade/catalog.sql", stdout => \$text, on_error_die => 1);
	for (split /\n/, $node->safe_psql($database, q(SELECT name, id, to_hex(id) FROM rolecall.projections UNION ALL SELECT projection || ' ' || relation, id, to_hex(id) FROM rolecall.watches))) {
		my ($name, $id, $hex) = split /\|/;
		$text =~ s/$id/<$name>/g;
		$text =~ s/$hex/<$name>/g;
	}
	# Lines of one property stay together; properties are sorted again, names being in the place of ids.
	return join("\n", sort split /\n(?=[a-z][a-z ]*[: ])/, $text) . "\n";
}

sub same_catalog {
	my ($database, $fresh, $what) = @_;
	my %file;
	for my $state ($database, $fresh) {
		$file{$state} = "$PostgreSQL::Test::Utils::tmp_check/catalog_$state";
		open(my $out, '>', $file{$state}) or die $!;
		print $out catalog($state);
		close($out);
	}
	my $difference = `diff -U 3 --label "after ALTER EXTENSION UPDATE" --label "after CREATE EXTENSION" $file{$database} $file{$fresh}`;
	ok($difference eq '', $what) or diag("the upgrade script lacks this:\n$difference");
	cmp_ok(-s $file{$fresh}, '>', 50_000, 'the catalog has something in it');
	return;
}

# Documents as they are read, and as their view has them.
my $documents = q(SELECT uid, rolecall.me(uid::bigint) FROM generate_series(1, 6) uid);
my $stale = q(SELECT count(*) FROM generate_series(1, 6) uid WHERE rolecall.me(uid::bigint) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view v WHERE v.uid = uid.uid));
my %hits = (
	me => 'rolecall.me(1)',
	notes => q(rolecall.project('notes', '1')));

sub is_hit {
	my ($session, $what) = @_;
	my $sql = "SELECT hits FROM rolecall.stat_cache";
	$session->query_safe("SELECT $hits{$what}") for 1 .. 2;
	my $before = $session->query_safe($sql);
	$session->query_safe("SELECT $hits{$what}");
	return $session->query_safe($sql) > $before;
}

# Writes to every table behind me, each seen at once.
sub freshness {
	my ($database, $when) = @_;
	for my $write (
		q(UPDATE rolecall.users SET display_name = display_name || '+' WHERE id = 1),
		q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (3, 'admin')),
		q(DELETE FROM rolecall.user_roles WHERE user_id = 3),
		q(UPDATE rolecall.units SET name = name || '+' WHERE id = 1),
		q(UPDATE rolecall.roles SET priority = priority - 1 WHERE name = 'member'),
		q(UPDATE rolecall.tenants SET is_active = false),
		q(UPDATE rolecall.tenants SET is_active = true),
		q(DELETE FROM rolecall.user_units WHERE user_id = 2),
		q(INSERT INTO rolecall.user_units VALUES (2, 2, 'member')),
		q(TRUNCATE rolecall.role_changes)) {
		$node->safe_psql($database, $documents) for 1 .. 2;
		$node->safe_psql($database, $write);
		is($node->safe_psql($database, $stale), '0', "$when: nothing is stale after $write");
	}
	is($node->safe_psql($database, q(UPDATE app.notes SET note = note || '+'; SELECT rolecall.project('notes', '1') = (SELECT doc FROM app.note_view))), 't', "$when: the application's own projection is fresh");
	return;
}

# What an administrator decided: grants, one with the right to pass it on, and revocations of what the extension granted.
my $administration = <<'SQL';
GRANT USAGE ON SCHEMA rolecall TO app;
GRANT EXECUTE ON FUNCTION rolecall.me(bigint), rolecall.has_role(bigint, text), rolecall.user_id(text), rolecall.is_token(text), rolecall.set_updated_at(), rolecall.queue_statistics() TO app;
GRANT EXECUTE ON FUNCTION rolecall.issue_refresh_token(bigint, interval) TO app WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION rolecall.cache_statistics() TO PUBLIC;
GRANT SELECT ON rolecall.me_view, rolecall.user_profile, rolecall.watches TO app;
GRANT SELECT (id, email), UPDATE (display_name) ON rolecall.users TO app;
GRANT USAGE ON SEQUENCE rolecall.users_id_seq TO app;
GRANT USAGE ON FOREIGN DATA WRAPPER rolecall TO app;
REVOKE SELECT ON rolecall.stat_sync FROM pg_monitor;
REVOKE EXECUTE ON FUNCTION rolecall.provider_statistics() FROM pg_monitor;
ALTER TABLE rolecall.users DISABLE TRIGGER set_updated_at;
SQL
my $administration_undone = <<'SQL';
REVOKE ALL ON ALL TABLES IN SCHEMA rolecall FROM app;
REVOKE ALL (id, email, display_name) ON rolecall.users FROM app;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA rolecall FROM app;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rolecall FROM app;
REVOKE ALL ON FUNCTION rolecall.cache_statistics() FROM PUBLIC;
REVOKE ALL ON FOREIGN DATA WRAPPER rolecall FROM app;
REVOKE ALL ON SCHEMA rolecall FROM app;
GRANT SELECT ON rolecall.stat_sync TO pg_monitor;
GRANT EXECUTE ON FUNCTION rolecall.provider_statistics() TO pg_monitor;
ALTER TABLE rolecall.users ENABLE TRIGGER set_updated_at;
SQL

# What an application has made on top of the extension: whatever is dropped and made again would take it along, or fail.
my $on_top = <<'SQL';
CREATE SCHEMA on_top;
CREATE VIEW on_top.people AS SELECT p.*, rolecall.has_role(p.user_id, 'admin') AS is_admin FROM rolecall.user_profile p;
CREATE VIEW on_top.numbers AS SELECT hits FROM rolecall.stat_cache;
CREATE TABLE on_top.things (id bigint PRIMARY KEY, owner bigint DEFAULT rolecall.user_id('nobody'), updated_at timestamptz, token text CHECK (rolecall.is_token(token)));
ALTER TABLE on_top.things ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_admins ON on_top.things USING (rolecall.has_role(1, 'admin'));
CREATE TRIGGER set_updated_at BEFORE UPDATE ON on_top.things FOR EACH ROW EXECUTE FUNCTION rolecall.set_updated_at();
CREATE INDEX ON on_top.things (rolecall.is_token(token));
CREATE FUNCTION on_top.issued() RETURNS rolecall.issued_token LANGUAGE sql AS 'SELECT NULL::rolecall.issued_token';
SQL
my $what_is_on_top = <<'SQL';
SELECT pg_get_viewdef('on_top.people'), pg_get_viewdef('on_top.numbers'), 'on_top.issued()'::regprocedure,
    (SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'on_top.things'::regclass),
    (SELECT string_agg(pg_get_expr(adbin, adrelid), ' ') FROM pg_attrdef WHERE adrelid = 'on_top.things'::regclass),
    (SELECT string_agg(pg_get_expr(polqual, polrelid), ' ') FROM pg_policy), (SELECT string_agg(indexdef, ' ' ORDER BY 1) FROM pg_indexes WHERE tablename = 'things'),
    (SELECT string_agg(pg_get_triggerdef(oid), ' ') FROM pg_trigger WHERE tgrelid = 'on_top.things'::regclass)
SQL

# Privileges, and what pg_dump takes for the extension's own, of each object: one line each.
my $rights = <<'SQL';
SELECT pg_describe_object(d.classid, d.objid, 0) || ': ' || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(o.acl) a), 'none') || ', initially '
    || coalesce((SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM pg_init_privs i, unnest(i.initprivs) a WHERE (i.classoid, i.objoid) = (d.classid, d.objid)), 'none')
    || ', columns ' || coalesce((SELECT string_agg(t.attname || t.attacl::text, ' ' ORDER BY 1) FROM pg_attribute t WHERE d.classid = 'pg_class'::regclass AND t.attrelid = d.objid AND t.attacl IS NOT NULL), 'none')
FROM pg_depend d JOIN pg_extension e ON (d.refclassid, d.refobjid, d.deptype) = ('pg_extension'::regclass, e.oid, 'e') AND e.extname = 'rolecall'
CROSS JOIN LATERAL (SELECT relacl FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid UNION ALL SELECT proacl FROM pg_proc WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
    UNION ALL SELECT fdwacl FROM pg_foreign_data_wrapper WHERE d.classid = 'pg_foreign_data_wrapper'::regclass AND oid = d.objid) o(acl)
SQL

$node->safe_psql('postgres', 'CREATE ROLE app');
for my $fresh ('fresh', 'undone') {
	$node->safe_psql('postgres', "CREATE DATABASE $fresh");
	$node->safe_psql($fresh, 'CREATE EXTENSION rolecall');
}
$node->safe_psql('undone', $administration . $administration_undone);

for my $version (@released) {
	my $database = 'from_' . $version =~ tr/./_/r;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	# That this succeeds says that the library still has every function that the old SQL names.
	$node->safe_psql($database, "CREATE EXTENSION rolecall VERSION '$version'");
	$node->safe_psql($database, <<'SQL');
INSERT INTO rolecall.tenants (slug, name) VALUES ('t', 'Tenant');
INSERT INTO rolecall.roles (name) VALUES ('member'), ('admin');
INSERT INTO rolecall.units (institutional_id, name) VALUES ('u1', 'unit one'), ('u2', 'unit two');
INSERT INTO rolecall.users (email, display_name, tenant_id) SELECT 'user' || g || '@example.org', 'v1', t.id FROM generate_series(1, 5) g, rolecall.tenants t;
INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users;
INSERT INTO rolecall.user_units SELECT id, 1, 'member' FROM rolecall.users;
INSERT INTO rolecall.sync_state (user_id, last_roles_sync_at) VALUES (1, '2026-01-01');
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1');
CREATE SCHEMA app;
CREATE TABLE app.notes (id bigint PRIMARY KEY, note text);
CREATE TABLE app.kinds (id bigint PRIMARY KEY);
INSERT INTO app.notes VALUES (1, 'note');
CREATE VIEW app.note_view AS SELECT id, jsonb_build_object('note', note, 'kinds', (SELECT count(*) FROM app.kinds)) AS doc FROM app.notes;
SQL
	$node->safe_psql($database, q(INSERT INTO rolecall.projections (name, view, key_column, doc_column) VALUES ('notes', 'app.note_view', 'id', 'doc')));
	$node->safe_psql($database, $version eq '0.1.0' ? <<'OLD' : <<'SQL');
INSERT INTO rolecall.watches (projection, relation, key_column) VALUES ('notes', 'app.notes', 'id'), ('notes', 'app.kinds', NULL);
SELECT rolecall.put_watch_triggers(p.id, w.relation, w.key_column) FROM rolecall.watches w JOIN rolecall.projections p ON p.name = w.projection WHERE p.name = 'notes';
OLD
INSERT INTO rolecall.watches (projection, relation, is_lookup, key_column) VALUES ('notes', 'app.notes', false, 'id'), ('notes', 'app.kinds', true, NULL);
SELECT rolecall.put_watch_triggers(w.id) FROM rolecall.watches w WHERE w.projection = 'notes';
SQL
	$node->safe_psql($database, $administration . $on_top);

	# ---- The new library, the old SQL

	my $before = $node->safe_psql($database, $documents);
	my ($out, $warning) = ('', '');
	$node->psql($database, 'SELECT rolecall.me(1); SELECT rolecall.me(2)', stdout => \$out, stderr => \$warning);
	like($warning, qr/WARNING:  extension rolecall has version \Q$version\E in this database.*\nDETAIL:  Documents are not cached.*\nHINT:  Run ALTER EXTENSION rolecall UPDATE/, "$version: reads warn");
	is(() = $warning =~ /WARNING/g, 1, "$version: once in a session");
	my $open = $node->background_psql($database, on_error_stop => 0);
	$open->query_safe('SET client_min_messages = error');
	ok(!is_hit($open, $_), "$version: nothing is cached of $_") for sort keys %hits;
	freshness($database, $version);
	is($node->safe_psql($database, q(SELECT rolecall.has_role(1, 'member'), (rolecall.require_user('1')).email, rolecall.project('me', '1') = rolecall.me('1'))),
		't|user1@example.org|t', "$version: everything that reads answers");
	for my $view (split /\n/, $node->safe_psql($database, q(SELECT oid::regclass FROM pg_class WHERE relnamespace = 'rolecall'::regnamespace AND relkind = 'v'))) {
		is($node->psql($database, "SELECT * FROM $view"), 0, "$version: $view can be read");
	}
	for my $sync (q(sync_user_roles(1, '{"roles": []}')), 'sync_user_roles(1)', q(sync_user_units(1, '[]'))) {
		my (undef, undef, $error) = $node->psql($database, "\\set VERBOSITY verbose\nSELECT rolecall.$sync");
		like($error, qr/ERROR:  55000: extension rolecall has version .*\nHINT:  Run ALTER EXTENSION rolecall UPDATE/, "$version: $sync says what to do");
	}
	is($node->safe_psql($database, 'SELECT rolecall.trigger_role_sync_for_user(1); SELECT count(*) FROM rolecall.sync_requests'), "\n1", "$version: a sync can be asked for");
	is($node->safe_psql($database, q(SELECT rolecall.create_oauth_state('google', 1) IS NOT NULL)), 't', "$version: authentication works");
	my $log = -s $node->logfile;
	$node->safe_psql('postgres', 'ALTER SYSTEM SET rolecall.worker = on');
	$node->reload;
	$node->wait_for_log(qr/WARNING:  extension rolecall has version .*\n.*DETAIL:  No worker synchronizes its users/, $log);

	# ---- The update

	my @rights = split /\n/, $node->safe_psql($database, $rights);
	my $on_top_before = $node->safe_psql($database, $what_is_on_top);
	$before = $node->safe_psql($database, $documents);
	$log = -s $node->logfile;
	$node->safe_psql($database, 'ALTER EXTENSION rolecall UPDATE');
	$node->wait_for_log(qr/rolecall sync worker started in database "$database"/, $log);
	$node->safe_psql('postgres', 'ALTER SYSTEM SET rolecall.worker = off');
	$node->reload;

	is($node->safe_psql($database, $documents), $before, "$version: the same documents");
	is($node->safe_psql($database, 'SELECT * FROM rolecall.check_projections()'), '', "$version: all watches are in place");
	ok(is_hit($open, $_), "$version: $_ is cached, in a session that was there before") for sort keys %hits;
	$open->quit;
	freshness($database, "$version updated");
	is($node->safe_psql($database, q(SELECT rolecall.unwatch('notes', 'app.kinds'); SELECT rolecall.watch_lookup('notes', 'app.kinds'); SELECT count(*) FROM rolecall.check_projections())), "\n\n0",
		"$version: the application's own projection can be changed");
	is($node->safe_psql($database, 'SET ROLE app; SELECT rolecall.me(1) IS NOT NULL, count(*) > 0 FROM rolecall.watches'), 't|t', "$version: what was granted is granted");
	is($node->safe_psql($database, q(SET ROLE app; SELECT has_table_privilege('pg_monitor', 'rolecall.stat_sync', 'SELECT'), has_function_privilege('pg_monitor', 'rolecall.held_up()', 'EXECUTE'))), 'f|t',
		"$version: what was revoked is not granted again, and what is new is granted");
	my %rights = map { s/:.*//r => $_ } split /\n/, $node->safe_psql($database, $rights);
	is_deeply([ grep { my $what = s/:.*//r; exists $rights{$what} && $rights{$what} ne $_ } @rights ], [], "$version: privileges of what there was are as they were");
	cmp_ok(scalar(grep { exists $rights{s/:.*//r} } @rights), '>', 80, "$version: of many objects");
	my ($dump, $errors) = run_command([ 'pg_dump', '--schema-only', $node->connstr($database) ]);
	like($dump, qr/\Q$_\E/, "$version: $_ is dumped") for 'GRANT ALL ON FUNCTION rolecall.me(uid bigint) TO app', 'GRANT ALL ON FUNCTION rolecall.issue_refresh_token(uid bigint, ttl interval) TO app WITH GRANT OPTION',
		'GRANT SELECT ON TABLE rolecall.user_profile TO app', 'GRANT SELECT(email) ON TABLE rolecall.users TO app', 'REVOKE SELECT ON TABLE rolecall.stat_sync FROM pg_monitor', 'GRANT USAGE ON SEQUENCE rolecall.users_id_seq TO app';
	is($errors, '', "$version: pg_dump has nothing to say");
	is($node->safe_psql($database, $what_is_on_top), $on_top_before, "$version: what an application made on top is there");
	is($node->safe_psql($database, q(SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'rolecall.users'::regclass AND tgname = 'set_updated_at')), 'D', "$version: a trigger that was disabled is");

	$node->safe_psql($database, qq($administration_undone SELECT rolecall.drop_projection('notes'); DROP SCHEMA on_top CASCADE));
	same_catalog($database, 'undone', "$version: after the update the database is as after CREATE EXTENSION");

	# ---- Where nobody did anything, and where somebody else's trigger has a name that the extension wants now

	$node->safe_psql('postgres', "CREATE DATABASE untouched_$database");
	$node->safe_psql("untouched_$database", "CREATE EXTENSION rolecall VERSION '$version'; ALTER EXTENSION rolecall UPDATE");
	same_catalog("untouched_$database", 'fresh', "$version: untouched, it is as after CREATE EXTENSION");
	if ($version eq '0.1.0') {
		$node->safe_psql('postgres', 'CREATE DATABASE taken');
		$node->safe_psql('taken', q(CREATE EXTENSION rolecall VERSION '0.1.0'; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER notify_changes AFTER INSERT ON rolecall.users FOR EACH ROW EXECUTE FUNCTION f()));
		my (undef, undef, $taken) = $node->psql('taken', "\\set VERBOSITY verbose\nALTER EXTENSION rolecall UPDATE");
		like($taken, qr/ERROR:  42710: trigger "notify_changes" of table rolecall.users is not of the extension\nDETAIL:.*\nHINT:  Use ALTER TRIGGER notify_changes ON rolecall.users RENAME/, 'a trigger of somebody else is not replaced');
		$node->safe_psql('taken', 'ALTER TRIGGER notify_changes ON rolecall.users RENAME TO mine; ALTER EXTENSION rolecall UPDATE');
		is($node->safe_psql('taken', q(SELECT tgname, tgfoid::regproc FROM pg_trigger WHERE tgrelid = 'rolecall.users'::regclass AND tgname IN ('mine', 'notify_changes') ORDER BY 1)), "mine|f\nnotify_changes|rolecall.notify_changes", 'both are there');
	}
}

# ---- An upgrade without a step: what the install script made is made again, and nothing is otherwise

my $current = $node->safe_psql('fresh', q(SELECT extversion FROM pg_extension WHERE extname = 'rolecall'));
my $share = $node->config_data('--sharedir') . '/extension';
my $again = slurp_file("$share/rolecall--$released[0]--$current.sql");
my ($steps) = run_command([ "$Rolecall::Test::root/scripts/upgrade-script", $released[0], $current ]);
isnt(index($again, "$steps\n"), -1, 'the upgrade script has the steps in it');
substr($again, index($again, "$steps\n"), length("$steps\n"), '');
my %made = ("$share/rolecall--$current--again.sql" => $again, "$share/rolecall--again--$current.sql" => '');
append_to_file($_, $made{$_}) for keys %made;
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->safe_psql('again', "CREATE EXTENSION rolecall; $administration $on_top ALTER TABLE rolecall.users ENABLE REPLICA TRIGGER schedule_updates, ENABLE TRIGGER schedule_inserts");
my ($before, $on_top_before) = (catalog('again'), $node->safe_psql('again', $what_is_on_top));
$node->safe_psql('again', qq(ALTER EXTENSION rolecall UPDATE TO 'again'; ALTER EXTENSION rolecall UPDATE TO '$current'));
unlink(keys %made);
is(catalog('again'), $before, 'an upgrade changes nothing that is the same in both versions');
like($before, qr/schedule_inserts.*enabled O/, 'what holds providers was among it');
is($node->safe_psql('again', $what_is_on_top), $on_top_before, 'nor what is on top');
$node->stop;

done_testing();
