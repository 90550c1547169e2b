# Fixed tables in shared memory that are full: what is dead makes room, nothing is dropped in silence, breakers and rate limits
# hold. And clocks that were ahead for a moment: nothing loops, and nobody waits for a day.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('full', <<'CONF');
rolecall.worker = off
rolecall.sync_naptime = 50ms
rolecall.table_slots = 4
max_worker_processes = 40
CONF
create_points($node);
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall');
sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub until_true { my ($what, $text) = @_; $node->poll_query_until('postgres', $text) or die "timed out waiting until $what"; return pass($what); }
sub slots { my ($name, $column) = @_; return sql("SELECT $column FROM rolecall.stat_slots WHERE name = '$name'"); }
sub logged { my ($what) = @_; return scalar(() = slurp_file($node->logfile) =~ /there is no room for more than 4 $what/g); }

# ---- Providers ------------------------------------------------------------------------------------------------------

for my $i (1 .. 9) {
	sql("CREATE SERVER p$i FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
		INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 10 * $i + g, 'user' || $i || g, 'p$i', (100000 + g)::text FROM generate_series(0, 9) g");
}
sub breaker { my ($i) = @_; return sql("SELECT breaker FROM rolecall.stat_provider WHERE provider = 'p$i'"); }
sub fail { my ($i, $times) = @_; error_of($node, "SELECT rolecall.force_sync_user_roles(10 * $i + $_)") for 0 .. $times - 1; return; }
sql("SELECT rolecall.force_sync_user_roles(10 * $_)") for 1 .. 6;
is(slots('providers', 'slots || used::text || evicted'), '442', 'providers that nobody asks make room');
is(logged('providers'), 0, '... which is nothing to log');
$provider->fault(mode => '500');
fail($_, 5) for 1 .. 3;
is(breaker($_), 'open', "the breaker of provider $_ is open") for 1 .. 3;
fail(4, 2);
# All four are in trouble: the fifth is counted by each process for itself, and has a breaker there.
my $session = session($node);
for my $uid (50 .. 54) {
	$session->{stderr} = '';
	$session->query("SELECT rolecall.force_sync_user_roles($uid)");
	like($session->{stderr}, qr/is not available/, "a provider without a place: user $uid");
}
$session->{stderr} = '';
$session->query('SELECT rolecall.force_sync_user_roles(55)');
like($session->{stderr}, qr/provider "p5" is not asked now/, '... its breaker opens nevertheless');
is(breaker($_), 'open', "... and that of provider $_ is still open") for 1 .. 3;
is(logged('providers'), 1, '... the log says so, once');
cmp_ok(slots('providers', 'refused'), '>', 0, '... and stat_slots');
$provider->no_fault;
sql(q(ALTER SERVER p6 OPTIONS (ADD rate_limit '0.01')));
$session->query('SELECT rolecall.force_sync_user_roles(60)');
$session->{stderr} = '';
$session->query('SELECT rolecall.force_sync_user_roles(61)');
like($session->{stderr}, qr/Its rate limit is reached/, '... and so does its rate limit');
$session->quit;
# Providers that are dropped make room, whatever their breakers say.
sql('DELETE FROM rolecall.users WHERE provider IN ($$p1$$, $$p2$$); DROP SERVER p1; DROP SERVER p2; ALTER SYSTEM SET rolecall.worker = on');
$node->reload;
until_true('dropped providers make room', q(SELECT count(*) = 0 FROM rolecall.provider_statistics() s WHERE s.server NOT IN (SELECT oid FROM pg_foreign_server)));

# ---- Databases, loads, projections ------------------------------------------------------------------------------------

sql("CREATE DATABASE empty$_ TEMPLATE template0") for 1 .. 6;
sql('CREATE DATABASE late TEMPLATE template0');
$node->safe_psql('late', 'CREATE EXTENSION rolecall');
until_true('a database that comes late has a worker, though there are more without than slots', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'late' AND backend_type = 'rolecall sync worker'));
for my $i (1 .. 4) {
	sql("CREATE DATABASE busy$i TEMPLATE template0");
	$node->safe_psql("busy$i", 'CREATE EXTENSION rolecall');
}
until_true('those beyond the last slot have none', q(SELECT refused > 0 FROM rolecall.stat_slots WHERE name = 'workers'));
wait_for('the log', sub { logged('workers') == 1 });
pass('... and the log says so, once');
sql("DROP DATABASE $_") for 'busy1', 'busy2', 'late', map { "empty$_" } 1 .. 6;
until_true('when others are dropped, they have', q(SELECT count(*) >= 2 FROM pg_stat_activity WHERE datname IN ('busy3', 'busy4') AND backend_type = 'rolecall sync worker'));
sql("DROP DATABASE $_") for 'busy3', 'busy4';

sql('CREATE SCHEMA app; CREATE TABLE app.things (id bigint PRIMARY KEY); INSERT INTO app.things VALUES (1)');
for my $i (1 .. 7) {
	sql("CREATE VIEW app.v$i AS SELECT id AS uid, jsonb_build_object('n', $i) AS doc FROM app.things;
		SELECT rolecall.create_projection('v$i', 'app.v$i', 'uid', 'doc', watches => '{\"app.things\": \"id\"}')");
	sql("SELECT rolecall.project('v$i', '1')") for 1 .. 3;
}
is(sql(q(SELECT count(*) FROM rolecall.stat_projection WHERE hits > 0)), '4', 'projections with counters of their own');
is(sql(q(SELECT count(*) FROM rolecall.stat_projection WHERE hits IS NULL)), '4', '... others have none, rather than zeros');
sql(q(SELECT rolecall.drop_projection('v1')));
sql(q(SELECT rolecall.project('v7', '1'))) for 1 .. 3;
is(sql(q(SELECT hits FROM rolecall.stat_projection WHERE projection = 'v7')), '2', 'one that is dropped makes room, and the next begins at zero');
wait_for('the log', sub { sql('SELECT rolecall.wake_worker()'); logged('projections with counters of their own') == 1 });
pass('... the log says so, once');
# Loads: more than there is room for, while nobody is there to do them.
sql(q(ALTER SYSTEM SET max_worker_processes = 1));
$node->restart;
sql('SELECT rolecall.reload(name) FROM rolecall.projections');
cmp_ok(slots('loads', 'refused'), '>', 0, 'loads beyond the last slot are refused');
is(logged('loads'), 1, '... and the log says so, once');
sql(q(ALTER SYSTEM RESET max_worker_processes));
$node->restart;

# ---- A clock that was ahead --------------------------------------------------------------------------------------------

sql('DELETE FROM rolecall.users WHERE id >= 40; UPDATE rolecall.sync_state SET next_sync_at = now()');
until_true('everybody is synchronized', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() OR requested_at IS NOT NULL');
my $day = 86400;
sub set_clock { my ($seconds) = @_; move_clock($node, $seconds - $clock); return; }
set_clock($day);
until_true('a day ahead, all were due', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE last_roles_sync_at < now() + interval '23 hours'");
error_of($node, 'SELECT rolecall.force_sync_user_roles(31)');
sql(q(ALTER SYSTEM SET rolecall.worker = off));
$node->reload;
until_true('the worker left', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
set_clock(0);
$provider->put_user('100001', { code => '100001', roles => ['forced'] });
is(sql('SELECT skipped_due_to_ttl FROM rolecall.sync_user_roles(30)'), 'f', 'roles that were synchronized tomorrow are not fresh');
is(sql('SELECT skipped_due_to_ttl, roles_changed FROM rolecall.force_sync_user_roles(31)'), 'f|t', 'a forced sync is one');
$provider->put_user('100002', { code => '100002', roles => ['asked for'] });
sql('SELECT rolecall.trigger_role_sync_for_user(32, true)');
$provider->forget_requests;
sql(q(ALTER SYSTEM SET rolecall.worker = on));
$node->reload;
until_true('a forced request is done', q(SELECT rolecall.has_role(32, 'asked for')));
until_true('nobody waits for a day', q(SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at > now() + interval '2 hours'));
until_true('nothing loops', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL');
is($provider->requests->{by_subject}{100002}, 1, '... it was asked for once');
# A lease, a pause after an error, a breaker and a window of tomorrow's
sql(q(UPDATE rolecall.sync_state SET leased_by = 7, leased_at = now() + interval '1 day', leased_until = now() + interval '25 hours' WHERE user_id = 33));
sql(q(UPDATE rolecall.sync_state SET attempts = 1, last_error_at = now() + interval '1 day', leased_until = now() + interval '25 hours' WHERE user_id = 34));
sql('SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(33, 34) g');
until_true('leases and pauses of tomorrow do not count', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL');
sql(q(INSERT INTO rolecall.revocations (provider, began_at, users_affected, grants, users) VALUES ('p3', now() + interval '1 day', 1, 100, 100) ON CONFLICT (provider) DO UPDATE SET began_at = excluded.began_at));
sql(q(SELECT rolecall.sync_user_roles(35, '{"roles": []}', true)));
$provider->put_user('100006', { code => '100006', roles => [] });
sql('SELECT rolecall.trigger_role_sync_for_user(36, true)');
until_true('a window of tomorrow is one of today', q(SELECT began_at <= now() FROM rolecall.revocations WHERE provider = 'p3'));

# ---- Times that there are not ------------------------------------------------------------------------------------------

for my $value ('1s', '-1s') { like(error_of($node, "SET rolecall.sync_ttl = '$value'"), qr/cannot be changed now|outside the valid range/, "sync_ttl = $value in a session") }
like(error_of($node, q(ALTER SYSTEM SET rolecall.sync_ttl = 0)), qr/outside the valid range/, 'a TTL of nothing is refused');
sql(q(ALTER SERVER p3 OPTIONS (ADD max_revocation '100%')));    # a window without end counts all that was taken away above
# Whatever an older release has let in: written straight into the catalog.
for my $option ('sync_ttl', 'active_window', 'max_staleness', 'revocation_window') {
	sql("SET allow_system_table_mods = on; UPDATE pg_foreign_server SET srvoptions = array_append(array(SELECT o FROM unnest(srvoptions) o WHERE o NOT LIKE '$option=%'), '$option=290000 years') WHERE srvname = 'p3'");
}
sql(q(SET allow_system_table_mods = on; UPDATE pg_foreign_server SET srvoptions = array_append(srvoptions, 'sync_scope=active') WHERE srvname = 'p3'));
$provider->put_user('100007', { code => '100007', roles => ['at last'] });
sql('SELECT rolecall.force_sync_user_roles(37)');
$provider->put_user('100007', { code => '100007', roles => [] });
sql('SELECT rolecall.force_sync_user_roles(37); SELECT rolecall.touch_user(38)');
$provider->put_user('100008', { code => '100008', roles => ['at last'] });
sql('SELECT rolecall.trigger_role_sync_for_user(38, true)');
until_true('a TTL beyond all times: the worker goes on', q(SELECT rolecall.has_role(38, 'at last')));
is(sql(q(SELECT next_sync_at BETWEEN now() + interval '7 years' AND now() + interval '11 years' FROM rolecall.sync_state WHERE user_id = 37)), 't', '... for which ten years stand, the longest that there is');
$node->command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/late.sql", $node->connstr('postgres') ], 'pg_dump works');
$node->stop;

done_testing();
