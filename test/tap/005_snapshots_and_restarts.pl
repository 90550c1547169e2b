# Snapshots from elsewhere, parallel workers, restarts, standbys: always what the view returns.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('primary_crash', "restart_after_crash = on\n", allows_streaming => 1);
create_extension($node);

sub count_of { my ($server, $column) = @_; return $server->safe_psql('postgres', "SELECT $column FROM rolecall.stat_cache"); }

sub all_fresh {
	my ($server, $what) = @_;
	is( $server->safe_psql('postgres',
			'SELECT count(*) FROM generate_series(1, 25) uid WHERE rolecall.me(uid) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view v WHERE v.uid = uid.uid)'),
		'0', $what);
	return;
}

sub update { my ($server, $value) = @_; return $server->safe_psql('postgres', "UPDATE rolecall.users SET display_name = '$value'"); }

# An imported snapshot
my $exporter = session($node);
my $snapshot = $exporter->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
update($node, 'newer');
all_fresh($node, 'everything is loaded under a newer snapshot');
my $importer = session($node);
$importer->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
is($importer->query_safe(q(SELECT rolecall.me(1) ->> 'display_name')), 'v1', 'an imported snapshot sees what it should');
is($importer->query_safe(is_difference(1)), 'f', '... and so does its view');
$_->query_safe('COMMIT') for $exporter, $importer;
$_->quit for $exporter, $importer;

# Parallel workers
my $parallel = $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
my $leader = session($node, $parallel => 'on', 'max_parallel_workers_per_gather' => '2', 'parallel_setup_cost' => '0', 'min_parallel_table_scan_size' => '0');
my $query = q(SELECT count(*) FROM rolecall.users WHERE rolecall.me(id) ->> 'display_name' IS DISTINCT FROM display_name);
like($leader->query_safe("EXPLAIN (COSTS OFF) $query"), qr/Gather/, 'the query runs in parallel workers');
is($leader->query_safe($query), '0', 'parallel workers, first in theirs');
my $before = count_of($node, 'hits');
is($leader->query_safe($query), '0', 'parallel workers again');
cmp_ok(count_of($node, 'hits'), '>', $before, '... and they hit');
$leader->query_safe(q(BEGIN; UPDATE rolecall.users SET display_name = 'own'));
is($leader->query_safe($query), '0', 'parallel workers see own writes of the leader');
$leader->query_safe('ROLLBACK');
is($leader->query_safe($query), '0', '... and their rollback');
$leader->quit;

# Prepared transactions, decided after a restart and after a crash
for my $how ('fast', 'immediate') {
	update($node, "before $how");
	all_fresh($node, 'loaded');
	$node->safe_psql('postgres', "BEGIN; UPDATE rolecall.users SET display_name = 'prepared $how'; PREPARE TRANSACTION 'p'");
	$node->stop($how);
	$node->start;
	all_fresh($node, "after a stop in mode $how, the transaction pending");
	$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
	all_fresh($node, '... and committed');
	is($node->safe_psql('postgres', q(SELECT rolecall.me(3) ->> 'display_name')), "prepared $how", '... it shows');
}

# A backend that is killed: the server restarts its memory, and nothing stale is left.
my $victim = session($node);
my $pid = $victim->query_safe('SELECT pg_backend_pid()');
update($node, 'before the kill');
all_fresh($node, 'loaded');
$node->safe_psql('postgres', q(BEGIN; UPDATE rolecall.users SET display_name = 'over the kill'; PREPARE TRANSACTION 'k'));
kill_process($node, $pid) or die 'there was no process to kill';
all_fresh($node, 'after a backend was killed');
$node->safe_psql('postgres', q(COMMIT PREPARED 'k'));
all_fresh($node, '... and the prepared transaction committed');
eval { $victim->quit };

# A standby answers from the view; a transaction prepared on the primary, and the promotion
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
for my $value ('on the standby', 'again') {
	update($node, $value);
	$node->wait_for_catchup($standby);
	all_fresh($standby, "a standby shows \"$value\"");
}
is(count_of($standby, 'hits'), '0', 'a standby never hits');
cmp_ok(count_of($standby, 'bypassed_recovery'), '>', 0, '... and says why');
$node->safe_psql('postgres', q(BEGIN; UPDATE rolecall.users SET display_name = 'over the promotion'; PREPARE TRANSACTION 'p'));
$node->wait_for_catchup($standby);
$standby->restart;
all_fresh($standby, 'a standby restarted');
my $old = session($standby);
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM rolecall.users');
$node->stop('immediate');
$standby->promote;
all_fresh($standby, 'after promotion');
is($old->query_safe(is_difference(1)), 'f', 'a snapshot from before the promotion');
$standby->safe_psql('postgres', q(COMMIT PREPARED 'p'));
is($old->query_safe(is_difference(1)), 'f', '... and the transaction prepared on the old primary');
$old->query_safe('COMMIT');
$old->quit;
all_fresh($standby, 'the transaction prepared on the old primary, committed');
is($standby->safe_psql('postgres', q(SELECT rolecall.me(3) ->> 'display_name')), 'over the promotion', '... shows');
$before = count_of($standby, 'hits');
all_fresh($standby, 'the new primary');
cmp_ok(count_of($standby, 'hits'), '>', $before, '... hits');
$standby->stop;

# A writer that was open when the first document was read keeps nothing from being cached, nor does a prepared
# transaction that was forgotten; one that survived a restart does, until it is decided.
my $writers = new_node('writers');
create_extension($writers);
$writers->safe_psql('postgres', 'CREATE TABLE elsewhere (id int)');
$writers->restart;
my $open = session($writers);
$open->query_safe('BEGIN; INSERT INTO elsewhere VALUES (1)');
$writers->safe_psql('postgres', q(BEGIN; INSERT INTO elsewhere VALUES (2); PREPARE TRANSACTION 'forgotten'));
$writers->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
sub hits { return $writers->safe_psql('postgres', 'SELECT rolecall.me(1); SELECT rolecall.me(1); SELECT hits FROM rolecall.stat_cache') =~ s/.*\n//sr; }
wait_for('a hit beside an open writer', sub { hits() > 0 });
pass('a hit beside an open writer and a prepared transaction');
$open->quit;
$writers->stop('immediate');
$writers->start;
hits() for 1 .. 5;
is(hits(), 0, 'no hit while a transaction that survived a restart may have written anything');
is($writers->safe_psql('postgres', q(SELECT rolecall.me(1) ->> 'display_name')), 'v2', '... but the right answer');
like($writers->safe_psql('postgres', q(SELECT reason FROM rolecall.cache_entry('me', '1'))), qr/^transaction \d+, which may have changed it, has not finished/, '... and the reason');
$writers->safe_psql('postgres', q(COMMIT PREPARED 'forgotten'));
wait_for('a hit after it was decided', sub { hits() > 0 });
pass('hits after it was decided');
$writers->stop;

# An extension that is made again
my $other = new_node('again');
create_extension($other);
$other->safe_psql('postgres', 'SELECT rolecall.me(1)') for 1 .. 2;
$other->safe_psql('postgres', 'DROP EXTENSION rolecall; CREATE EXTENSION rolecall');
is($other->safe_psql('postgres', 'SELECT rolecall.me(1) IS NULL'), 't', 'DROP and CREATE EXTENSION');
$other->stop;

done_testing();
