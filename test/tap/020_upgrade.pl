# ALTER EXTENSION rolecall UPDATE from each released version: before it the new library works with the old SQL and
# warns, after it the database is as after CREATE EXTENSION, data and grants are there, and documents are cached.
#
# Who changes sql/extension/ sees here what sql/upgrade/ lacks. A release adds its install script to sql/upgrade/.
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
	my ($database, $what) = @_;
	my %file;
	for my $state ($database, 'fresh') {
		$file{$state} = "$PostgreSQL::Test::Utils::tmp_check/catalog_$state";
		open(my $out, '>', $file{$state}) or die $!;
		print $out catalog($state);
		close($out);
	}
	my $difference = `diff -U 3 --label "after ALTER EXTENSION UPDATE" --label "after CREATE EXTENSION" $file{$database} $file{fresh}`;
	ok($difference eq '', $what) or diag("sql/upgrade/ lacks this:\n$difference");
	cmp_ok(-s $file{fresh}, '>', 50_000, 'the catalog has something in it');
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

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION rolecall');
$node->safe_psql('postgres', 'CREATE ROLE app');

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
GRANT USAGE ON SCHEMA rolecall TO app;
GRANT EXECUTE ON FUNCTION rolecall.me(bigint), rolecall.put_watch_triggers(bigint, regclass, name) TO app;
GRANT SELECT ON rolecall.me_view, rolecall.watches TO app;
CREATE SCHEMA app;
CREATE TABLE app.notes (id bigint PRIMARY KEY, note text);
CREATE TABLE app.kinds (id bigint PRIMARY KEY);
INSERT INTO app.notes VALUES (1, 'note');
CREATE VIEW app.note_view AS SELECT id, jsonb_build_object('note', note, 'kinds', (SELECT count(*) FROM app.kinds)) AS doc FROM app.notes;
INSERT INTO rolecall.projections (name, view, key_column, doc_column) VALUES ('notes', 'app.note_view', 'id', 'doc');
INSERT INTO rolecall.watches (projection, relation, key_column) VALUES ('notes', 'app.notes', 'id'), ('notes', 'app.kinds', NULL);
SELECT rolecall.put_watch_triggers(p.id, w.relation, w.key_column) FROM rolecall.watches w JOIN rolecall.projections p ON p.name = w.projection WHERE p.name = 'notes';
SQL

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
	my ($dump, $errors) = run_command([ 'pg_dump', '--schema-only', $node->connstr($database) ]);
	like($dump, qr/GRANT ALL ON FUNCTION rolecall\.me\(uid bigint\) TO app/, "$version: and is dumped");
	is($errors, '', "$version: pg_dump has nothing to say");

	$node->safe_psql($database, q(REVOKE ALL ON ALL TABLES IN SCHEMA rolecall FROM app; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rolecall FROM app; REVOKE ALL ON SCHEMA rolecall FROM app;
		SELECT rolecall.drop_projection('notes')));
	same_catalog($database, "$version: after the update the database is as after CREATE EXTENSION");
}
$node->stop;

done_testing();
