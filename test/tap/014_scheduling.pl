# Who is synchronized when: order, fairness, scope, rate, several workers; and an hour in which the provider is away.
use strict;
use warnings;

use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '20000');
my $node = new_node('scheduling', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 20ms
rolecall.debug_points = on
fsync = off
log_min_messages = warning
CONF
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
SQL

sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub until_sql { my ($what, $text) = @_; $node->poll_query_until('postgres', $text) or die $what; return; }
sub set_worker {
	my ($on, $count) = @_;
	$node->append_conf('postgresql.conf', "rolecall.worker = $on\nrolecall.sync_workers = " . ($count // 1) . "\n");
	$node->reload;
	until_sql("workers $on", "SELECT count(*) = " . ($on eq 'on' ? $count // 1 : 0) . " FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'");
	return;
}
sub add_users {
	my ($first, $count, $server, $subject) = @_;
	sql("INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT $first + g, '$server' || $first + g, '$server', (100000 + $subject + g)::text FROM generate_series(0, $count - 1) g");
	return;
}
# Subjects in the order in which they were asked for, as user ids of `hr`.
sub order_of { my ($p) = @_; return map { $_ - 99999 } @{ $p->requests->{order} }; }
my $nobody_due = "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '%d seconds' OR requested_at IS NOT NULL";
sub until_settled { my ($what) = @_; until_sql($what, sprintf($nobody_due, $clock) . ' AND NOT EXISTS (SELECT FROM rolecall.sync_requests)'); return; }

# ---- SIGHUP --------------------------------------------------------------------------------------------------------

# One worker in 200 missed the one that came while it started, and stayed.
for my $round (1 .. 100) {
	$node->append_conf('postgresql.conf', 'rolecall.worker = on');
	$node->reload;
	usleep(rand 60_000);
	set_worker('off');
}
pass('a worker that is just starting hears of a change');

# ---- Order ---------------------------------------------------------------------------------------------------------

sql(q(ALTER SERVER hr OPTIONS (ADD max_in_flight '1')));
add_users(1, 60, 'hr', 0);
# 1 to 20 are due, the last the longest; 21 to 30 are asked for, the last first; 31 to 40 by force; 41 to 60 are fresh.
sql(<<'SQL');
UPDATE rolecall.sync_state SET next_sync_at = now() - interval '1 hour' - user_id * interval '1 second' WHERE user_id <= 20;
UPDATE rolecall.sync_state SET next_sync_at = now() + interval '1 hour', last_roles_sync_at = now() WHERE user_id > 40;
UPDATE rolecall.sync_state SET next_sync_at = now() + interval '1 hour' WHERE user_id BETWEEN 21 AND 40;
UPDATE rolecall.sync_state SET requested_at = now() - user_id * interval '1 second', force = user_id > 30 WHERE user_id BETWEEN 21 AND 40;
SQL
set_worker('on');
until_settled('the first round');
is_deeply([ order_of($provider) ], [ reverse(31 .. 40), reverse(21 .. 30), reverse(1 .. 20) ], 'forced requests first, then requests, then who is due; the oldest first');
sql(q(ALTER SERVER hr OPTIONS (DROP max_in_flight)));

# ---- Fairness -------------------------------------------------------------------------------------------------------

# One provider has much to do and is slow, the other little.
my $slow = start_provider('--users', '20000', '--delay', '50');
sql("CREATE SERVER slow FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$slow->{url}', max_in_flight '4')");
add_users(10_000, 2000, 'slow', 0);
wait_for('the slow one', sub { $slow->requests->{total} > 20 });
$provider->forget_requests;
sql('UPDATE rolecall.sync_state SET next_sync_at = now(), last_roles_sync_at = NULL WHERE user_id BETWEEN 41 AND 60');
sql('SELECT rolecall.wake_worker()');
until_sql('the quick one', 'SELECT count(*) = 20 FROM rolecall.sync_state WHERE user_id BETWEEN 41 AND 60 AND last_roles_sync_at IS NOT NULL');
cmp_ok(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'slow' AND last_roles_sync_at IS NULL)), '>', 1000, q(a long queue of one provider's does not delay another's users));
sql(q(DELETE FROM rolecall.users WHERE provider = 'slow'; DROP SERVER slow));

# ---- Scope ---------------------------------------------------------------------------------------------------------

sql(q(ALTER SERVER hr OPTIONS (ADD sync_scope 'active', ADD active_window '10 days')));
$provider->forget_requests;
add_users(101, 40, 'hr', 100);
sql(q(SELECT rolecall.touch_user(g) FROM generate_series(101, 105) g));
# (Some may have been put to sleep before they were touched: that wakes them.)
until_sql('the active ones', 'SELECT count(*) = 5 FROM rolecall.users WHERE id BETWEEN 101 AND 140 AND roles_synced');
until_settled('active users');
is(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE user_id BETWEEN 106 AND 140 AND next_sync_at = 'infinity' AND last_roles_sync_at IS NULL)), '35', q(sync_scope 'active': who was never there waits for it));
is_deeply([ sort { $a <=> $b } order_of($provider) ], [ 101 .. 105 ], '... and is not asked for');
sql('SELECT rolecall.touch_user(110)');
until_sql('the one who came', 'SELECT roles_synced FROM rolecall.users WHERE id = 110');
pass('who comes is synchronized at once');
sql('SELECT rolecall.trigger_role_sync_for_user(111); SELECT rolecall.sync_user_roles(112)');
until_sql('the one who was asked for', 'SELECT roles_synced FROM rolecall.users WHERE id = 111');
is(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE user_id IN (111, 112) AND active_at IS NOT NULL AND next_sync_at < 'infinity')), '2', 'to be asked for is to be active');
# Writes once in five minutes
my $version = sql('SELECT xmin FROM rolecall.sync_state WHERE user_id = 110');
sql('SELECT rolecall.touch_user(110)');
is(sql('SELECT xmin FROM rolecall.sync_state WHERE user_id = 110'), $version, 'to be there again in five minutes writes nothing');
my $holder = session($node);
$holder->query_safe('BEGIN; SELECT 1 FROM rolecall.sync_state WHERE user_id = 120 FOR UPDATE');
sql(q(SET lock_timeout = '5s'; SELECT rolecall.touch_user(120)));
pass('and never waits');
$holder->query_safe('COMMIT');
$holder->quit;
# Who comes just when the inactive have been put to sleep is none of the active.
create_points($node);
my $adding = session($node);
$adding->query_safe("BEGIN; INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'late' || g, 'hr', (100099 + g)::text FROM generate_series(141, 150) g");
hold($node, 'sync-scope-adjusted');
sql('SELECT rolecall.wake_worker()');
wait_at($node, 'sync-scope-adjusted');
$adding->query_safe('COMMIT');
$adding->quit;
release($node, 'sync-scope-adjusted');
until_sql('those who came late', q(SELECT count(*) = 10 FROM rolecall.sync_state WHERE user_id BETWEEN 141 AND 150 AND next_sync_at = 'infinity'));
is(sql('SELECT count(*) FROM rolecall.users WHERE id BETWEEN 141 AND 150 AND roles_synced'), '0', '... nor is who comes when they have been put to sleep');
# 106 was there, but that is too long ago.
sql(q(UPDATE rolecall.sync_state SET active_at = now() - interval '11 days', next_sync_at = now() WHERE user_id = 106; SELECT rolecall.wake_worker()));
until_sql('the one who left', q(SELECT next_sync_at = 'infinity' FROM rolecall.sync_state WHERE user_id = 106));
pass('... outside active_window is inactive');
sql(q(ALTER SERVER hr OPTIONS (SET sync_scope 'all')));
sql('SELECT rolecall.wake_worker()');
until_sql('everybody', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced');
pass(q(sync_scope 'all' again: everybody));
like(error_of($node, q(ALTER SERVER hr OPTIONS (SET sync_scope 'some'))), qr/22023: invalid value for option "sync_scope": unknown scope/, 'another scope');
sql('DELETE FROM rolecall.users');

# ---- A mass import: no herd ---------------------------------------------------------------------------------------

sql(q(ALTER SERVER hr OPTIONS (ADD rate_limit '400', SET sync_scope 'all')));
$provider->forget_requests;
my $started = time;
add_users(1, 2000, 'hr', 0);
until_sql('the import', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced');
my $took = time - $started;
cmp_ok($took, '>=', (2000 - 40) / 400 - 0.1, sprintf('2000 new users at 400 a second: %.1f s', $took));
my $most = $provider->requests->{most_in_flight};
cmp_ok($most, '<=', 64, "at most $most requests at once");
is($provider->requests->{total}, 2000, 'each was asked for once');
# Due again over the last fifth of the TTL: in none of its tenths much more than a tenth of them.
my $fullest = sql(<<'SQL');
SELECT max(n) FROM (SELECT count(*) AS n FROM rolecall.sync_state
    GROUP BY width_bucket(extract(epoch FROM next_sync_at - last_roles_sync_at), 720, 900, 10)) b
SQL
cmp_ok($fullest, '<', 300, "due again apart: $fullest of 2000 in the fullest tenth");
# A restart does not make anybody due.
$provider->forget_requests;
$node->restart;
until_sql('the worker', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND state = 'idle'));
is($provider->requests->{total}, 0, 'after a restart nobody is asked for who is not due');

# ---- Several workers -------------------------------------------------------------------------------------------------

sql(q(ALTER SERVER hr OPTIONS (SET rate_limit '0', ADD max_in_flight '16')));
$provider->fault(mode => 'slow', ms => 20);
set_worker('on', 3);
$provider->forget_requests;
sql('UPDATE rolecall.sync_state SET next_sync_at = now(), last_roles_sync_at = NULL; SELECT rolecall.wake_worker()');
# Sessions ask for the same users meanwhile: those who are being synchronized are.
sql('SELECT rolecall.trigger_role_sync_for_user(g) FROM generate_series(1, 2000, 10) g');
until_settled('several workers');
my $requests = $provider->requests;
is($requests->{most_of_one}, 1, 'three workers: no user was asked for twice at once');
is($requests->{total}, 2000, '... nor twice');
cmp_ok($requests->{most_in_flight}, '>', 16, "... and more than one was at it ($requests->{most_in_flight} requests at once)");
$provider->no_fault;
set_worker('on', 1);

# ---- An hour's outage --------------------------------------------------------------------------------------------------

sql(q(ALTER SERVER hr OPTIONS (SET rate_limit '2000', SET max_in_flight '64')));
add_users(2001, 8000, 'hr', 2000);
until_sql('10,000 users', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced');
until_settled('10,000 users');
# Due one after the other over half an hour, in an order that is not that of their ids.
sql(q(UPDATE rolecall.sync_state SET next_sync_at = last_roles_sync_at + interval '1 hour' - (user_id * 7919 % 10000) * interval '150 ms'));
my $grants = sql('SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g');
my $synced = sql('SELECT md5(string_agg((user_id, last_roles_sync_at)::text, chr(10) ORDER BY user_id)) FROM rolecall.sync_state');
my @due = map { split /\n/ } sql('SELECT user_id FROM rolecall.sync_state ORDER BY next_sync_at');
$provider->fault(mode => '500');
$provider->forget_requests;
move_clock($node, 3600 + 60);
until_sql('the breaker', q(SELECT breaker = 'open' AND in_flight = 0 FROM rolecall.stat_provider));
my $at_first = $provider->requests->{total};
cmp_ok($at_first, '<=', 4 + 64, "the breaker opened after $at_first requests");
my $most_a_minute = 0;
my $asked = $at_first;
for my $minute (1 .. 60) {
	move_clock($node, 60);
	until_sql("minute $minute", "SELECT next_attempt_at > now() + interval '$clock seconds' AND in_flight = 0 FROM rolecall.stat_provider WHERE breaker = 'open'");
	my $total = $provider->requests->{total};
	$most_a_minute = max($most_a_minute, $total - $asked);
	$asked = $total;
}
cmp_ok($most_a_minute, '<=', 4, "an hour's outage: at most $most_a_minute probes a minute");
cmp_ok($asked - $at_first, '<=', 60, '... ' . ($asked - $at_first) . ' in all');
cmp_ok($asked - $at_first, '>=', 8, '... not none');
is(sql('SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g'), $grants, '000-20: roles are untouched');
is(sql('SELECT md5(string_agg((user_id, last_roles_sync_at)::text, chr(10) ORDER BY user_id)) FROM rolecall.sync_state'), $synced, '000-20: so are the times of syncs');
my %failed = map { $_ => 1 } split /\n/, sql('SELECT user_id FROM rolecall.sync_state WHERE attempts > 0');

# It is back.
$provider->no_fault;
$provider->forget_requests;
$started = time;
move_clock($node, 400);    # the longest that the breaker is open
until_sql('the backlog', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE user_id <= 10000 AND last_roles_sync_at < now() + interval '$clock seconds' - interval '400 seconds'");
$took = time - $started;
is(sql('SELECT breaker FROM rolecall.stat_provider'), 'closed', 'when it is back the backlog is worked off');
cmp_ok($provider->requests->{total} / $took, '<=', 2000 * 1.05 + 200 / $took, sprintf('... within the rate limit: %d requests in %.1f s', $provider->requests->{total}, $took));
is(sql('SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g'), $grants, '... nothing has changed');
# The oldest first: requests overtake each other by no more than what is under way and in a batch. Those who were
# asked for during the outage have a retry of their own.
my %place;
my $n = 0;
$place{$_} //= $n++ for grep { !$failed{$_} } order_of($provider);
my @untouched = grep { !$failed{$_} } @due;
is(scalar(keys %place), scalar(@untouched), '... everybody was asked for');
my $worst = max(map { abs($place{ $untouched[$_] } - $_) } 0 .. $#untouched);
cmp_ok($worst, '<=', 300, "... the oldest first: nobody more than $worst places from the order of being due");

$node->stop;
done_testing();
