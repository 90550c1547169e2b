# The cache as a whole: memory that comes back, a server that loses processes at any moment, settings that do not fit.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('cache_crash', "rolecall.cache_size = 4MB\nrestart_after_crash = on\nmax_connections = 1050\n");
create_extension($node);

sub entries { return $node->safe_psql('postgres', 'SELECT entries FROM rolecall.stat_cache'); }
sub load { my ($database) = @_; return $node->safe_psql($database // 'postgres', 'SELECT count(rolecall.me(id)) FROM rolecall.users'); }

# ---- Memory comes back --------------------------------------------------------------------------------------------

load();
is(entries(), 20, 'every user has an entry');
$node->safe_psql('postgres', 'SELECT count(rolecall.me_json(id)) FROM rolecall.users WHERE id <= 5');
is(entries(), 25, 'text is stored only where it was asked for');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q(CREATE EXTENSION rolecall; INSERT INTO rolecall.users (email) SELECT g || '@example.org' FROM generate_series(1, 100) g));
load('other');
is(entries(), 125, 'another database has its own');
$node->safe_psql('postgres', 'DROP DATABASE other');
is(entries(), 25, 'a dropped database gives its memory back');

$node->safe_psql('postgres', q(DELETE FROM rolecall.projections WHERE name = 'me'));
is(entries(), 0, 'so does a dropped projection');
$node->safe_psql('postgres', 'DROP EXTENSION rolecall CASCADE; DROP SCHEMA test CASCADE');
create_extension($node);
load();
is(entries(), 20, 'entries again');
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION rolecall CASCADE; ROLLBACK');
is(load(), 20, 'a drop that is rolled back costs loads and nothing else');
$node->safe_psql('postgres', 'DROP EXTENSION rolecall CASCADE; CREATE EXTENSION rolecall; DROP SCHEMA test CASCADE');
is(entries(), 0, 'and so does a dropped extension');

# ---- Processes that die -------------------------------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.roles (name) VALUES ('member');
INSERT INTO rolecall.users (email, metadata) SELECT g || '@example.org', jsonb_build_object('long', repeat('x', g)) FROM generate_series(1, 3000) g;
INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users;
CREATE FUNCTION differences() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM rolecall.me_view v
    WHERE rolecall.me(v.uid) IS DISTINCT FROM v.doc OR rolecall.me_json(v.uid)::jsonb IS DISTINCT FROM v.doc
       OR NOT rolecall.has_role(v.uid, 'member')
$$;
SQL
my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, <<'SQL');
\set a random(1, 3000)
\set b random(1, 3000)
SELECT count(rolecall.me(id)), count(rolecall.me_json(id)) FROM rolecall.users WHERE id BETWEEN :a - 20 AND :a;
UPDATE rolecall.users SET metadata = jsonb_build_object('long', repeat('y', :b % 500)) WHERE id = :b;
SQL

sub backends {
	return split /\n/, $node->safe_psql('postgres',
		q(SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'));
}

# The cache is smaller than the users, so that entries come and go all the time. Processes end by FATAL or by SIGKILL
# at any point of it; afterwards nothing is locked, torn or lost.
for my $how ('TERM', 'TERM', 'TERM', 'KILL', 'KILL', 'KILL') {
	my ($out, $err) = ('', '');
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', 8, '-T', 60, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$out, '2>', \$err);
	wait_for('clients', sub { backends() == 8 });
	select(undef, undef, undef, 0.2 + rand 0.3);
	my @pids = backends();
	if ($how eq 'TERM') {
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($_)") for @pids[0 .. 6];
		wait_for('backends to end', sub { backends() <= 1 });
	} else {
		kill_process($node, $pids[ rand @pids ]) or die 'there was no process to kill';
	}
	$bench->kill_kill;
	wait_for('clients to be gone', sub { my @left = eval { backends() }; !$@ && !@left });
	is($node->safe_psql('postgres', "SET statement_timeout = '60s'; SELECT differences() + differences()"), 0, "after SIG$how every document is right");
	is($node->safe_psql('postgres', "SELECT live_bytes + dead_bytes <= bytes AND entries > 0 FROM rolecall.stat_cache"), 't', 'and memory adds up');
}
# ---- Single flight ------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION slowly(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE LOG 'loading %', t;
    PERFORM pg_sleep(coalesce(nullif(current_setting('test.sleep', true), ''), '0')::float);
    RETURN t;
END $$;
CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT p.user_id AS uid, jsonb_build_object('id', p.user_id, 'email', slowly(p.email)) AS doc, p.valid_from, p.valid_until, p.email, p.tenant_id FROM rolecall.user_profile p;
SQL
# By the configuration: after a change of definitions these sessions would be too old to load for others.
sub sleep_for { my ($seconds) = @_; return configure($node, 'test.sleep', $seconds); }
sub loads { my ($user) = @_; return scalar(() = slurp_file($node->logfile) =~ /loading $user\@/g); }

# A thousand sessions that know the projection already, at one barrier. Bounded memory: what they wait in is as large as ever.
my $once = PostgreSQL::Test::Utils::tempdir() . '/once.sql';
append_to_file($once, <<'SQL');
SELECT rolecall.me(5);
SELECT pg_advisory_lock_shared(1);
SELECT 1 / (rolecall.me(1) ->> 'email' = '1@example.org')::int;
SQL
my $barrier = session($node);
$barrier->query_safe('SELECT pg_advisory_lock(1)');
my @benches = map {
	my %bench = (out => '', err => '');
	$bench{run} = IPC::Run::start([ 'pgbench', '-n', '-c', 500, '-t', 1, '-f', $once, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$bench{out}, '2>', \$bench{err});
	\%bench;
} 1 .. 2;
$node->poll_query_until('postgres', q(SELECT count(*) = 1000 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)) or die map { $_->{err} } @benches;
sleep_for('0.3');
$node->safe_psql('postgres', 'SELECT rolecall.me(5)');
$barrier->query_safe('SELECT pg_advisory_unlock(1)');
$barrier->quit;
$_->{run}->finish for @benches;
is(scalar(grep { $_->{out} =~ m{actually processed: 500/500} } @benches), 2, 'a thousand sessions miss one key at once') or diag(map { $_->{err} } @benches);
cmp_ok(loads(1), '<=', 2, 'and its query runs once, or twice');
cmp_ok(loads(1), '>=', 1, 'at least once');
sleep_for('0');

# The session that loads waits for a lock that the other has: the other does not wait for it.
my ($pilot, $other) = (session($node), session($node, statement_timeout => '900ms'));
$other->query_safe('BEGIN; LOCK TABLE rolecall.users IN ACCESS EXCLUSIVE MODE');
begin_query($pilot, q(SELECT rolecall.me(2) ->> 'email'));
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE relation = 'rolecall.users'::regclass AND NOT granted));
is($other->query(q(SELECT rolecall.me(2) ->> 'email')), '2@example.org', 'nobody waits for who may wait for it');
$other->query_safe('COMMIT');
is(finish_query($pilot), '2@example.org', 'and the other goes on');

# The session that loads is ended or cancelled: its turn ends with it, long before others would cease to wait.
for my $how ('pg_terminate_backend', 'pg_cancel_backend') {
	my $user = $how eq 'pg_cancel_backend' ? 3 : 4;
	my $loader = session($node, 'test.sleep' => '600');
	my $pid = $loader->query_safe('SELECT pg_backend_pid()');
	begin_query($loader, "SELECT rolecall.me($user)");
	wait_for('the load', sub { loads($user) == 1 });
	my ($code) = $node->psql('postgres', "SET statement_timeout = '700ms'; SELECT rolecall.me($user)");
	isnt($code, 0, 'others wait for the load');
	$node->safe_psql('postgres', "SELECT $how($pid)");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'");
	is($node->safe_psql('postgres', "SET statement_timeout = '700ms'; SELECT rolecall.me($user) ->> 'email'"), "$user\@example.org",
		"until $how: the next one loads");
	eval { $loader->quit };
}
$_->quit for $pilot, $other;
$node->safe_psql('postgres', 'DROP EXTENSION rolecall CASCADE; CREATE EXTENSION rolecall');
$node->safe_psql('postgres', q(INSERT INTO rolecall.users (email) VALUES ('one@example.org')));

$node->stop;

# ---- Settings that do not fit -------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "rolecall.max_document_size = 2MB\n");
ok(!$node->start(fail_ok => 1), 'documents that the cache is too small for: the server does not start');
like(slurp_file($node->logfile), qr/"rolecall.max_document_size" must be at most a quarter of "rolecall.cache_size"/, 'and says why');

# Every size up to the limit is cached, and nothing above.
$node->append_conf('postgresql.conf', "rolecall.cache_size = 1MB\nrolecall.max_document_size = 256kB\n");
$node->start;
$node->safe_psql('postgres', 'SELECT rolecall.me(1)');
for my $size (1, 1000, 100_000, 250_000, 300_000) {
	$node->safe_psql('postgres', "UPDATE rolecall.users SET metadata = jsonb_build_object('long', repeat('x', $size)) WHERE id = 1");
	my $hits = $node->safe_psql('postgres', 'SELECT rolecall.me(1); SELECT hits FROM rolecall.stat_cache') =~ s/.*\n//sr;
	my ($right, $more) = split /\n/, $node->safe_psql('postgres',
		'SELECT rolecall.me(1) = doc FROM rolecall.me_view WHERE uid = 1; SELECT hits FROM rolecall.stat_cache');
	is("$right " . ($more - $hits), $size <= 256 * 1024 ? 't 1' : 't 0', "$size bytes");
}
$node->stop;

done_testing();
