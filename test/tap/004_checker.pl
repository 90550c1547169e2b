# The freshness checker: clients compare me() with its query in the same statement, in every isolation level, while
# others write in every way there is; the server crashes in between, with a transaction prepared. Not one document
# may differ. ROLECALL_CHECKS sets how many are compared.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $wanted = $ENV{ROLECALL_CHECKS} // 300_000;
my $directory = "$Rolecall::Test::root/test/checker";
my $least_rounds = 6;    # two crashes at least
my $round_seconds = 4;

my $node = new_node('checker_crash', <<'CONF');
max_connections = 60
autovacuum_naptime = 1s
deadlock_timeout = 100ms
CONF
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall');
$node->safe_psql('postgres', slurp_file("$directory/setup.sql"));

# How many documents one transaction of a script compares.
my %checks = ('read/committed.sql' => 10, 'read/repeatable.sql' => 30, 'read/serializable.sql' => 20, 'read/own_writes.sql' => 50, 'read/nested.sql' => 60, 'read/cursor.sql' => 30);
my %weights = (
	'read/committed.sql' => 300, 'read/repeatable.sql' => 60, 'read/serializable.sql' => 30, 'read/own_writes.sql' => 12, 'read/nested.sql' => 12, 'read/cursor.sql' => 20,
	'write/user.sql' => 20, 'write/come_and_go.sql' => 10, 'write/grant.sql' => 10, 'write/lookup.sql' => 10,
	'write/prepared.sql' => 5, 'write/subtransactions.sql' => 1, 'write/rare.sql' => 1);

# One round; returns how many documents were compared. A difference ends a client, and pgbench says so.
sub round {
	my ($clients) = @_;
	my @scripts = map { ('-f', "$directory/$_\@$weights{$_}") } sort keys %weights;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-T', $round_seconds, '--max-tries=20', @scripts, '-h', $node->host,
			'-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
	my $compared = 0;
	while ($out =~ /SQL script \d+: \S*\/((?:read|write)\/\w+\.sql)\n(?:.*\n)*?\s*- (\d+) transactions/g) {
		$compared += $2 * ($checks{$1} // 0);
	}
	# Deadlocks and conflicts among writers are theirs; anything else is ours.
	my @complaints = grep { !/serialize|deadlock|^pgbench|NOTICE|^\s*$/ } split /\n/, $err;
	ok($ok && !@complaints, "a round of $clients clients") or diag($err);
	return $compared;
}

# Since the server started; a crash takes the counters along.
my ($hits, $misses) = (0, 0);
sub count_hits {
	my ($more_hits, $more_misses) = split /\|/, $node->safe_psql('postgres', 'SELECT hits, misses FROM rolecall.stat_cache');
	$hits += $more_hits;
	$misses += $more_misses;
	return;
}

my $compared = 0;
my $rounds = 0;
while ($compared < $wanted || $rounds < $least_rounds) {
	# Every other round beside a long transaction that has written a user whom nobody else writes, in more
	# subtransactions than a snapshot holds.
	my $long = $rounds % 2 ? $node->background_psql('postgres') : undef;
	$long->query_safe(q(BEGIN; INSERT INTO rolecall.users (id, email) VALUES (1000, 'long@example.org'); SELECT checker.many_subtransactions(1000))) if $long;
	$compared += round($rounds % 2 ? 4 : 12);
	if ($long) {
		$long->query_safe($rounds % 4 == 1 ? 'DELETE FROM rolecall.users WHERE id = 1000; COMMIT' : 'ROLLBACK');
		$long->quit;
	}
	last unless Test::More->builder->is_passing;
	if ($rounds % 3 == 1) {
		count_hits();
		# Crash with a transaction prepared; it is decided while others read.
		$node->safe_psql('postgres',
			"BEGIN; UPDATE rolecall.users SET function = 'over the crash' WHERE id <= 20; PREPARE TRANSACTION 'pending'");
		$node->stop('immediate');
		$node->start;
		my $reader = $node->background_psql('postgres');
		for my $decide ('SELECT 1', ($rounds % 2 ? 'COMMIT' : 'ROLLBACK') . q( PREPARED 'pending')) {
			$node->safe_psql('postgres', $decide);
			$reader->query_safe('SELECT checker.complain(sum(checker.differences(first))::bigint) FROM generate_series(1, 41, 10) first') for 1 .. 2;
			$compared += 100;
		}
		$reader->quit;
		# Forgotten ones of the last round would keep everything uncacheable.
		my @left = split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');
		$node->safe_psql('postgres', "ROLLBACK PREPARED '$_'") for @left;
	}
	$rounds++;
}
cmp_ok($compared, '>=', $wanted, "documents compared: $compared in $rounds rounds");

# A checker that never hits proves nothing.
count_hits();
cmp_ok($hits, '>', ($hits + $misses) / 4, "hits: $hits, misses: $misses");
$node->stop;

done_testing();
