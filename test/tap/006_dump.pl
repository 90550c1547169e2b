# pg_dump and pg_restore take everything along: rows, sequences, projections with their watches; the restore writes no
# audit, and the built-in projection is not there twice. Documents are cached afterwards, and fresh; where a way of
# restoring leaves watches out of place, check_projections() names the command that repairs them.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Application;
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
	is_working($node, $way, $way);
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
is_working($node, 'data_only', 'data only, repaired');
$node->stop;

done_testing();
