# What somebody holds is passed by and taken up later: transactions left open or prepared after a sync, rows that are locked,
# sessions that wait for nobody, workers that are cancelled or terminated. Others' syncs, their revocations above all, go on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('held_up', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
rolecall.debug_points = on
max_worker_processes = 20
CONF

$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', max_revocation '100%', list_request_path '/users?size=100', list_paging 'link', request_timeout '3s');
CREATE SERVER other FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', max_revocation '100%');
INSERT INTO rolecall.units (institutional_id, name) SELECT 'unit' || g, 'Unit ' || g FROM generate_series(0, 199) g;
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(1, 60) g;
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'other', (100000 + g)::text FROM generate_series(100, 110) g;
CREATE ROLE syncer LOGIN;
GRANT USAGE ON SCHEMA rolecall TO syncer;
GRANT EXECUTE ON FUNCTION rolecall.sync_user_roles(bigint), rolecall.force_sync_user_roles(bigint), rolecall.trigger_role_sync_for_user(bigint, boolean) TO syncer;
SQL
create_points($node);

sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub until_true { my ($what, $text) = @_; $node->poll_query_until('postgres', $text) or die "timed out waiting until $what"; return pass($what); }
sub grants { my ($uid) = @_; return sql("SELECT coalesce(string_agg(role, ' ' ORDER BY role), '') FROM rolecall.user_roles WHERE user_id = $uid"); }
sub says { my ($uid, @roles) = @_; return $provider->put_user(100000 + $uid, { code => '' . (100000 + $uid), roles => [@roles] }); }
sub ask_for { my (@uids) = @_; return sql("SELECT rolecall.trigger_role_sync_for_user(g, true) FROM unnest(ARRAY[" . join(', ', @uids) . "]) g"); }
sub has { my ($what, $uid, @roles) = @_; return until_true($what, "SELECT coalesce(string_agg(role, ' ' ORDER BY role), '') = '@roles' FROM rolecall.user_roles WHERE user_id = $uid"); }
sub worker { return sql(q(SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')); }
sub asked { my ($uid) = @_; return $provider->requests->{by_subject}{ 100000 + $uid } // 0; }
sub everybody_is_settled { my ($what) = @_; return until_true($what, 'SELECT NOT EXISTS (SELECT FROM rolecall.sync_requests) AND count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL OR leased_by IS NOT NULL') ; }

says($_, 'reader', 'editor') for 1 .. 60, 100 .. 110;
ask_for(1 .. 60, 100 .. 110);
everybody_is_settled('everybody is synchronized');

# ---- A transaction left open after a sync ---------------------------------------------------------------------------

# User 1 has lost a role. Whoever asked holds user 1, and nobody else: not the counting of what is taken away, not the pass.
my $open = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'syncer' ]);
says(1, 'reader');
$open->query_safe('BEGIN; SELECT 1 FROM rolecall.force_sync_user_roles(1)');
my $holder = sql(q(SELECT pid FROM pg_stat_activity WHERE usename = 'syncer'));
says($_, 'reader') for 2 .. 5;
ask_for(1 .. 5);
has("open: user $_ loses a role", $_, 'reader') for 2 .. 5;
is(grants(1), 'editor reader', 'open: user 1 has not, which is in that transaction');
until_true('open: stat_provider says who, since when', "SELECT held_up_by_pid = $holder AND held_up_by_gid IS NULL AND held_up_since < clock_timestamp() AND held_up = 'the sync of a user' FROM rolecall.stat_provider WHERE provider = 'hr'");
is(sql("SELECT user_id, held, pid FROM rolecall.stat_held_up WHERE provider = 'hr' AND held = 'the sync of a user'"), "1|the sync of a user|$holder", 'open: stat_held_up says whom');
is(sql(q(SELECT count(*) FROM rolecall.stat_provider WHERE provider = 'other' AND held_up IS NOT NULL)), '0', q(open: the other provider's syncs are not held up));
# A sync in another session takes away, too, and does not wait.
says(6, 'reader');
is(sql(q(SET statement_timeout = '30s'; SELECT roles_changed FROM rolecall.force_sync_user_roles(6))), 't', 'open: a session goes on, too');
# A pass goes by the user whom it cannot have.
says(7, 'reader');
like(error_of($node, q(SELECT 'pass ' || changed FROM rolecall.sync_provider('hr'))), qr/WARNING:  01000: 1 users of provider "hr" are left out\nDETAIL:  Other transactions have synchronized them, and not ended\./, 'open: a pass goes by');
is(grants(7), 'reader', '... and takes away from others');
my $before = asked(1);
$open->query_safe('COMMIT');
has('open: in the end it is taken up', 1, 'reader');
$open->quit;
everybody_is_settled('open: and settled');
is(sql(q(SELECT count(*) FROM rolecall.stat_provider WHERE held_up IS NOT NULL)), '0', 'nothing is held up any more');

# ---- A prepared one -------------------------------------------------------------------------------------------------

says(8, 'reader');
sql(q(BEGIN; SELECT 1 FROM rolecall.force_sync_user_roles(8); PREPARE TRANSACTION 'held'));
says($_, 'reader') for 9 .. 12;
ask_for(8 .. 12);
has("prepared: user $_ loses a role", $_, 'reader') for 9 .. 12;
until_true('prepared: stat_provider says which', q(SELECT held_up_by_gid = 'held' AND held_up_by_pid IS NULL AND held_up_since < clock_timestamp() FROM rolecall.stat_provider WHERE provider = 'hr'));
$node->restart;
says(13, 'reader');
ask_for(13);
has('prepared: after a restart others go on', 13, 'reader');
until_true('prepared: stat_provider says which after a restart', q(SELECT held_up_by_gid = 'held' FROM rolecall.stat_provider WHERE provider = 'hr'));
sql(q(COMMIT PREPARED 'held'));
has('prepared: and then it is done', 8, 'reader');
everybody_is_settled('prepared: and settled');

# What is counted and not committed counts: the brake is exact.
sql(q(ALTER SERVER hr OPTIONS (SET max_revocation '0%'); DELETE FROM rolecall.open_revocations; DELETE FROM rolecall.revocations));
my @open = map { session($node) } 1 .. 3;
for my $i (0 .. 2) {
	$open[$i]->query_safe('BEGIN; ' . join(' ', map { "SELECT 1 FROM rolecall.sync_user_roles($_, '{\"roles\": []}', true);" } map { 20 + 3 * $i + $_ } 0 .. 2));
}
like(error_of($node, q(SELECT rolecall.sync_user_roles(40, '{"roles": []}', true))), qr/RC106/, 'the tenth is stopped by nine that are not committed');
$_->query_safe('ROLLBACK') for @open;
$_->quit for @open;
sql(q(SELECT rolecall.resume_provider('hr'); ALTER SERVER hr OPTIONS (SET max_revocation '100%')));
ask_for(20 .. 40);
everybody_is_settled('the brake is released');

# A role that somebody is adding, and does not commit, holds up who is to get it; not what is taken away.
says($_, 'reader', 'brand new') for 14, 15;
$open = session($node);
$open->query_safe('BEGIN; SELECT 1 FROM rolecall.force_sync_user_roles(14)');
ask_for(15, 16);
has('a role that is being added: what is taken away is taken away', 15, 'reader');
until_true('... others go on', 'SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 16');
$open->query_safe('COMMIT');
has('... and then it is given', 15, 'brand new', 'reader');
$open->quit;

# The last holders of a protected role: one sync that is open does not keep the role with all others.
sql(q(ALTER SERVER hr OPTIONS (ADD protected_roles 'chief')));
says($_, 'chief') for 41 .. 46;
ask_for(41 .. 46);
has("user $_ holds a protected role", $_, 'chief') for 41 .. 46;
says($_, 'reader') for 41 .. 46;
$open = session($node);
$open->query_safe('BEGIN; SELECT 1 FROM rolecall.force_sync_user_roles(41)');
ask_for(42 .. 46);
until_true('a protected role goes from all but those who are held', q(SELECT count(*) = 2 FROM rolecall.user_roles WHERE role = 'chief'));
$open->query_safe('COMMIT');
until_true('... and in the end one holder keeps it', q(SELECT count(*) = 1 FROM rolecall.user_roles WHERE role = 'chief'));
$open->quit;
sql(q(ALTER SERVER hr OPTIONS (DROP protected_roles)));

# ---- One row --------------------------------------------------------------------------------------------------------

everybody_is_settled('before a row is locked');
my $locker = session($node);
# (Of the table of users only what is given needs the row.)
for my $case ([ 'rolecall.user_roles WHERE user_id = 47 FOR UPDATE', 'user_roles', 'reader' ], [ 'rolecall.users WHERE id = 47 FOR UPDATE', 'users', 'auditor', 'reader' ],
	[ 'rolecall.user_roles WHERE user_id = 47 FOR SHARE', 'user_roles', 'reader' ]) {
	my ($rows, $table, @roles) = @$case;
	says($_, 'reader', 'editor', $table) for 47 .. 50, 100;
	ask_for(47 .. 50, 100);
	everybody_is_settled("$rows: before");
	$locker->query_safe("BEGIN; SELECT 1 FROM $rows");
	my $pid = $locker->query_safe('SELECT pg_backend_pid()');
	says($_, @roles) for 47 .. 50, 100;
	# (Asking in the usual way refers to the user's row, and waits for it.)
	sql('UPDATE rolecall.sync_state SET requested_at = now(), force = true WHERE user_id IN (47, 48, 49, 50, 100); SELECT rolecall.wake_worker()');
	has("$rows: user $_", $_, @roles) for 48 .. 50, 100;
	isnt(grants(47), "@roles", "$rows: user 47 is for later");
	until_true("$rows: stat_provider says who", "SELECT held_up_by_pid = $pid AND held_up = 'a row of $table' FROM rolecall.stat_provider WHERE provider = 'hr'");
	$locker->query_safe('COMMIT');
	has("$rows: ... and then user 47", 47, @roles);
}
# Rows of the queue, and a whole table
$locker->query_safe('BEGIN; SELECT 1 FROM rolecall.sync_state WHERE user_id = 47 FOR UPDATE');
says($_, 'auditor') for 47, 48;
ask_for(47, 48);
has('sync_state: others go on', 48, 'auditor');
$locker->query_safe('COMMIT');
has('sync_state: and then the one', 47, 'auditor');
$locker->query_safe('BEGIN; LOCK TABLE rolecall.user_roles IN SHARE MODE');
says($_, 'reader') for 47, 48;
ask_for(47, 48);
until_true('a table: stat_provider says so', q(SELECT held_up = 'table rolecall.user_roles' AND held_up_by_pid IS NOT NULL FROM rolecall.stat_provider WHERE provider = 'hr'));
$locker->query_safe('COMMIT');
has("a table: and then user $_", $_, 'reader') for 47, 48;

# Whoever looks waits for nobody, whatever is locked, and is told by whom; what cannot be read then is NULL, not 0.
sql('CREATE ROLE monitor LOGIN IN ROLE pg_monitor; GRANT USAGE ON SCHEMA rolecall TO monitor');
my $superuser = sql('SELECT current_user');
sub look {
	my ($query) = @_;
	return map {
		my ($code, $out, $err) = $node->psql('postgres', "SET lock_timeout = '1ms'; $query", extra_params => [ '-U', $_ ]);
		$out . $err
	} $superuser, 'monitor';
}
my @known = ("SELECT 'known: ' || concat_ws(' ', due IS NOT NULL, requested IS NOT NULL, failing IS NOT NULL) FROM rolecall.stat_provider WHERE provider = 'hr'",
	"SELECT 'known: ' || concat_ws(' ', due IS NOT NULL, requested IS NOT NULL, failing IS NOT NULL) FROM rolecall.stat_sync");
my %unknown = (sync_state => 'f f f', sync_requests => 't f t');
sub everything_answers {
	my ($what, $known, $row) = @_;
	like($_, qr/^known: $known$/m, "$what: what is counted is $known") for map { look($_) } @known;
	unlike($_, qr/ERROR/, "$what: an answer") for map { look("SELECT * FROM rolecall.$_") } qw(stat_held_up stat_provider stat_sync sync_metrics);
	like($_, qr/^$row$/m, "$what: a row says so") for look("SELECT concat_ws('|', provider, user_id, held, pid, gid, since <= clock_timestamp()) FROM rolecall.stat_held_up");
	return;
}
my $locking = $locker->query_safe('SELECT pg_backend_pid()');
for my $table (qw(users roles user_roles user_units units sync_state sync_requests home stopped_providers revocations open_revocations role_changes)) {
	$locker->query_safe("BEGIN; LOCK TABLE rolecall.$table IN ACCESS EXCLUSIVE MODE");
	everything_answers($table, $unknown{$table} // 't t t', qr/hr\|table rolecall\.$table\|$locking\|t/);
	like($_, qr/^because: Table rolecall\.home is locked\.$/m, '... and why nobody is called') for $table eq 'home' ? look(q(SELECT 'because: ' || not_called_because FROM rolecall.stat_provider WHERE provider = 'hr')) : ();
	$locker->query_safe('ROLLBACK');
}
# A statement that waits for a table keeps others from it, as does the transaction that it waits for; an index.
my $reader = session($node);
my $reading = $reader->query_safe('BEGIN; SELECT pg_backend_pid() FROM rolecall.sync_state LIMIT 1');
begin_query($locker, 'BEGIN; LOCK TABLE rolecall.sync_state IN ACCESS EXCLUSIVE MODE; ROLLBACK');
until_true('a statement waits', "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $locking AND NOT granted)");
everything_answers('a line', 'f f f', qr/hr\|a place in the line for table rolecall\.sync_state\|$locking\|t/);
like($_, qr/^hr\|table rolecall\.sync_state\|$reading$/m, '... and whom it waits for') for look(q(SELECT concat_ws('|', provider, held, pid) FROM rolecall.stat_held_up));
$reader->query_safe('COMMIT');
finish_query($locker);
$reader->quit;
$locker->query_safe('BEGIN; REINDEX INDEX rolecall.sync_state_next_idx');
everything_answers('an index', 'f f f', qr/hr\|table rolecall\.sync_state\|$locking\|t/);
$locker->query_safe('ROLLBACK');
sql('BEGIN; LOCK TABLE rolecall.user_units IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION $$locked$$');
everything_answers('a prepared transaction', 't t t', qr/hr\|table rolecall\.user_units\|locked\|t/);
sql('ROLLBACK PREPARED $$locked$$');
like($_, qr/^known: t t t$/m, 'and then all of it is known') for map { look($_) } @known;
# A user who is not in the queue, and whom somebody is putting there
sql(q(DELETE FROM rolecall.sync_state WHERE user_id IN (47, 48)));
$locker->query_safe('BEGIN; SELECT rolecall.trigger_role_sync_for_user(47)');
sql(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));    # the next one looks for them
until_true('missing users: others are put into the queue', 'SELECT EXISTS (SELECT FROM rolecall.sync_state WHERE user_id = 48)');
$locker->query_safe('COMMIT');
$locker->quit;

# ---- Whose failures they are ----------------------------------------------------------------------------------------

everybody_is_settled('before sessions are impatient');
sub breaker { return sql(q(SELECT breaker || failures_in_a_row FROM rolecall.stat_provider WHERE provider = 'other')); }
$provider->fault(mode => 'slow', ms => 500);
like(error_of($node, q(SET rolecall.request_timeout = '1ms'; SELECT rolecall.force_sync_user_roles(100))), qr/RC101/, 'a session that is impatient has an error');
for my $setting ('rolecall.request_timeout', 'rolecall.connect_timeout') {
	error_of($node, "SET $setting = '1ms'; SELECT rolecall.force_sync_user_roles($_)") for 100 .. 107;
	is(breaker(), 'closed0', "$setting = 1ms is no failure of the provider");
}
sql(q(ALTER ROLE syncer SET rolecall.request_timeout = '1ms'));
like(error_of($node, "SELECT rolecall.force_sync_user_roles($_)", extra_params => [ '-U', 'syncer', '-v', 'VERBOSITY=verbose' ]), qr/RC101/, 'nor if it is set for the role') for 100 .. 106;
is(breaker(), 'closed0', '... the breaker is closed');
like(error_of($node, "SET statement_timeout = '10ms'; SELECT rolecall.force_sync_user_roles($_)"), qr/57014/, 'nor if the statement is cancelled') for 100 .. 106;
is(breaker(), 'closed0', '... the breaker is closed');
sql(q(ALTER SERVER other OPTIONS (ADD request_timeout '100ms')));
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(100)'), qr/RC101/, 'what the server has as its option counts') for 1 .. 7;
is(breaker(), 'closed1', '... once for one subject');
error_of($node, "SELECT rolecall.force_sync_user_roles($_)") for 101 .. 104;
is(breaker(), 'open5', '... and opens the breaker for five');

# Whoever probes and gives up does not keep the worker from finding out.
$provider->fault(mode => 'slow', ms => 20_000);
sql(q(ALTER SERVER other OPTIONS (SET request_timeout '30s')));
sql(q(ALTER SYSTEM SET rolecall.worker = off));
$node->reload;
until_true('no worker', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
move_clock($node, 600);
my $prober = session($node);
$provider->forget_requests;
begin_query($prober, 'SELECT rolecall.force_sync_user_roles(100)');
wait_for('the probe', sub { $provider->requests->{in_flight} == 1 });
sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%force_sync_user_roles(100)%' AND pid <> pg_backend_pid()));
finish_query($prober);
like($prober->{stderr}, qr/canceling statement due to user request/, 'a probe that is given up');
$prober->quit;
like(error_of($node, q(SELECT rolecall.force_sync_user_roles(100))), qr/RC105/, '... a session does not probe again at once');
$provider->no_fault;
sql(q(ALTER SYSTEM SET rolecall.worker = on));
$node->reload;
ask_for(100);
until_true('... but the worker does', q(SELECT breaker = 'closed' FROM rolecall.stat_provider WHERE provider = 'other'));

# A place in the line of the rate limit is given back by who leaves it.
everybody_is_settled('before the line');
sql(q(ALTER SERVER other OPTIONS (ADD rate_limit '0.2')));
sql('SELECT rolecall.force_sync_user_roles(100)');
error_of($node, q(SET statement_timeout = '10ms'; SELECT rolecall.force_sync_user_roles(101))) for 1 .. 20;
$provider->forget_requests;
ask_for(102);
until_true('the worker has its turn', q(SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 102));
sql(q(ALTER SERVER other OPTIONS (DROP rate_limit)));

# ---- Cancelled, and terminated --------------------------------------------------------------------------------------

my $n = 0;
for my $signal ('pg_cancel_backend', 'pg_terminate_backend') {
	for my $point ('sync-claimed', 'sync-fetched', 'sync-before-commit', 'sync-after-commit', 'an answer') {
		until_true("$signal at $point: there is a worker", q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
		++$n;
		says($_, "role $n") for 51 .. 60;
		my $audited = sql('SELECT count(*) FROM rolecall.role_changes');
		$point eq 'an answer' ? $provider->fault(mode => 'hang') : hold($node, $point);
		ask_for(51 .. 60);
		$point eq 'an answer' ? wait_for('a request', sub { $provider->requests->{in_flight} > 0 }) : wait_at($node, $point);
		my $pid = worker();
		sql("SELECT $signal($pid)");
		$point eq 'an answer' ? $provider->no_fault : release($node, $point);
		until_true("$signal at $point: everybody is synchronized", "SELECT count(*) = 10 FROM rolecall.user_roles WHERE role = 'role $n'");
		everybody_is_settled('... nobody is leased or failed');
		is(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE attempts > 0 AND last_error NOT LIKE '%timed out%')), '0', '... it is no failure of a user');
		is(sql("SELECT count(*) = count(DISTINCT (user_id, role, change)) FROM rolecall.role_changes WHERE role = 'role $n'"), 't', '... nothing twice');
		is(worker() eq $pid ? 'stays' : 'is new', $signal eq 'pg_cancel_backend' ? 'stays' : 'is new', '... the worker ' . ($signal eq 'pg_cancel_backend' ? 'stays' : 'is new'));
		is(sql(q(SELECT sum(in_flight) FROM rolecall.stat_provider)), '0', '... nothing is under way');
	}
}
sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall launcher'));
is(sql(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall launcher')), '1', 'the launcher is not cancelled');
my @looks = slurp_file($node->logfile) =~ /could not look for users/g;
cmp_ok(scalar(@looks), '<', 10, 'the log is not full of it');
$node->stop;

done_testing();
