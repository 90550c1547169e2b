# pg_dump and pg_restore take everything along: rows, sequences, projections with their watches; the restore writes no
# audit, and the built-in projection is not there twice. Documents are cached afterwards, and fresh; where a way of
# restoring leaves watches out of place, check_projections() names the command that repairs them.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('dump');
create_extension($node);
create_application($node);
$node->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.tenants (slug, name) VALUES ('t', 'Tenant');
UPDATE rolecall.users SET tenant_id = (SELECT id FROM rolecall.tenants), metadata = '{"a": 1}', oauth_provider = 'google', oauth_id = id::text;
INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users;
INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id, source) VALUES (1, 'admin', 'institutional', 'u1', 'provider');
DELETE FROM rolecall.user_roles WHERE user_id = 20;
INSERT INTO rolecall.user_units SELECT 1, id, 'member' FROM rolecall.units;
INSERT INTO rolecall.sync_state (user_id, last_roles_sync_at) VALUES (1, '2026-01-01');
SELECT rolecall.trigger_role_sync_for_user(2, true);
UPDATE rolecall.users SET provider = 'hr', institutional_id = 'person' || id WHERE id BETWEEN 3 AND 5;
INSERT INTO rolecall.oauth_states (state, provider, user_id) VALUES ('s', 'google', 1);
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, expires_at) VALUES (1, '\x01', now() + interval '1 day');
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'secret');
INSERT INTO rolecall.revocations (provider, began_at, grants, users) VALUES ('hr', now(), 1, 1);
SELECT rolecall.stop_provider('hr', 1, 1, 1, 1, 1);
SQL

my @tables = map { "rolecall.$_" }
  qw(tenants users roles user_roles units user_units sync_state sync_requests revocations stopped_providers role_changes oauth_states refresh_tokens);

# An application's own: keyed watches, a grouped and a coarse lookup, a partitioned table, a column number that a restore
# does not keep; a projection over the extension's tables; and a "me" that takes the built-in one's place.
sub create_application {
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA app;
CREATE TABLE app.people (dropped int, id uuid PRIMARY KEY, email text NOT NULL, is_active boolean NOT NULL DEFAULT true);
ALTER TABLE app.people DROP COLUMN dropped;
CREATE TABLE app.teams (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE app.members (person uuid NOT NULL REFERENCES app.people, team int NOT NULL REFERENCES app.teams, PRIMARY KEY (person, team));
CREATE TABLE app.settings (greeting text);
CREATE TABLE app.posts (person uuid NOT NULL, year int NOT NULL, title text) PARTITION BY LIST (year);
CREATE TABLE app.posts_2025 PARTITION OF app.posts FOR VALUES IN (2025);
CREATE TABLE app.posts_2026 PARTITION OF app.posts FOR VALUES IN (2026);
INSERT INTO app.people SELECT ('00000000-0000-0000-0000-00000000000' || g)::uuid, 'person' || g || '@example.org' FROM generate_series(1, 3) g;
INSERT INTO app.teams SELECT g, 'team ' || g FROM generate_series(1, 3) g;
INSERT INTO app.members SELECT id, 1 FROM app.people;
INSERT INTO app.settings VALUES ('hello');
INSERT INTO app.posts SELECT id, year, 'title' FROM app.people, generate_series(2025, 2026) year;
CREATE VIEW app.profile AS
SELECT p.id AS uid, p.email, jsonb_build_object('id', p.id, 'email', p.email, 'is_active', p.is_active,
    'greeting', (SELECT s.greeting FROM app.settings s),
    'roles', coalesce((SELECT jsonb_agg(t.name ORDER BY t.name) FROM app.members m JOIN app.teams t ON t.id = m.team WHERE m.person = p.id), '[]'),
    'posts', (SELECT jsonb_agg(o.title ORDER BY o.title) FROM app.posts o WHERE o.person = p.id)) AS doc
FROM app.people p;
CREATE VIEW app.accounts AS
SELECT u.id AS uid, jsonb_build_object('email', u.email, 'unit', (SELECT jsonb_agg(n.name ORDER BY n.name) FROM rolecall.user_units m JOIN rolecall.units n ON n.id = m.unit_id WHERE m.user_id = u.id)) AS doc
FROM rolecall.users u;
SELECT rolecall.create_projection(name, 'app.profile', 'uid', 'doc', watches => '{"app.people": "id", "app.members": "person", "app.posts": "person", "app.teams": {"lookup": "id"}, "app.settings": null}')
FROM unnest(ARRAY['profile', 'me']) name;
SELECT rolecall.create_projection('accounts', 'app.accounts', 'uid', 'doc', watches => '{"rolecall.users": "id", "rolecall.user_units": "user_id", "rolecall.units": {"lookup": "id"}}');
CREATE FUNCTION app.hit(projection name, key text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project(projection, key);
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) > before;
END $$;
SQL
	return;
}
my $person = '00000000-0000-0000-0000-000000000001';
my @projections = ([ 'profile', 'app.profile', $person ], [ 'me', 'app.profile', $person ], [ 'accounts', 'app.accounts', '1' ]);

# How many documents are read, and which are not as their view has them.
my $stale = 'SELECT count(*) > 8, array_agg(name || uid) FILTER (WHERE read IS DISTINCT FROM doc) FROM ('
  . join(' UNION ALL ', map { "SELECT '$_->[0]' AS name, uid::text, doc, rolecall.project('$_->[0]', uid::text) AS read FROM $_->[1]" } @projections) . ') d';

# Every projection is cached, and fresh after a write to each table behind it.
sub is_working {
	my ($database, $way) = @_;
	is($node->safe_psql($database, 'SELECT * FROM rolecall.check_projections()'), '', "$way: all is in order");
	for my $projection (@projections) {
		my ($name, undef, $key) = @$projection;
		is($node->safe_psql($database, "SELECT app.hit('$name', '$key'); SELECT app.hit('$name', '$key')") =~ s/^.*\n//r, 't', "$way: $name is cached");
	}
	for my $write (
		q(UPDATE app.people SET email = email || '+'),
		q(DELETE FROM app.members WHERE person::text LIKE '%1'),
		q(UPDATE app.teams SET name = name || '+'),
		q(UPDATE app.settings SET greeting = greeting || '+'),
		q(UPDATE app.posts SET title = title || '+' WHERE year = 2026),
		q(DELETE FROM app.posts_2025 WHERE person::text LIKE '%2'),
		q(TRUNCATE app.posts_2025),
		q(UPDATE rolecall.users SET email = email || '+'),
		q(UPDATE rolecall.units SET name = name || '+'),
		q(TRUNCATE rolecall.user_units)) {
		is($node->safe_psql($database, "$stale; $write; $stale"), "t|\nt|", "$way: fresh after $write");
	}
	is($node->safe_psql($database, q(SELECT rolecall.drop_projection('me'); SELECT (SELECT email FROM rolecall.users WHERE id = 1) = rolecall.me(1) ->> 'email'; SELECT app.hit('me', '1'))), "\nt\nt",
		"$way: the built-in me comes back, cached");
	return;
}

sub content {
	my ($database) = @_;
	my %content = map { $_ => $node->safe_psql($database, "SELECT t::text FROM $_ t ORDER BY 1") } @tables;
	$content{projections} = $node->safe_psql($database, 'SELECT name, builtin, view, key_column, doc_column, ttl, query FROM rolecall.projections ORDER BY 1, 2');
	# What is built in has ids of its own in each database.
	$content{watches} = $node->safe_psql($database, 'SELECT projection, relation, is_lookup, key_column, CASE WHEN NOT builtin THEN id END FROM rolecall.watches ORDER BY 1, builtin, relation::text, 3, 4');
	$content{references} = $node->safe_psql($database, 'SELECT w.projection, w.relation::text, r.builtin, r.relation::text, r.column_name FROM rolecall.watch_references r JOIN rolecall.watches w ON w.id = r.watch ORDER BY 1, 2, 3, 4, 5');
	$content{servers} = $node->safe_psql($database, 'SELECT s.srvname, (SELECT array_agg(o ORDER BY o) FROM unnest(s.srvoptions) o), m.umoptions FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid');
	$content{sequences} = $node->safe_psql($database, q(SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'rolecall' ORDER BY 1));
	$content{$_->[0]} = $node->safe_psql($database, "SELECT uid, rolecall.project('$_->[0]', uid::text), doc FROM $_->[1] ORDER BY uid") for @projections;
	$content{built_in} = $node->safe_psql($database, 'BEGIN; DELETE FROM rolecall.projections WHERE NOT builtin; SELECT uid, rolecall.me(uid) FROM generate_series(1, 21) uid; ROLLBACK');
	return \%content;
}

my $before = content('postgres');
like($before->{'rolecall.role_changes'}, qr/removed/, 'there is an audit');
my $file = $PostgreSQL::Test::Utils::tmp_check . '/dump';
my $connection = $node->connstr('postgres');
my %restores = (
	plain => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-f', "$file.sql", $connection ], 'pg_dump');
		$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$file.sql", $node->connstr($database) ], 'restored by psql');
	},
	custom => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-Fc', '-f', "$file.custom", $connection ], 'pg_dump -Fc');
		$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($database), "$file.custom" ], 'pg_restore');
	},
	parallel => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '-Fd', '-f', "$file.directory", $connection ], 'pg_dump -Fd');
		# In parallel, pg_restore does not keep the order of an extension's tables that refer to each other: they
		# go first, alone (docs/operations.md).
		for my $part ([ '--section=pre-data' ], [ '--section=data', '--schema=rolecall' ],
			[ '--section=data', '--exclude-schema=rolecall', '-j', '3' ], [ '--section=post-data', '-j', '3' ]) {
			$node->command_ok([ 'pg_restore', '--exit-on-error', @$part, '-d', $node->connstr($database), "$file.directory" ],
				"pg_restore @$part");
		}
	},
	inserts => sub {
		my ($database) = @_;
		$node->command_ok([ 'pg_dump', '--inserts', '-Fc', '-f', "$file.inserts", $connection ], 'pg_dump --inserts');
		$node->command_ok([ 'pg_restore', '--exit-on-error', '--disable-triggers', '-d', $node->connstr($database), "$file.inserts" ], 'pg_restore --disable-triggers');
	});
for my $way (sort keys %restores) {
	$node->safe_psql('postgres', "CREATE DATABASE $way TEMPLATE template0");
	$restores{$way}->($way);
	is_deeply(content($way), $before, "$way: everything is as it was, and nothing else");
	is( $node->safe_psql($way, q(INSERT INTO rolecall.users (email) VALUES ('next@example.org') RETURNING id)), '21', "$way: identities go on");
	is($node->safe_psql($way, q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (20, 'member'); SELECT count(*) FROM rolecall.role_changes))
		- $node->safe_psql('postgres', 'SELECT count(*) FROM rolecall.role_changes'), 1, "$way: the audit goes on");
	is_working($way, $way);
}

# One table by itself, into one that is empty: no audit of that either.
$node->command_ok([ 'pg_dump', '--data-only', '-t', 'rolecall.user_roles', '-f', "$file.table", $connection ], 'pg_dump -t');
like(slurp_file("$file.table"), qr/COPY rolecall.user_roles/, 'grants are in it');
my $audited = $node->safe_psql('plain', 'DELETE FROM rolecall.user_roles; SELECT count(*) FROM rolecall.role_changes');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$file.table", $node->connstr('plain') ], 'restored');
is($node->safe_psql('plain', 'SELECT count(*) FROM rolecall.user_roles'), $node->safe_psql('postgres', 'SELECT count(*) FROM rolecall.user_roles'), 'grants are back');
is($node->safe_psql('plain', 'SELECT count(*) FROM rolecall.role_changes'), $audited, '... without audit');

# Data into what is there already, as --data-only --disable-triggers does it: no trigger fires, and those that always
# fired do so on origin only afterwards.
$node->safe_psql('postgres', 'CREATE DATABASE data_only TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$file.data", $connection ], 'pg_dump -Fc');
$node->command_ok([ 'pg_restore', '--exit-on-error', '--schema-only', '-d', $node->connstr('data_only'), "$file.data" ], 'pg_restore --schema-only');
$node->safe_psql('data_only', 'SELECT rolecall.me(1) IS NULL') for 1 .. 2;
$node->command_ok([ 'pg_restore', '--exit-on-error', '--data-only', '--disable-triggers', '-d', $node->connstr('data_only'), "$file.data" ],
	'pg_restore --data-only --disable-triggers');
is_deeply(content('data_only'), $before, 'data only: everything is as it was, and nothing else');
is($node->safe_psql('data_only', "$stale; UPDATE app.people SET email = email || '+'; UPDATE rolecall.users SET email = email || '+'; UPDATE app.teams SET name = name || '+'; $stale"),
	"t|\nt|", 'data only: fresh, unwatched as it is');
is($node->safe_psql('data_only', q(SELECT DISTINCT projection FROM rolecall.check_projections() ORDER BY 1)), "accounts\nme\nprofile", 'data only: what is not in order is listed');
my $repairs = $node->safe_psql('data_only', 'SELECT DISTINCT repair FROM rolecall.check_projections() ORDER BY 1');
is($repairs, join("\n", map { "SELECT rolecall.repair_projection('$_')" } qw(accounts me profile)), 'data only: with the command that repairs it');
$node->safe_psql('data_only', $_) for split /\n/, $repairs;
is_working('data_only', 'data only, repaired');
$node->stop;

done_testing();
