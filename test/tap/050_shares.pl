# Nobody takes what others need as well: a provider with long answers the worker's time, sessions a provider's rate or a
# user's lock. Revocations go on beside all of them.
use strict;
use warnings;

use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $long = start_provider('--users', '1000');
my $node = new_node('shares', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
max_worker_processes = 20
max_connections = 60
CONF
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER long FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$long->{url}', max_revocation '100%');
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', max_revocation '100%');
CREATE ROLE syncer LOGIN;
GRANT USAGE ON SCHEMA rolecall TO syncer;
GRANT EXECUTE ON FUNCTION rolecall.sync_user_roles(bigint), rolecall.force_sync_user_roles(bigint), rolecall.trigger_role_sync_for_user(bigint, boolean) TO syncer;
SQL

sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub until_true { my ($what, $text) = @_; $node->poll_query_until('postgres', $text) or die "timed out waiting until $what"; return pass($what); }
sub says { my ($uid, @roles) = @_; return $provider->put_user(100000 + $uid, { code => '' . (100000 + $uid), roles => [@roles] }); }

# Sessions of the role syncer that do the same over and over, until they are ended.
sub loops {
	my (@scripts) = @_;
	my @running;
	for my $script (@scripts) {
		my ($out, $err) = ('', '');
		my $file = PostgreSQL::Test::Utils::tempdir() . '/loop.sql';
		append_to_file($file, join "\n", $script->{setup} // '', ($script->{statement}) x 100_000, '');
		push @running, start([ 'psql', '-XAtq', '-U', 'syncer', '-f', $file, $node->connstr('postgres') ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
	}
	return @running;
}
sub end_loops {
	my (@running) = @_;
	$_->kill_kill for @running;
	until_true('the sessions have ended', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'syncer'));
	return;
}

# ---- Time: another provider's long answers ------------------------------------------------------------------------------

for my $case ([ {}, 300_000 ], [ { role => 'a', on => { lab => '1' } }, 30_000 ], [ 'a', 200_000 ]) {
	my ($role, $count) = @$case;
	my $what = ref $role ? join ' ', 'an object of', sort keys %$role : 'a name';
	sql('DELETE FROM rolecall.users');
	$long->fault(mode => 'many_roles', count => $count, role => $role);
	says(1, 'reader');
	sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'long' || g, 'long', (100000 + g)::text FROM generate_series(100, 299) g));
	until_true("$what: the worker is at it", q(SELECT count(*) > 2 FROM rolecall.sync_state WHERE provider = 'long' AND attempts > 0));
	sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'one', 'hr', '100001')));
	my $before = sql(q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'long' AND attempts > 0));
	until_true("$what: another provider's user is synchronized", 'SELECT roles_synced FROM rolecall.users WHERE id = 1');
	# A batch of those that were answered may have been under way.
	my $after = sql(q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'long' AND attempts > 0));
	cmp_ok($after - $before, '<', 60, '... before most of the others, who had been there first');
	cmp_ok(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'long' AND last_error LIKE '%more than 10000 roles%')), '>', 0, '... whose answers are refused');
	SKIP: {
		skip 'no /proc here', 1 unless -r '/proc/self/status';
		my $pid = sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
		my ($peak) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m;
		cmp_ok($peak, '<', 300_000, "... the worker was never larger than $peak kB");
	}
}
$long->no_fault;
sql('DELETE FROM rolecall.users');

# ---- A provider's rate --------------------------------------------------------------------------------------------------

# 30 sessions ask as often as they can. Half of what the provider takes is the worker's while it has somebody due.
sql(q(ALTER SERVER hr OPTIONS (ADD rate_limit '20')));
sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(1, 60) g));
until_true('everybody is synchronized', 'SELECT bool_and(roles_synced) FROM rolecall.users');
my @greedy = loops(map { { statement => "SELECT rolecall.force_sync_user_roles($_);" } } 1 .. 30);
until_true('sessions take the whole rate', q(SELECT in_flight >= 25 FROM rolecall.stat_provider WHERE provider = 'hr'));
$provider->forget_requests;
says($_, 'shared') for 31 .. 60;
sql('SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(31, 60) g');
until_true('the worker synchronizes its users beside them', 'SELECT count(DISTINCT user_id) = 30 FROM rolecall.user_roles WHERE role = \'shared\'');
my $asked = $provider->requests->{by_subject};
my ($sessions, $worker) = (0, 0);
$_ <= 100030 ? ($sessions += $asked->{$_}) : ($worker += $asked->{$_}) for keys %$asked;
# What waited in line before the worker came is served first: at most a timeout's worth.
note("$sessions requests of sessions, $worker of the worker");
cmp_ok($sessions, '>', 0, '... who go on, too');
cmp_ok($sessions, '<', 2 * $worker + 60, '... at about the same rate');
end_loops(@greedy);
sql(q(ALTER SERVER hr OPTIONS (DROP rate_limit)));

# ---- A user's lock ------------------------------------------------------------------------------------------------------

# The provider takes longer than the session has patience, and the session asks again at once: somebody holds the user
# whenever the worker looks.
sql(q(UPDATE rolecall.sync_state SET next_sync_at = 'infinity'));
until_true('nobody is asked for', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL OR leased_by IS NOT NULL');
says(1, 'reader', 'editor');
sql('SELECT rolecall.force_sync_user_roles(1)');
$provider->fault(mode => 'slow', ms => 400);
my @stubborn = loops(map { { setup => q(SET statement_timeout = '150ms';), statement => $_ } }
	  'SELECT rolecall.force_sync_user_roles(1);', 'SELECT rolecall.sync_user_roles(1);', 'SELECT rolecall.force_sync_user_roles(1);');
until_true('a session holds the user', q(SELECT count(*) > 0 FROM rolecall.sync_locks() WHERE kind = 'user' AND key = 1));
says(1, 'reader');
my $began = sql('SELECT clock_timestamp()');
sql('UPDATE rolecall.sync_state SET requested_at = now(), force = true WHERE user_id = 1; SELECT rolecall.wake_worker()');
until_true('who is passed by is named, and since when, although no lock lasts', "SELECT count(*) > 0 FROM rolecall.stat_held_up WHERE user_id = 1 AND held = 'the sync of a user' AND since < clock_timestamp() - interval '1 second' AND since >= '$began'");
until_true('... in stat_provider as well', "SELECT held_up = 'the sync of a user' AND held_up_since >= '$began' FROM rolecall.stat_provider WHERE provider = 'hr'");
until_true('sessions step aside: the role is gone', 'SELECT count(*) = 1 FROM rolecall.user_roles WHERE user_id = 1');
until_true('... and nothing is held up any more', 'SELECT count(*) = 0 FROM rolecall.stat_held_up WHERE user_id = 1');
end_loops(@stubborn);
$provider->no_fault;
sql('SELECT rolecall.force_sync_user_roles(1)');
pass('... and sessions may ask again');

# Who has the user already goes on in that transaction, and says what the others are told.
my $holder = session($node);
$holder->query_safe('BEGIN; SELECT 1 FROM rolecall.sync_user_roles(2)');
sql('UPDATE rolecall.sync_state SET requested_at = now(), force = true WHERE user_id = 2; SELECT rolecall.wake_worker()');
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM rolecall.sync_locks() WHERE kind = 'user' AND key = 2 AND waits_since < clock_timestamp() - interval '5 seconds'") or die;
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(2)'), qr/RC105: user 2 is left to the worker\nDETAIL:  Others have kept the worker from this user for [0-9]+ s\.\nHINT: /, 'others do not wait behind who keeps the worker waiting');
like(error_of($node, q(SELECT rolecall.sync_user_roles(2, '{"roles": []}', true))), qr/RC105: user 2 is left to the worker/, '... whatever function they call');
like(error_of($node, q(SELECT rolecall.sync_user_units(2, '[]'))), qr/RC105: user 2 is left to the worker/, '... all of them');
is($holder->query_safe('SELECT user_id FROM rolecall.sync_user_roles(2)'), '2', 'who holds the user may ask again');
$holder->query_safe('COMMIT');
$holder->quit;
until_true('and then it is the worker\'s turn', 'SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 2');
sql('SELECT rolecall.force_sync_user_roles(2)');
pass('... and anybody\'s');
$node->stop;

done_testing();
