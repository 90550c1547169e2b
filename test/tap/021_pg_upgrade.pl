# pg_upgrade from the server in ROLECALL_OLD_INSTALL, which has the library too (scripts/check makes one): projections,
# watches and data come back working, nobody but pg_upgrade writes meanwhile, and an older version of the extension's
# SQL can be updated afterwards.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Application;
use Rolecall::Test;

my $install = $ENV{ROLECALL_OLD_INSTALL};
plan skip_all => 'ROLECALL_OLD_INSTALL is not set' unless $install;
$ENV{LD_LIBRARY_PATH} = "$install/lib";  # the libraries that the old server brought along

my $settings = "shared_preload_libraries = 'rolecall'\n";
my $old = PostgreSQL::Test::Cluster->new('old', install_path => $install);
$old->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$old->append_conf('postgresql.conf', $settings);
$old->start;
note('from ', $old->safe_psql('postgres', 'SELECT version()'));
create_extension($old);
create_application($old);
$old->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.tenants (slug, name) VALUES ('t', 'Tenant');
UPDATE rolecall.users SET tenant_id = (SELECT id FROM rolecall.tenants);
INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users;
INSERT INTO rolecall.user_units SELECT 1, id, 'member' FROM rolecall.units;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'secret');
CREATE DATABASE released;
SQL
$old->safe_psql('released', q(CREATE EXTENSION rolecall VERSION '0.1.0'; INSERT INTO rolecall.users (email) VALUES ('one@example.org')));

my @everything = map { "rolecall.$_" } qw(tenants users roles user_roles units user_units sync_state role_changes projections watches watch_references);
sub content {
	my ($node) = @_;
	return { map { $_ => $node->safe_psql('postgres', "SELECT t::text FROM $_ t ORDER BY 1") } @everything,
		"(SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'rolecall')" };
}
my $before = content($old);
is($old->safe_psql('postgres', $stale), 't|', 'fresh in the old server');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$new->append_conf('postgresql.conf', $settings);
chdir($PostgreSQL::Test::Utils::tmp_check) or die $!;
$new->command_ok([ 'pg_upgrade', '--no-sync', '--retain', '-d', $old->data_dir, '-D', $new->data_dir, '-b', "$install/bin", '-B', $new->config_data('--bindir'),
	'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');

my $log = join('', map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log'));
like($log, qr/database system is shut down/, 'pg_upgrade started servers');
unlike($log, qr/rolecall launcher/, '... without a launcher');

$new->start;
note('to ', $new->safe_psql('postgres', 'SELECT version()'));
is_deeply(content($new), $before, 'everything is as it was, and nothing else');
is($new->safe_psql('postgres', 'SELECT srvname, umoptions FROM pg_user_mappings'), 'hr|{token=secret}', 'providers too');
is_working($new, 'postgres', 'upgraded');
is($new->safe_psql('postgres', q(INSERT INTO rolecall.users (email) VALUES ('next@example.org') RETURNING id)), '21', 'identities go on');

$new->safe_psql('released', 'ALTER EXTENSION rolecall UPDATE');
is($new->safe_psql('released', 'SELECT * FROM rolecall.check_projections()'), '', 'an older version of the SQL was updated');
is($new->safe_psql('released', q(SELECT rolecall.me(1) ->> 'email'; UPDATE rolecall.users SET email = 'two@example.org'; SELECT rolecall.me(1) ->> 'email')), "one\@example.org\ntwo\@example.org", '... and works');
$new->stop;

done_testing();
