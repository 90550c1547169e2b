use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib', 'test/checker/definitions';
use Rolecall::Test;
use World;
use Tables;
use Code;
use Rights;
use Script;
use Judge;
use Session;
use Sweep;

my $seed = $ENV{ROLECALL_SEED} // time;
my $wanted = int(($ENV{ROLECALL_CHECKS} // 300_000) / 4);
note("ROLECALL_SEED=$seed");
srand($seed);

my $node = new_node('definitions', <<'CONF');
max_connections = 60
autovacuum_naptime = 1s
deadlock_timeout = 30ms
max_locks_per_transaction = 256
CONF
$Script::server_version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $directory = $PostgreSQL::Test::Utils::tmp_check . "/definitions_$seed";
mkdir $directory;
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall');
$node->safe_psql('postgres', checker_sql());
if ($ENV{ROLECALL_KITS}) { my %only = map { $_ => 1 } split /,/, $ENV{ROLECALL_KITS}; @kits = grep { $only{ $_->{name} } } @kits; }
$node->append_conf('postgresql.conf', "rolecall.seeded_fault = $ENV{ROLECALL_FAULT}\n") if $ENV{ROLECALL_FAULT};
$node->reload;

my @active;
for my $kit (@kits) {
	my $sql = $kit->{builtin} ? $kit->{setup} . oracle_sql($kit) : build_kit($kit);
	my ($ret, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1);
	if ($ret != 0) { diag("$kit->{name}: $err"); next; }
	push @active, $kit;
}

my $now = 'extract(epoch FROM statement_timestamp())';
if (my $sweep = $ENV{ROLECALL_SWEEP}) {
	for my $kit (grep { !$_->{builtin} } @active) {
		for my $unit (map({ [ @$_, 0 ] } units_of($kit)), map({ [ @$_, 1 ] } @{ $kit->{alone} // [] })) {
			my ($what, $statements, $is_alone) = @$unit;
			for my $way ($sweep eq 'all' ? ways_alone($is_alone) : pick(ways_alone($is_alone))) {
				my @statements = $statements->();
				my ($cached, $verdict) = alone($node, $directory, $kit, $what, $way, @statements);
				my $n = @{ $verdict->{different} };
				printf "%s %s | %s | %s | cached %d different %d undecided %d refused %s errors %s\n", $n ? 'STALE' : 'fresh', $kit->{name}, $what, $way, $cached, $n, $verdict->{undecided}, join('; ', keys %{ $verdict->{refused} }), join('; ', keys %{ $verdict->{errors} });
				if ($n) { my $d = $verdict->{different}[0]; print "   key $d->{key}\n   cached $d->{cached}\n   own    $d->{own}\n   ", join(' // ', @statements), "\n"; }
			}
		}
	}
	done_testing(); exit 0;
}

# --- All at once.
my %total = (compared => 0, undecided => 0);
my (%refused, %errors, %by_kit, @all);
my $rounds = 0;
my @persistent = map { Session->new($node, $directory) } 1 .. 4;
sub take {
	my ($where, @outputs) = @_;
	my $verdict = judge(@outputs);
	$total{$_} += $verdict->{$_} for qw(compared undecided);
	$refused{$_} += $verdict->{refused}{$_} for keys %{ $verdict->{refused} };
	$errors{$_} += $verdict->{errors}{$_} for keys %{ $verdict->{errors} };
	for my $d (@{ $verdict->{different} }) {
		push @all, $d;
		next if $by_kit{"$d->{kit} $where"}++ > 2;
		diag("seed $seed, round $rounds, $where: projection $d->{kit}, key $d->{key}\n  cached: $d->{cached}\n  view:   $d->{own}\n  last: " . join(' // ', @{ $d->{last} }));
	}
	return $verdict;
}
my @history;
while ($total{compared} < $wanted && $rounds < 1000) {
	my @of = rand() < 0.5 ? @active : map { pick(@active) } 1 .. 3;
	my @new = map { Session->new($node, $directory) } 1 .. 4;
	my $old = Session->new($node, $directory);
	$old->run("BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n");
	my @sessions = (@persistent, @new);
	my @scripts = map { $_ % 4 == 3 ? writer_script(15, @of) : reader_script(100, @of) } 0 .. $#sessions;
	$sessions[$_]->start($scripts[$_]) for 0 .. $#sessions;
	my @outputs = map { $_->finish } @sessions;
	take('during the round', @outputs);
	for my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts')) { $node->psql('postgres', "COMMIT PREPARED '$gid'"); }
	my $all = join '', map { careful($_, $now, @{ $_->{keys} }) } @active;
	my $fresh = Session->new($node, $directory);
	my $v = take('when all is quiet', $old->run($all), map({ $_->run($all) } @persistent[0, 3]), $fresh->run($all));
	$old->run("COMMIT;\n"); $old->end;
	# Rows are written by a session that changes no definitions; a watch that is not in place shows.
	$fresh->run(join '', map { my $k = $_; map { $_->($k) . ";\n" } @{ $k->{rows} } } @active);
	take('after more rows', map { $_->run($all) } $persistent[0], $persistent[3], $fresh);
	$_->end for @new, $fresh;
	# What cannot be cached any more is made again.
	for my $kit (@active) {
		next if $kit->{builtin};
		my $problems = $node->psql('postgres', "SELECT 1/(1-count(*)) FROM (SELECT FROM rolecall.projection_problems('$kit->{name}') LIMIT 1) p");
		$node->psql('postgres', build_kit($kit)) if $problems || rand() < 0.1;
	}
	$node->psql('postgres', q(SELECT rolecall.put_watch_triggers(id) FROM rolecall.watches WHERE builtin)); 
	$rounds++;
}
diag("$rounds rounds, compared $total{compared}, undecided $total{undecided}, different " . scalar(@all));
diag("errors:\n" . join "\n", map { "  $errors{$_} $_" } sort { $errors{$b} <=> $errors{$a} } keys %errors);
diag("refused:\n" . join "\n", map { "  $refused{$_} $_" } sort keys %refused);
diag($node->safe_psql('postgres', 'SELECT projection, hits, misses, bypassed_own_writes, not_installed_ddl, not_installed_unwatched, not_installed_writers FROM rolecall.stat_projection'));
is(scalar(@all), 0, "documents compared: $total{compared}");
$node->stop;
done_testing();
