# Syncs in sessions: the breaker and the rate limit that they share with workers, two syncs of one user, and deaths.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider();
my $node = new_node('sessions_crash', "restart_after_crash = on\nrolecall.sync_naptime = 50ms\n");
create_extension($node);
$node->safe_psql('postgres', <<SQL);
DELETE FROM rolecall.users;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', request_timeout '5s');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 1 + g, 'u' || g, 'hr', (100000 + g)::text FROM generate_series(0, 49) g;
SQL

sub breaker { return $node->safe_psql('postgres', q(SELECT breaker FROM rolecall.stat_provider WHERE provider = 'hr')); }
sub grants { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM rolecall.user_roles WHERE user_id = $uid"); }
sub asked { my ($subject) = @_; return $provider->requests->{by_subject}{$subject} // 0; }

# ---- The breaker ---------------------------------------------------------------------------------------------------

$provider->fault(mode => '500');
for my $uid (1 .. 5) {
	is(breaker(), 'closed', "before failure $uid the breaker is closed");
	like(error_of($node, "SELECT rolecall.sync_user_roles($uid)"), qr/RC101: /, '... and the provider is asked');
}
is(breaker(), 'open', 'failures of sessions open it');
$provider->forget_requests;
like(error_of($node, 'SELECT rolecall.sync_user_roles(6)'),
	qr/RC105: provider "hr" is not asked now\nDETAIL:  It failed several times in a row, or wants to be left alone; it may be asked again in \d+ s\.\nHINT/, 'then sessions are told at once');
is($provider->requests->{total}, 0, '... and the provider is left alone');
$provider->no_fault;
move_clock($node, 60);
is($node->safe_psql('postgres', 'SELECT has_changed FROM rolecall.sync_user_roles(6)'), 't', 'after the pause a session probes');
is(breaker(), 'closed', '... and closes it for all');

# The worker's failures, and the worker's news, are the sessions' too.
$provider->fault(mode => '500');
$node->append_conf('postgresql.conf', "rolecall.worker = on\n");
$node->reload;
$node->poll_query_until('postgres', q(SELECT breaker = 'open' FROM rolecall.stat_provider WHERE provider = 'hr')) or die;
like(error_of($node, 'SELECT rolecall.sync_user_roles(7)'), qr/RC105: /, 'a breaker that the worker opened holds for sessions');
$provider->no_fault;
move_clock($node, 600);
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced') or die;
is(breaker(), 'closed', 'the worker closed it');

# Half-open: one probe, whoever makes it.
$node->append_conf('postgresql.conf', "rolecall.worker = off\n");
$node->reload;
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')) or die;
$provider->fault(mode => '500');
error_of($node, "SELECT rolecall.force_sync_user_roles($_)") for 1 .. 5;
$provider->fault(mode => 'slow', ms => 2000);
move_clock($node, 600);
$provider->forget_requests;
my $prober = session($node);
begin_query($prober, 'SELECT rolecall.force_sync_user_roles(1)');
wait_for('the probe', sub { $provider->requests->{in_flight} == 1 });
is(breaker(), 'half-open', 'half-open while one probes');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(2)'), qr/RC105: /, '... and others do not');
finish_query($prober);
is(breaker(), 'closed', 'the probe went through');
$provider->no_fault;

# Retry-After, in seconds and as a date, tells sessions as well.
for my $date ('', 'a date') {
	$provider->fault(mode => '429', retry_after => $date ? scalar(gmtime(time + 100)) =~ s/^(\w+) (\w+) +(\d+) ([\d:]+) (\d+)$/sprintf('%s, %02d %s %d %s GMT', $1, $3, $2, $5, $4)/er : 100);
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(3)'), qr/RC101: .*\n.*429/, 'asked to wait ' . ($date || 'some seconds'));
	$provider->no_fault;
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(4)'), qr/RC105: .*\nDETAIL:  .*asked again in (?:9[0-9]|100) s/, '... so sessions wait');
	is(breaker(), 'closed', '... though it is not broken');
	move_clock($node, 101);
	is($node->safe_psql('postgres', 'SELECT user_id FROM rolecall.force_sync_user_roles(4)'), '4', '... until then');
}

# ---- The rate limit ------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (ADD rate_limit '5', SET request_timeout '2s')));
my $started = time;
$node->safe_psql('postgres', 'SELECT count(rolecall.force_sync_user_roles(g)) FROM generate_series(1, 8) g');
my $took = time - $started;
cmp_ok($took, '>=', 7 / 5 - 0.05, sprintf('eight syncs at five a second: %.1f s', $took));
cmp_ok($took, '<', 10, '... and not much longer');
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (SET rate_limit '0.01')));
$node->safe_psql('postgres', 'SELECT rolecall.force_sync_user_roles(1)');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(2)'),
	qr/RC105: .*\nDETAIL:  Its rate limit is reached; it would be this request's turn in (?:99|100) s, which is longer than request_timeout/, 'nobody waits longer than request_timeout');
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (SET rate_limit '0')));
like(error_of($node, q(ALTER SERVER hr OPTIONS (SET rate_limit '-1'))), qr/22023: invalid value for option "rate_limit"/, 'a negative rate');
like(error_of($node, q(ALTER SERVER hr OPTIONS (SET rate_limit 'fast'))), qr/22023: invalid value for option "rate_limit": invalid number/, 'no rate');

# ---- Two syncs of one user ------------------------------------------------------------------------------------------

$provider->fault(mode => 'slow', ms => 1000, subject => '100009');
$provider->forget_requests;
$node->safe_psql('postgres', 'UPDATE rolecall.sync_state SET last_roles_sync_at = NULL WHERE user_id = 10');
my $first = session($node);
my $second = session($node);
begin_query($first, 'SELECT has_changed, skipped_due_to_ttl FROM rolecall.sync_user_roles(10)');
wait_for('the first request', sub { asked('100009') == 1 });
begin_query($second, 'SELECT has_changed, skipped_due_to_ttl FROM rolecall.sync_user_roles(10)');
like(finish_query($first), qr/^[tf]\|f$/, 'the first sync');
is(finish_query($second), 'f|t', 'the second waited, and finds the roles fresh');
is(asked('100009'), 1, '... without asking again');
$provider->no_fault;

$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (SET request_timeout '300ms')));
$first->query_safe('BEGIN; SELECT 1 FROM rolecall.force_sync_user_roles(10)');    # goes on for long after its answer
$second->{stderr} = '';
$second->query('SELECT rolecall.sync_user_roles(10)');
like($second->{stderr}, qr/user 10 is being synchronized by another session\nDETAIL:  It was waited for for 300 ms, the request timeout\.\nHINT/, 'it waits for request_timeout, and says so');
like(error_of($node, q(SET rolecall.request_timeout = '200ms'; SELECT rolecall.sync_user_roles(10, '{"roles": []}'))), qr/55P03: user 10 is being synchronized by another session\nDETAIL:  .* 200 ms/, 'roles that are given, too');
like(error_of($node, q(SET lock_timeout = '100ms'; SELECT rolecall.sync_user_roles(10))), qr/55P03: canceling statement due to lock timeout/, q(the session's own lock_timeout is shorter));
is($node->safe_psql('postgres', q(SET lock_timeout = '7s'; SELECT 1 FROM rolecall.sync_user_roles(11); SHOW lock_timeout)), "1\n7s", '... and stays as it is');
$first->query_safe('COMMIT');
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (SET request_timeout '5s')));

# ---- No transaction id while the provider is asked ------------------------------------------------------------------

$node->safe_psql('postgres', 'SELECT rolecall.sync_user_roles(12)');
$provider->fault(mode => 'hang', subject => '100012');
begin_query($first, 'SELECT rolecall.force_sync_user_roles(13)');
wait_for('the request', sub { $provider->requests->{in_flight} == 1 });
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()'), '0', 'no transaction id');
$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'changed meanwhile' WHERE id = 12));
sub hits { return $node->safe_psql('postgres', 'SELECT hits FROM rolecall.stat_cache'); }
is($node->safe_psql('postgres', q(SELECT rolecall.me(12) ->> 'display_name')), 'changed meanwhile', 'a user who changed meanwhile is read');
my $hits = hits();
is($node->safe_psql('postgres', q(SELECT rolecall.me(12) ->> 'display_name')), 'changed meanwhile', '... again');
is(hits() - $hits, 1, '... and then from the cache, while the other is still being asked for');
is($provider->requests->{in_flight}, 1, '(it is)');
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%force_sync_user_roles(13)%' AND pid <> pg_backend_pid()));
finish_query($first);
$provider->no_fault;
$_->quit for $first, $second, $prober;

# ---- A session that dies -------------------------------------------------------------------------------------------

my $uid = 20;
for my $point ('session-sync-begin', 'session-sync-fetched', 'session-sync-applied') {
	$provider->put_user(99999 + $uid, { code => 99999 + $uid, roles => [ 'one', 'two', 'three' ] });
	my $before = $node->safe_psql('postgres', "SELECT count(*) FROM rolecall.role_changes WHERE user_id = $uid");
	my $held = grants($uid);
	hold($node, $point);
	my $victim = session($node, 'rolecall.debug_points' => 'on');
	$node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user($uid, true)");
	begin_query($victim, "SELECT rolecall.force_sync_user_roles($uid)");
	wait_at($node, $point);
	kill_process($node, $node->safe_psql('postgres', "SELECT test.waiting('$point')")) or die 'there was no process to kill';
	is(grants($uid), $held, "SIGKILL at $point: nothing is half done");
	is($node->safe_psql('postgres', "SELECT count(*) FROM rolecall.role_changes WHERE user_id = $uid"), $before, '... and nothing is in the audit');
	is($node->safe_psql('postgres', "SELECT count(*) FROM rolecall.sync_requests WHERE user_id = $uid"), '1', '... and the request still stands');
	is($node->safe_psql('postgres', "SELECT roles_changed, jsonb_array_length(new_roles) FROM rolecall.force_sync_user_roles($uid)"), 't|3', '... and the next sync goes through');
	is($node->safe_psql('postgres', "SELECT count(*) - $before = $held + 3 FROM rolecall.role_changes WHERE user_id = $uid"), 't', '... once');
	eval { $victim->quit };
	$uid++;
}
# The worker takes up what was asked for.
$node->append_conf('postgresql.conf', "rolecall.worker = on\n");
$node->reload;
$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM rolecall.sync_requests) AND NOT EXISTS (SELECT FROM rolecall.sync_state WHERE requested_at IS NOT NULL)') or die;
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT FROM rolecall.role_changes WHERE user_id BETWEEN 20 AND 22 GROUP BY user_id, role, scope_kind, scope_id, change HAVING count(*) > 1) d'), '0', 'nothing was applied twice');

$node->stop;
done_testing();
