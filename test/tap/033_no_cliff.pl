# Where shared memory is barred a scan costs a load for each user whom it asks about, not one for each row: in
# SERIALIZABLE, after own writes, beside a writer who is open, and on a standby. And what it answers is what the view
# returns, whatever the statements around it write, roll back and fetch.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $rows = 20_000;
my $directory = "$Rolecall::Test::root/test/checker";
my $node = new_node('primary', "max_connections = 60\ndeadlock_timeout = 100ms\n", allows_streaming => 1);
create_extension($node);
$node->safe_psql('postgres', <<"SQL");
INSERT INTO rolecall.user_roles (user_id, role) SELECT g, CASE WHEN g % 2 = 0 THEN 'member' ELSE 'admin' END FROM generate_series(1, 20) g;
CREATE TABLE notes AS SELECT g AS id, (1 + g % 5)::bigint AS owner, 0 AS edits FROM generate_series(1, $rows) g;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE ROLE reader;
CREATE POLICY p ON notes USING (rolecall.has_role(owner, 'member'));
GRANT SELECT, UPDATE ON notes TO reader;
GRANT USAGE ON SCHEMA rolecall TO reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rolecall TO reader;
CREATE FUNCTION test.scan_stable() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM notes); END';
CREATE FUNCTION test.scan_volatile() RETURNS bigint LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN (SELECT count(*) FROM notes); END';
GRANT USAGE ON SCHEMA test TO reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA test TO reader;
SQL
my $readable = $rows * 2 / 5;    # owners 2 and 4

# What a query returns in a session, and how many times the view was asked for it.
sub loads_of {
	my ($session, $sql) = @_;
	my $count = q(SELECT loads FROM rolecall.stat_projection WHERE projection = 'me');
	my $before = $session->query_safe("RESET ROLE; $count");
	my $result = $session->query_safe("SET ROLE reader; $sql");
	return ($result, $session->query_safe("RESET ROLE; $count") - $before);
}

sub is_cheap {
	my ($session, $sql, $result, $loads, $what) = @_;
	is_deeply([ loads_of($session, $sql) ], [ $result, $loads ], $what);
	return;
}

my $scan = 'SELECT count(*) FROM notes';
for my $mode ('SERIALIZABLE', 'READ COMMITTED', 'REPEATABLE READ') {
	my $session = session($node, max_parallel_workers_per_gather => 0);
	$session->query_safe("BEGIN ISOLATION LEVEL $mode");
	$session->query_safe(q(UPDATE rolecall.users SET function = 'own' WHERE id = 1)) if $mode ne 'SERIALIZABLE';
	my $barred = $mode eq 'SERIALIZABLE' ? 'in SERIALIZABLE' : "after own writes in $mode";
	is_cheap($session, $scan, $readable, 5, "$barred a scan asks for each of its five users once");
	is_cheap($session, "SELECT count(*) FROM notes WHERE rolecall.has_role(1, 'admin')", $readable, 0, '... and another one of the same users for none');
	is_cheap($session, 'SELECT test.scan_stable()', $readable, 0, '... nor does it in a function');
	is_cheap($session, 'SELECT test.scan_volatile()', $readable, 0, '... of another volatility');
	is_cheap($session, 'SELECT count(DISTINCT rolecall.me(owner)), count(DISTINCT rolecall.me_json(owner)::text) FROM notes', '2|2', 0, '... nor does me(), as document and as text');
	is_cheap($session, 'SELECT count(*) FROM notes WHERE rolecall.has_role(-owner, $$member$$)', 0, 2, '... users who do not exist are asked about once as well');
	is_cheap($session, 'UPDATE notes SET edits = edits + 1 WHERE rolecall.has_role(2, $$member$$); SELECT sum(edits) FROM notes', $readable,
		$mode eq 'SERIALIZABLE' ? 10 : 5, '... and what writes other tables is a new command for each statement, not for each row');
	is_cheap($session, q(SELECT count(*) FROM rolecall.me_many(array_fill(7::bigint, ARRAY[1000]))), 1000, 1, '... me_many() asks once for a key');
	$session->query_safe('ROLLBACK');
	$session->quit;
}

# A writer who is open keeps the users from being cached, not from being remembered.
my $writer = session($node);
$writer->query_safe(q(BEGIN; UPDATE rolecall.users SET function = 'open'));
my $reader = session($node, max_parallel_workers_per_gather => 0);
is_cheap($reader, $scan, $readable, 5, 'beside a writer of all users a scan asks for each once');
is_cheap($reader, $scan, $readable, 5, '... and so does the next transaction');
$reader->query_safe('SET rolecall.cache = off');
is_cheap($reader, 'SELECT count(*) FROM notes WHERE id <= 100', 40, 100, 'with the cache off the view is asked for each row');
close_session($writer, $reader);

# More users than there is memory for: all are answered.
$node->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.users (id, email, metadata) SELECT g, 'u' || g, jsonb_build_object('text', repeat(md5(g::text), 10)) FROM generate_series(1001, 2000) g;
SQL
my $many = session($node, work_mem => '64kB');
$many->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE');
is($many->query_safe('SELECT count(*) FROM generate_series(1, 2) r, rolecall.users u WHERE rolecall.me(u.id) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view WHERE uid = u.id)'),
	'0', 'more documents than fit into the memo');
my $used = $many->query_safe(q(SELECT count(*) > 0, coalesce(sum(total_bytes), 0) < 1000000 FROM pg_backend_memory_contexts WHERE name LIKE 'rolecall memo%'));
is($used, 't|t', '... which stays small');
close_session($many);
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_backend_memory_contexts WHERE name LIKE 'rolecall memo%')), '0', 'there is none where nothing is barred');

# A cursor that is kept over own writes, and over the end of its transaction
my $cursor = session($node);
$cursor->query_safe(q(BEGIN; UPDATE rolecall.users SET display_name = 'a' WHERE id = 3));
$cursor->query_safe(q(DECLARE c CURSOR WITH HOLD FOR SELECT rolecall.me(3) ->> 'display_name' FROM generate_series(1, 3)));
$cursor->query_safe(q(FETCH c; UPDATE rolecall.users SET display_name = 'b' WHERE id = 3));
is($cursor->query_safe(q(FETCH c; SELECT rolecall.me(3) ->> 'display_name'; COMMIT; FETCH c)), "a\nb\na", 'a cursor shows what it showed when it was declared');
close_session($cursor);

# A partition that is opened when its first row comes, by a statement that reads what it has written.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE test.events (user_id bigint NOT NULL, kind text NOT NULL) PARTITION BY LIST (kind);
CREATE TABLE test.events_a PARTITION OF test.events FOR VALUES IN ('a');
CREATE VIEW test.view AS SELECT u.id AS uid, jsonb_build_object('a', (SELECT count(*) FROM test.events_a e WHERE e.user_id = u.id)) AS doc FROM rolecall.users u;
SELECT rolecall.create_projection('a', 'test.view', 'uid', 'doc', watches => '{"rolecall.users": "id", "test.events_a": "user_id"}');
CREATE FUNCTION test.count_a(n int) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE WHEN rolecall.project('a', '1') IS DISTINCT FROM (SELECT doc FROM test.view WHERE uid = 1) THEN 'differs' ELSE 'a' END;
END $$;
SQL
for my $lock ('SELECT pg_current_xact_id()', 'LOCK TABLE test.events_a IN ROW EXCLUSIVE MODE; SELECT pg_current_xact_id()') {
	my $session = session($node);
	$session->query_safe("BEGIN; $lock");
	is($session->query(q(INSERT INTO test.events SELECT 1, test.count_a(g) FROM generate_series(1, 5) g RETURNING kind)), join("\n", ('a') x 5), 'rows that come into a partition are seen by the statement that brings them');
	close_session($session);
}

# Random comparisons where it is barred, on a standby and on its primary
$node->safe_psql('postgres', 'CREATE DATABASE checker');
$node->safe_psql('checker', 'CREATE EXTENSION rolecall');
$node->safe_psql('checker', slurp_file("$directory/setup.sql"));
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $on_standby = session($standby, max_parallel_workers_per_gather => 0);
is_cheap($on_standby, $scan, $readable, 5, 'on a standby a scan asks for each user once');
is_cheap($on_standby, $scan, $readable, 5, '... and so does the next transaction');
$on_standby->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is_cheap($on_standby, $scan, $readable, $_, "... in REPEATABLE READ, $_ times") for 5, 0;
close_session($on_standby);

sub pgbench {
	my ($server, @options) = @_;
	return [ 'pgbench', '-n', '--max-tries=20', @options, '-h', $server->host, '-p', $server->port, 'checker' ];
}
sub scripts { return map { ('-f', "$directory/$_.sql") } @_; }

my ($ignored, $complaints_of_writers) = ('', '');
my $writers = IPC::Run::start(pgbench($node, '-c', 3, '-T', 600, scripts(map { "write/$_" } 'user', 'grant', 'lookup', 'come_and_go')), '>', \$ignored, '2>', \$complaints_of_writers);
for my $where ([ 'the standby', $standby, 'committed', 'repeatable', 'cursor' ], [ 'the primary', $node, 'serializable', 'own_writes', 'nested', 'cursor' ]) {
	my ($name, $server, @read) = @$where;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(pgbench($server, '-c', 3, '-t', 60, scripts(map { "read/$_" } @read)), '>', \$out, '2>', \$err);
	my @complaints = grep { !/serialize|deadlock|conflict with recovery|^pgbench|NOTICE|^\s*$/ } split /\n/, $err;
	ok($ok && !@complaints, "nothing differs on $name") or diag($err);
	like($out, qr/actually processed: [1-9]\d+/, '... in many transactions') or diag($out);
}
$writers->kill_kill;

# What writes is refused where nothing can be written, before a provider is asked or a worker woken.
my $provider = start_provider();
$node->safe_psql('postgres', qq(CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
	UPDATE rolecall.users SET provider = 'hr', institutional_id = 's1' WHERE id = 1));
my $token = $node->safe_psql('postgres', q(SELECT token FROM rolecall.issue_refresh_token(1)));
my $used = $node->safe_psql('postgres', q(SELECT token FROM rolecall.issue_refresh_token(1)));
$node->safe_psql('postgres', "SELECT rolecall.refresh('$used'); UPDATE rolecall.refresh_tokens SET rotated_at = now() - interval '1 day' WHERE rotated_at IS NOT NULL");
$node->wait_for_catchup($standby);
$provider->forget_requests;
my @refused = (
	'sync_user_roles(1)', 'force_sync_user_roles(1)', q(sync_user_roles(1, '{"roles": []}', true)), q(sync_user_units(1, '[]')), 'trigger_role_sync_for_user(1)',
	q(sync_provider('hr')), q(apply_provider_event('hr', '{"code": "s1"}')), 'wake_worker()', q(reload('me')), q(invalidate('me', '1')),
	q(create_projection('x', 'rolecall.me_view', 'uid', 'doc')), q(issue_refresh_token(1)), "refresh('$token')", "revoke_refresh_token('$token')", 'revoke_refresh_tokens(1)',
	q(create_oauth_state('google')));
my @hinted = grep { /sync|event|wake|reload|invalidate/ } @refused;
for my $call (@refused, "refresh('$used')") {
	my $hint = grep({ $_ eq $call } @hinted) || $call eq "refresh('$used')" ? qr/HINT:  Connect to the primary server\./ : qr//;
	my $name = $call =~ s/\(.*//r;
	like(error_of($standby, "SELECT rolecall.$call"), qr/ERROR:  25006: .*$hint/s, "a standby refuses $name()");
}
for my $call (@refused) {
	my $hint = grep({ $_ eq $call } @hinted) ? qr/HINT:  Call it in a transaction that is READ WRITE\./ : qr//;
	my $name = $call =~ s/\(.*//r;
	like(error_of($node, "BEGIN READ ONLY; SELECT rolecall.$call"), qr/ERROR:  25006: .*$hint/s, "a read-only transaction refuses $name()");
}
is($provider->requests->{total}, 0, '... and no provider was asked');
like(error_of($node, "BEGIN READ ONLY; SELECT rolecall.refresh('$used')"), qr/ERROR:  RC306: /, 'a token that is used again ends its login in a read-only transaction too');
is($node->safe_psql('postgres', q(SELECT bool_and(revoked) FROM rolecall.refresh_tokens WHERE family IN (SELECT family FROM rolecall.refresh_tokens WHERE rotated_at IS NOT NULL))), 't', '... by another process');

$standby->stop;
$node->stop;

sub close_session {
	for my $session (@_) {
		$session->query('ROLLBACK');
		$session->quit;
	}
	return;
}

done_testing();
