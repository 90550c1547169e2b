# Rounds: many sessions at once, each with a script that was made up before, and what is compared when all is quiet again.
package Rounds;

use strict;
use warnings;

use Exporter 'import';

use Judge;
use Script;
use Session;
use World;

our @EXPORT = qw(run_rounds);

# $enough->($total) ends it. Returns what was found: { compared, undecided, rounds, different => [...], refused, errors, hits }.
sub run_rounds {
	my ($node, $directory, $enough, @active) = @_;
	my %total = (compared => 0, undecided => 0, rounds => 0, changes => 0, different => [], refused => {}, errors => {}, units => {}, hits => 0, misses => 0);
	my $take = sub {
		my ($when, @outputs) = @_;
		my $verdict = judge(@outputs);
		$total{$_} += $verdict->{$_} for qw(compared undecided);
		for my $counts (qw(refused errors)) { $total{$counts}{$_} += $verdict->{$counts}{$_} for keys %{ $verdict->{$counts} }; }
		$total{changes} += @{ $verdict->{changes} };
		push @{ $total{different} }, map { { %$_, when => "round $total{rounds}, $when" } } @{ $verdict->{different} };
		return;
	};
	my @persistent = map { Session->new($node, $directory) } 1 .. 4;
	while (!$enough->(\%total)) {
		my @of = rand() < 0.5 ? @active : map { pick(@active) } 1 .. 3;
		my @new = map { Session->new($node, $directory) } 1 .. 4;
		my @sessions = (@persistent, @new);
		# Snapshots from before, of sessions that have read something, or nothing, and so hold no locks.
		my @elders = map { Session->new($node, $directory) } 1 .. 2;
		$_->run(settings() . "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n") for @elders;
		$elders[1]->run(compare_all(pick(@active)));
		my @scripts = map { $_ % 3 == 0 ? writer_script(30, @of) : reader_script(80, @of) } 0 .. $#sessions;
		$sessions[$_]->start($scripts[$_]) for 0 .. $#sessions;
		$take->('while definitions change', map { $_->finish } @sessions);
		$node->psql('postgres', "COMMIT PREPARED '$_'") for split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts');

		my $all = join '', map { compare_all($_) } @active;
		my $fresh = Session->new($node, $directory);
		$fresh->run(settings());
		$take->('when all is quiet', map({ $_->run($all) } @elders, @persistent, $fresh));
		$_->run("COMMIT;\n") for @elders;
		# Rows change, one after the other, so that nothing hides a watch that is not in place.
		for (1 .. 3) {
			$fresh->run(join '', map { pick(@{ $_->{rows} })->($_) . ";\n" } @active);
			$take->('after more rows', map { $_->run($all) } $persistent[0], $fresh);
		}
		$_->end for @new, @elders, $fresh;
		heal($node, @active);
		$total{rounds}++;
	}
	($total{hits}, $total{misses}) = split /\|/, $node->safe_psql('postgres', 'SELECT hits, misses FROM rolecall.stat_cache');
	$_->end for @persistent;
	return \%total;
}

# What cannot be cached any more is made again, and some of the rest, so that the next round begins with a cache.
sub heal {
	my ($node, @active) = @_;
	for my $kit (@active) {
		if ($kit->{builtin}) {
			$node->psql('postgres', 'SELECT rolecall.put_watch_triggers(id) FROM rolecall.watches WHERE builtin');
			next;
		}
		my (undef, $problems) = $node->psql('postgres', "SELECT count(*) FROM rolecall.projection_problems('$kit->{name}')");
		$node->psql('postgres', build_kit($kit)) if ($problems // '') ne '0' || rand() < 0.1;
	}
	return;
}

1;
