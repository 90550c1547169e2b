# The audit with the worker and the network: who did it, under which request id; trimming; notifications; and roles that go
# without confirmation for too long.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '100');
my $node = new_node('audit', "rolecall.worker = on\nrolecall.sync_naptime = 50ms\nmax_worker_processes = 20\n");
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', on_not_found 'deactivate');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor');
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub until_true { my ($what, $sql) = @_; $node->poll_query_until('postgres', $sql) or die "timed out waiting until $what"; return pass($what); }
sub last_change { return sql('SELECT changed_by, cause, provider, user_id, change, role, source FROM rolecall.role_changes ORDER BY id DESC LIMIT 1'); }

sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 1 + g, 'user' || g, 'hr', (100000 + 4 * g)::text FROM generate_series(0, 9) g));
until_true('synchronized', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced');
is(sql('SELECT DISTINCT changed_by, cause, provider, change, role, source FROM rolecall.role_changes'), 'rolecall sync worker|sync|hr|added|reader|provider', 'what the worker did');
is(sql(q(SELECT count(*), count(DISTINCT request_id) FROM rolecall.role_changes WHERE request_id ~ '^[0-9a-f]{32}$')), '10|10', 'each request has an id');
$provider->put_user('100000', { code => '100000', roles => ['editor'] });
sql('SELECT rolecall.trigger_role_sync_for_user(1, true)');
until_true('changed', q(SELECT rolecall.has_role(1, 'editor')));
is(sql('SELECT request_id FROM rolecall.role_changes ORDER BY id DESC LIMIT 1'), $provider->requests->{headers}{'x-request-id'}, 'the provider was sent it');
$provider->put_user('100000', { code => '100000', roles => ['reader'] });
sql(q(SET rolecall.request_id = 'web-42'; SELECT rolecall.force_sync_user_roles(1)));
is($provider->requests->{headers}{'x-request-id'}, 'web-42', 'a session: the application names the request');
is(sql('SELECT changed_by = current_user, cause, provider, user_id, change, role, request_id FROM rolecall.role_changes ORDER BY id DESC LIMIT 2'),
	"t|sync|hr|1|added|reader|web-42\nt|sync|hr|1|removed|editor|web-42", 'the audit has it');
sql(q(SELECT rolecall.force_sync_user_roles(2)));
like($provider->requests->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'or it gets a name');

# ---- Notifications --------------------------------------------------------------------------------------------------

sub heard {    # what a listener hears of a statement, the statement's session included
	my ($sql, %settings) = @_;
	my $listener = session($node);
	$listener->query_safe('LISTEN rolecall_changes');
	sql(join '', (map { "SET $_ = '$settings{$_}'; " } sort keys %settings), $sql);
	my $out = $listener->query('SELECT 1') . $listener->query('SELECT 1');    # notifications come with an answer
	$listener->quit;
	return join ' ', sort($out =~ /Asynchronous notification "rolecall_changes" with payload "([^"]*)"/g);
}
my %on = ('rolecall.notify_changes' => 'on');
is(heard(q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (3, 'editor'))), '', 'off by default');
is(heard(q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (4, 'editor'), (5, 'editor'), (5, 'reader')), %on), '4 5', '004-8: local grants, each user once');
is(heard(q(UPDATE rolecall.user_roles SET granted_at = granted_at), %on), '', '004-8: no change, no news');
is(heard(q(DELETE FROM rolecall.user_roles WHERE source = 'local'), %on), '3 4 5', '004-8: and their end');
is(heard(q(UPDATE rolecall.users SET is_active = false WHERE id = 6), %on), '6', '004-8: deactivation');
is(heard(q(UPDATE rolecall.users SET display_name = 'x' WHERE id = 6), %on), '', '004-8: nothing else');
is(heard(q(SELECT rolecall.sync_user_roles(7, '{"roles": ["editor"]}', true)), %on), '7', '004-8: a sync');
is(heard(q(BEGIN; SELECT rolecall.sync_user_roles(7, '{"roles": []}', true); ROLLBACK), %on), '', '004-8: not one that was rolled back');
sql('CREATE ROLE nobody LOGIN');
like(error_of($node, 'SET ROLE nobody; SET rolecall.notify_changes = off'), qr/permission denied to set parameter/, 'who may write grants cannot keep that quiet');
sql('ALTER SYSTEM SET rolecall.notify_changes = on');
$node->reload;
my $listener = session($node);
$listener->query_safe('LISTEN rolecall_changes');
sql('SELECT rolecall.trigger_role_sync_for_user(7, true)');
until_true('synchronized', q(SELECT rolecall.has_role(7, 'reader')));
like($listener->query('SELECT 1') . $listener->query('SELECT 1'), qr/"rolecall_changes" with payload "7"/, '004-8: the worker');
$listener->quit;
sql('ALTER SYSTEM RESET rolecall.notify_changes');
$node->reload;

# ---- Trimming -------------------------------------------------------------------------------------------------------

is(sql('SHOW rolecall.audit_retention'), '90d', 'kept for 90 days');
my $rows = sql('SELECT count(*) FROM rolecall.role_changes');
my $newest = sql('SELECT max(id) FROM rolecall.role_changes');
sql(q(ALTER SERVER hr OPTIONS (ADD sync_ttl '365 days'); SELECT rolecall.force_sync_user_roles(id) FROM rolecall.users));
move_clock($node, 89 * 86400);
until_true('the worker has looked', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND wait_event_type IS NOT NULL AND state = 'idle'));
cmp_ok(sql('SELECT count(*) FROM rolecall.role_changes'), '>=', $rows, 'after 89 days everything is there');
sql('ALTER SYSTEM SET rolecall.audit_retention = -1');
$node->reload;
move_clock($node, 2 * 86400);
sql('SELECT rolecall.trigger_role_sync_for_user(1, true)');
until_true('the worker has gone on', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL');
cmp_ok(sql('SELECT count(*) FROM rolecall.role_changes'), '>=', $rows, 'with -1 for good');
sql('ALTER SYSTEM RESET rolecall.audit_retention');
$node->reload;
until_true('after 91 days the worker has trimmed it', "SELECT count(*) = 0 FROM rolecall.role_changes WHERE id <= $newest");

# ---- Stale roles ----------------------------------------------------------------------------------------------------

sql(q(UPDATE rolecall.users SET is_active = true; ALTER SERVER hr OPTIONS (SET sync_ttl '1 hour', ADD max_staleness '1 day'); SELECT rolecall.force_sync_user_roles(id) FROM rolecall.users));
$provider->fault(mode => '500');
$provider->fault(mode => 'none', subject => '100004');
move_clock($node, 23 * 3600);
sql('SELECT rolecall.wake_worker()');
until_true('the provider is left alone', q(SELECT failures_in_a_row > 0 FROM rolecall.stat_provider));
is(sql('SELECT count(*) FROM rolecall.users WHERE roles_stale'), '0', 'not before');
move_clock($node, 2 * 3600);
until_true('whose roles were not confirmed for a day', 'SELECT count(*) >= 9 FROM rolecall.users WHERE roles_stale');
is(sql('SELECT rolecall.me(1) -> $$roles_stale$$, rolecall.has_role(1, $$reader$$)'), 'true|t', 'me() says so, and roles stay');
sql('SELECT rolecall.stop_provider($$hr$$, 1, 1, 1, 1, 1)');
move_clock($node, 60);
$provider->no_fault;
sql('SELECT rolecall.resume_provider($$hr$$)');
like(sql('SELECT rolecall.force_sync_user_roles(1)'), qr/^\(1,f/, 'confirmed, and nothing changed');
is(sql('SELECT rolecall.me(1) -> $$roles_stale$$'), 'false', 'which clears it');
move_clock($node, 7200);
until_true('the worker clears the others', 'SELECT count(*) = 0 FROM rolecall.users WHERE roles_stale');
sql('SELECT rolecall.stop_provider($$hr$$, 1, 1, 1, 1, 1)');
move_clock($node, 2 * 86400);
until_true('a provider that is stopped confirms nobody', 'SELECT count(*) = 10 FROM rolecall.users WHERE roles_stale');
$node->stop;

done_testing();
