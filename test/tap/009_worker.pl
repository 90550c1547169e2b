# The background worker: who starts and leaves when, what is synchronized when, and what happens when something dies.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('worker_crash', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
rolecall.debug_points = on
restart_after_crash = on
max_worker_processes = 20
CONF

sub workers {
	return $node->safe_psql('postgres', q(SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
}
sub wait_for_workers {
	my ($expected, $what) = @_;
	wait_for("workers: $what", sub { workers() eq $expected });
	return pass("$what: workers in \"$expected\"");
}
sub configure {
	my ($database) = @_;
	$node->safe_psql($database, <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
INSERT INTO rolecall.units (institutional_id, name) SELECT 'unit' || g, 'Unit ' || g FROM generate_series(0, 199) g;
SQL
	return;
}
sub add_users {
	my ($database, $from, $to) = @_;
	$node->safe_psql($database,
		"INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 1 + g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series($from, $to) g");
	return;
}
sub all_synced {
	my ($what) = @_;
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced AND provider IS NOT NULL') or die "not all synced: $what";
	return pass($what);
}
# The provider's rule, in SQL: what user n holds; users 6 and 34 to 38 will be changed there.
my $expected_grants = <<'SQL';
SELECT count(*) FROM (
    (SELECT u.id, 'reader', 'global', '' FROM rolecall.users u WHERE u.provider = 'hr' AND u.id NOT IN (6, 34, 35, 36, 37, 38)
     UNION
     SELECT u.id, (ARRAY['reader', 'editor', 'admin', 'auditor', 'manager'])[1 + (u.id - 1 + i) % 5], 'institutional', 'unit' || (u.id - 1 + 7 * i) % 200
     FROM rolecall.users u, generate_series(0, 3) i WHERE u.provider = 'hr' AND u.id NOT IN (6, 34, 35, 36, 37, 38) AND i < (u.id - 1) % 4)
    EXCEPT SELECT user_id, role, scope_kind, scope_id FROM rolecall.user_roles WHERE source = 'provider'
) missing
SQL
sub is_as_provider_says {
	my ($what) = @_;
	is($node->safe_psql('postgres', $expected_grants), '0', "$what: roles are as the provider says");
	return;
}
sub first_failure { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT state FROM failures WHERE user_id = $uid ORDER BY id LIMIT 1"); }
sub asked { my ($subject) = @_; return $provider->requests->{by_subject}{$subject} // 0; }
sub grants { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT string_agg(role, ' ' ORDER BY role) FROM rolecall.user_roles WHERE user_id = $uid"); }

# ---- Coming and going --------------------------------------------------------------------------------------------

is(workers(), '', 'no extension, no worker');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall launcher')), '1', 'the launcher is there');
configure('postgres');
wait_for_workers('postgres', 'CREATE EXTENSION announces itself');
$node->safe_psql('postgres', 'CREATE DATABASE other');
configure('other');
wait_for_workers('other postgres', 'a second database');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE other');
pass('CREATE DATABASE ... TEMPLATE with a worker in it');
wait_for_workers('copy other postgres', 'and the worker came back, and one to the copy');
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
wait_for_workers('other postgres renamed', 'ALTER DATABASE RENAME');
$node->safe_psql('postgres', 'DROP DATABASE renamed');
wait_for_workers('other postgres', 'DROP DATABASE');
$node->safe_psql('other', 'DROP EXTENSION rolecall CASCADE');
wait_for_workers('postgres', 'DROP EXTENSION');
$node->safe_psql('other', 'CREATE EXTENSION rolecall');
wait_for_workers('other postgres', 'CREATE EXTENSION again');
$node->safe_psql('postgres', 'ALTER DATABASE other SET rolecall.worker = off');
wait_for_workers('postgres', 'ALTER DATABASE ... SET rolecall.worker = off');
$node->safe_psql('postgres', 'ALTER DATABASE other RESET rolecall.worker');
wait_for_workers('other postgres', 'and reset');
my ($ret, $out, $err) = $node->psql('postgres', 'DROP DATABASE nonexistent');
like($err, qr/does not exist/, 'DROP DATABASE of one that is not there');
$node->safe_psql('postgres', 'DROP DATABASE other');
wait_for_workers('postgres', 'back to one');
$node->append_conf('postgresql.conf', "rolecall.sync_workers = 3\n");
$node->reload;
wait_for_workers('postgres postgres postgres', 'SIGHUP: more workers');
$node->append_conf('postgresql.conf', "rolecall.sync_workers = 2\n");
$node->reload;
wait_for_workers('postgres postgres', 'SIGHUP: fewer');
$node->append_conf('postgresql.conf', "rolecall.worker = off\n");
$node->reload;
wait_for_workers('', 'SIGHUP: none');
$node->append_conf('postgresql.conf', "rolecall.worker = on\nrolecall.sync_workers = 1\n");
$node->reload;
wait_for_workers('postgres', 'SIGHUP: one');

# ---- Who is synchronized when -------------------------------------------------------------------------------------

add_users('postgres', 0, 99);
all_synced('new users are synchronized by themselves');
is_as_provider_says('new users');
is($node->safe_psql('postgres', q(SELECT min(next_sync_at - last_roles_sync_at) >= interval '12 minutes' AND max(next_sync_at - last_roles_sync_at) <= interval '15 minutes'
    AND count(DISTINCT next_sync_at - last_roles_sync_at) > 50 FROM rolecall.sync_state)), 't', '000-6: due again within the TTL, with jitter');

# Changed at the provider, picked up when the TTL has passed
$provider->put_user('100005', { code => '100005', roles => ['boss'] });
$provider->forget_requests;
$node->safe_psql('postgres', 'SELECT rolecall.wake_worker()');
is(asked('100005'), 0, 'not before the TTL has passed');
move_clock($node, 16 * 60);
$node->poll_query_until('postgres', q(SELECT rolecall.has_role(6, 'boss'))) or die;
is(grants(6), 'boss', 'a role that changed at the provider is picked up');
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '$clock seconds'") or die;
is($provider->requests->{total}, 100, 'everybody was asked for once');
is($node->safe_psql('postgres', 'SELECT changed, unchanged, failed FROM rolecall.stat_sync'), '101|99|0', '000-24: counted by outcome');
is($node->safe_psql('postgres', q(SELECT sum(value) FROM rolecall.sync_metrics WHERE metric = 'role_sync_duration_seconds_count')), '200', '000-24: and a histogram');

# A session's sync is due again before the worker would have looked.
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (ADD sync_ttl '1s')));
$node->safe_psql('postgres', 'SELECT rolecall.force_sync_user_roles(12)');
$provider->forget_requests;
wait_for('the worker', sub { asked('100011') >= 3 });
pass('the worker comes back in time for what a session synchronized, and for what it did itself');
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (DROP sync_ttl)));
$node->safe_psql('postgres', 'SELECT rolecall.force_sync_user_roles(12)');
$provider->forget_requests;

# trigger_role_sync_for_user
$provider->forget_requests;
like(error_of($node, 'SELECT rolecall.trigger_role_sync_for_user(9999)'), qr/WARNING:  01000: user 9999 does not exist/, '000-19: an unknown user is a warning');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(1)');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_requests') or die;
$node->poll_query_until('postgres', 'SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 1') or die;
is(asked('100000'), 0, '000-19, 000-9: within the TTL and not forced: the provider is not called');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(1, true)');
wait_for('the request', sub { asked('100000') == 1 });
pass('forced: it is');
$node->safe_psql('postgres', 'BEGIN; SELECT rolecall.trigger_role_sync_for_user(2, true); ROLLBACK');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(3, true); SELECT rolecall.trigger_role_sync_for_user(3, true); SELECT rolecall.trigger_role_sync_for_user(3)');
wait_for('the request', sub { asked('100002') >= 1 });
is(asked('100001'), 0, 'a request that was rolled back is none');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_requests') or die;
# It never waits, not even for a session that holds the user's state.
my $holder = session($node);
$holder->query_safe(q(BEGIN; SELECT 1 FROM rolecall.sync_user_roles(4, '{"roles": []}', true)));
$node->safe_psql('postgres', q(SET lock_timeout = '5s'; SELECT rolecall.trigger_role_sync_for_user(4, true)));
pass('asking does not wait for a sync under way');
$holder->query_safe('COMMIT');
$holder->quit;
$node->poll_query_until('postgres', q(SELECT rolecall.has_role(4, 'manager'))) or die;
pass('... and is answered after it');

# Another subject, a new provider id: due at once
$node->safe_psql('postgres', q(UPDATE rolecall.users SET institutional_id = '100500' WHERE id = 10));
wait_for('the new subject', sub { asked('100500') == 1 });
pass('a user who is somebody else for the provider is asked for at once');
$node->safe_psql('postgres', q(UPDATE rolecall.users SET institutional_id = '100009' WHERE id = 10));
wait_for('the old subject', sub { asked('100009') >= 1 });

# ---- Errors: one user's, and a provider's ---------------------------------------------------------------------------

$provider->fault(mode => 'broken_json', subject => '100020');
$provider->fault(mode => 'no_roles', subject => '100021');
$provider->fault(mode => '404', subject => '100022');
my %before = map { $_ => grants($_) } 21 .. 26;
# What is retried soon may be retried before we look.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE failures (id bigint GENERATED ALWAYS AS IDENTITY, user_id bigint, state text, error text);
CREATE FUNCTION note_failure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO public.failures (user_id, state, error)
	VALUES (NEW.user_id, concat_ws('|', NEW.attempts, NEW.last_error IS NOT NULL, NEW.requested_at IS NOT NULL, NEW.leased_by IS NOT NULL), NEW.last_error);
	RETURN NULL;
END $$;
CREATE TRIGGER note_failure AFTER UPDATE ON rolecall.sync_state FOR EACH ROW WHEN (NEW.attempts > OLD.attempts) EXECUTE FUNCTION note_failure();
SQL
$node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(21, 26) g");
$node->poll_query_until('postgres', 'SELECT count(DISTINCT user_id) = 3 FROM failures') or die;
for my $uid (21 .. 23) {
	is(first_failure($uid), '1|t|t|f', "user $uid: the error is noted, and the request stands");
	is(grants($uid), $before{$uid}, '... and the roles are as they were');
}
$node->poll_query_until('postgres', 'SELECT count(*) = 3 FROM rolecall.sync_state WHERE user_id BETWEEN 24 AND 26 AND requested_at IS NULL') or die;
pass('others in the batch went through');
is($node->safe_psql('postgres', 'SELECT breaker FROM rolecall.stat_provider'), 'closed', q(a subject's trouble is not the provider's));
$provider->no_fault;
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE attempts > 0 OR requested_at IS NOT NULL') or die;
pass('after the pause they are tried again, and go through');

# A provider that asks for time
$provider->fault(mode => '429', retry_after => 600);
$provider->forget_requests;
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(31, true)');
$node->poll_query_until('postgres', 'SELECT attempts = 1 FROM rolecall.sync_state WHERE user_id = 31') or die;
is($node->safe_psql('postgres', "SELECT breaker, next_attempt_at > now() + interval '$clock seconds' + interval '590 seconds' FROM rolecall.stat_provider"),
	'closed|t', 'Retry-After: it says until when');
$provider->no_fault;
move_clock($node, 300);
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(32, true)');
$node->poll_query_until('postgres', 'SELECT requested_at IS NOT NULL FROM rolecall.sync_state WHERE user_id = 32') or die;
is($provider->requests->{total}, 1, '... and is left alone until then');
move_clock($node, 301);
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL') or die;
pass('... and asked after it');

# 000-22: an error of the database's own, in the middle of a batch
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no boss here' USING DETAIL = 'Not ever.'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON rolecall.user_roles FOR EACH ROW WHEN (NEW.role = 'chief') EXECUTE FUNCTION refuse();
SQL
$provider->put_user("1000$_", { code => "1000$_", roles => ['chief'] }) for 34, 36;
$provider->put_user("1000$_", { code => "1000$_", roles => ['deputy'] }) for 33, 35, 37;
$before{35} = grants(35);
$node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(34, 38) g");
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM failures WHERE state LIKE '1|%' AND error = 'no boss here: Not ever.')) or die;
$node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM rolecall.user_roles WHERE role = 'deputy')) or die;
is(grants(35), $before{35}, '000-22: rolled back for whom it failed, and for nobody else');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON rolecall.user_roles; DROP FUNCTION refuse()');
move_clock($node, 30);
$node->poll_query_until('postgres', q(SELECT count(*) = 2 FROM rolecall.user_roles WHERE role = 'chief')) or die;
pass('000-22: retried later');

# A provider that is not configured
$node->safe_psql('postgres', q(UPDATE rolecall.users SET provider = 'nowhere' WHERE id = 30));
$node->poll_query_until('postgres', 'SELECT attempts > 0 FROM rolecall.sync_state WHERE user_id = 30') or die;
like($node->safe_psql('postgres', 'SELECT last_error FROM rolecall.sync_state WHERE user_id = 30'), qr/provider "nowhere" does not exist/, 'a provider that is not there is an error of its users');
$node->safe_psql('postgres', q(UPDATE rolecall.users SET provider = 'hr' WHERE id = 30));

# One provider that hangs holds nobody else's users up.
my $slow = start_provider('--users', '1000');
$slow->fault(mode => 'hang');
$node->safe_psql('postgres', <<SQL);
CREATE SERVER slow FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$slow->{url}', max_in_flight '3', request_timeout '10s');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 5000 + g, 'slow' || g, 'slow', (100000 + g)::text FROM generate_series(0, 99) g;
SQL
wait_for('requests that hang', sub { $slow->requests->{in_flight} == 3 });
pass('max_in_flight of the server holds');
$provider->forget_requests;
$node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(41, 100) g");
$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM rolecall.sync_requests) AND count(*) = 0 FROM rolecall.sync_state WHERE user_id BETWEEN 41 AND 100 AND requested_at IS NOT NULL') or die;
cmp_ok($provider->requests->{total}, '>=', 60, 'users of another provider are synchronized meanwhile');
is($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'slow' AND last_roles_sync_at IS NOT NULL)), '0', '... while the first still hangs');
cmp_ok($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.sync_state WHERE provider = 'slow' AND leased_by IS NOT NULL)), '<=', 9, '... and not many wait in the worker');
$node->safe_psql('postgres', q(UPDATE rolecall.users SET provider = NULL WHERE provider = 'slow'));
is($node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.queued_providers() p WHERE p = 'slow')), '0', 'users without a provider leave the queue');
$node->safe_psql('postgres', q(DELETE FROM rolecall.users WHERE id >= 5000; DROP SERVER slow));
# What came past the triggers is found.
$node->safe_psql('postgres', q(ALTER TABLE rolecall.users DISABLE TRIGGER schedule_inserts));
add_users('postgres', 900, 909);
$node->safe_psql('postgres', q(ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER schedule_inserts; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
all_synced('users who came past the triggers are found');
$node->safe_psql('postgres', q(DELETE FROM rolecall.users WHERE id > 900));

# 000-20: the provider goes down: asked ever more rarely, nothing is lost
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '$clock seconds'") or die;
my $roles_before = $node->safe_psql('postgres', 'SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g');
my $times_before = $node->safe_psql('postgres', 'SELECT max(last_roles_sync_at) FROM rolecall.sync_state');
$provider->fault(mode => '500');
$provider->forget_requests;
move_clock($node, 16 * 60);
$node->poll_query_until('postgres', q(SELECT breaker = 'open' FROM rolecall.stat_provider)) or die;
$node->poll_query_until('postgres', q(SELECT in_flight = 0 FROM rolecall.stat_provider)) or die;
my $asked_first = $provider->requests->{total};
cmp_ok($asked_first, '<', 100, "the breaker opened after $asked_first requests, with 100 users due");
for my $minute (1 .. 30) {
	move_clock($node, 60);
	# The worker has looked at the moved clock when it has gone to sleep again.
	$node->poll_query_until('postgres', "SELECT next_attempt_at > now() + interval '$clock seconds' FROM rolecall.stat_provider WHERE breaker = 'open'") or die;
}
my $asked_later = $provider->requests->{total} - $asked_first;
cmp_ok($asked_later, '<=', 30, "half an hour of outage: asked $asked_later times");
cmp_ok($asked_later, '>=', 5, '... but asked');
is($node->safe_psql('postgres', 'SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g'), $roles_before, '000-20: roles are untouched');
is($node->safe_psql('postgres', 'SELECT max(last_roles_sync_at) FROM rolecall.sync_state'), $times_before, '000-20: sync times too');
like($node->safe_psql('postgres', 'SELECT last_error FROM rolecall.stat_provider'), qr/is not available: It answered with HTTP status 500/, 'the error is visible');
$provider->no_fault;
move_clock($node, 3600);
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '$clock seconds'") or die;
is($node->safe_psql('postgres', 'SELECT breaker FROM rolecall.stat_provider'), 'closed', 'when it is back, the backlog is worked off');
is($node->safe_psql('postgres', 'SELECT max(attempts) FROM rolecall.sync_state'), '0', '... by everybody');

# ---- Deaths ---------------------------------------------------------------------------------------------------------

my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for('another worker', sub { workers() eq 'postgres' && $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' });
pass('SIGTERM: another one takes over');

# SIGTERM while it waits for answers, and for a lock
$provider->fault(mode => 'hang');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(40, true)');
wait_for('a hanging request', sub { asked('100039') > 0 && $provider->requests->{in_flight} > 0 });
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND backend_xmin IS NULL AND backend_xid IS NULL AND xact_start IS NULL)),
	'1', 'no transaction and no snapshot is open while providers are asked');
like($node->safe_psql('postgres', q(SELECT query FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')), qr/waiting for 1 answers/, 'pg_stat_activity says what it does');
$provider->no_fault;    # for the next one
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
wait_for('the end of the request', sub { $provider->requests->{in_flight} == 0 });
pass('SIGTERM while it waits for an answer');
$node->poll_query_until('postgres', 'SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 40') or die;
pass('... and its request is taken up by the next worker');
$holder = session($node);
$holder->query_safe('BEGIN; LOCK TABLE rolecall.sync_state');
$node->safe_psql('postgres', 'SELECT rolecall.wake_worker()');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND wait_event_type = 'Lock')) or die;
$pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die;
pass('SIGTERM while it waits for a lock');
$holder->query_safe('COMMIT');
$holder->quit;
wait_for_workers('postgres', 'and another one came');

# SIGKILL at each point of a round: every user is taken up again, and the end is right.
my $next = 100;
create_points($node);
for my $point ('sync-claimed', 'sync-fetched', 'sync-before-commit', 'sync-after-commit') {
	wait_for_workers('postgres', "before the kill at $point");
	$node->safe_psql('postgres', "SELECT pg_stat_reset()");
	hold($node, $point);
	my %asked_before = map { $_ => asked($_) } 100060 .. 100069;
	$node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(61, 70) g");
	add_users('postgres', $next, $next + 29);
	wait_at($node, $point);
	kill_process($node, $node->safe_psql('postgres', "SELECT test.waiting('$point')")) or die 'there was no process to kill';
	all_synced("SIGKILL at $point: everybody is synchronized in the end");
	is_as_provider_says("SIGKILL at $point");
	$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM rolecall.sync_requests) AND NOT EXISTS (SELECT FROM rolecall.sync_state WHERE requested_at IS NOT NULL)') or die;
	is(scalar(grep { asked($_) == $asked_before{$_} } keys %asked_before), 0, '... every request was taken up');
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT user_id, role, scope_kind, scope_id, change FROM rolecall.role_changes WHERE user_id > $next GROUP BY 1, 2, 3, 4, 5 HAVING count(*) > 1) d"),
		'0', '... and nothing was applied twice');
	$next += 30;
}

# A crash of the whole server with requests pending
$provider->fault(mode => 'hang');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(50, 60) g');
wait_for('hanging requests', sub { $provider->requests->{in_flight} > 0 });
$node->stop('immediate');
$provider->no_fault;
$node->start;
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL') or die;
is($node->safe_psql('postgres', 'SELECT count(*) FROM rolecall.sync_requests'), '0', 'a crash of the server loses no request');

# The postmaster dies: so do launcher and worker.
wait_for_workers('postgres', 'before the postmaster dies');
my @pids = split /\n/, $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'rolecall%'));
is(scalar(@pids), 2, 'launcher and worker');
my $log = slurp_file($node->logfile);
kill 'KILL', slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
wait_for('them to leave', sub { !grep { kill 0, $_ } @pids });
pass('when the postmaster dies they leave');
$node->{_pid} = undef;

# 000-23: what happened, with counts, users and errors
like($log, qr/$_/, "000-23: $_") for 'LOG:  rolecall sync worker started in database "postgres"', 'LOG:  synchronized user 4: 0 roles before, 4 after, units changed',
	'LOG:  could not synchronize user 35 with provider "hr": no boss here: Not ever.\n.*DETAIL:  Attempt 1; roles are as they were.';

# No restart loop: a worker is started for a reason.
my $starts = () = $log =~ /rolecall sync worker started/g;
cmp_ok($starts, '<', 40, "workers were started $starts times");

done_testing();
