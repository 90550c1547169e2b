# Reads what the sessions of a round printed, and tells which differences count.
package Judge;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;

our @EXPORT = qw(judge);

# Where the cache may refuse and the view has an answer: never with a wrong answer, always with an error that says why.
our @refusals = (
	qr/^42704: projection ".*" does not exist/,
	qr/^(55000|42P01|42703|42P17|42804|42809|42501): /);

# judge($text, ...) => { compared, different => [...], undecided, refused => { message => count }, errors => {...} }
sub judge {
	my (@outputs) = @_;
	my %verdict = (compared => 0, different => [], undecided => 0, refused => {}, errors => {}, changes => []);
	my (%begun, @comparisons);
	for my $output (@outputs) {
		for my $line (split /\n/, $output) {
			if ($line =~ /^C\|(\w+)\|(\d+)\|(\d+)\|([\d.]+)\|([\d.]+)\|(.*)$/) {
				$verdict{compared} += $2;
				push @comparisons, { kit => $1, begin => $4, end => $5, details => $6 } if $3 > 0;
			}
			elsif ($line =~ /^B\|(\d+)\|([\d.]+)\|(\w+)\|(.*)$/) { $begun{$1} = { begin => $2, end => 9e15, kit => $3, what => $4 }; }
			elsif ($line =~ /^E\|(\d+)\|([\d.]+)$/) { $begun{$1}{end} = $2 if $begun{$1}; }
			elsif ($line =~ /(?:ERROR|FATAL|PANIC|WARNING): +(.*)/) { $verdict{errors}{ $1 =~ s/[\d.]+/N/gr }++; }
		}
	}
	my @changes = sort { $a->{begin} <=> $b->{begin} } values %begun;
	$verdict{changes} = \@changes;
	for my $comparison (@comparisons) {
		my @differences;
		for my $both (@{ JSON::PP->new->canonical->allow_nonref->decode($comparison->{details}) }) {
			my ($key, $cached, $own, $cached_error, $own_error) = @$both;
			if (defined $cached_error && !defined $own_error && grep { $cached_error =~ $_ } @refusals) {
				$verdict{refused}{"$comparison->{kit}: $cached_error"}++;
				next;
			}
			next if grep { defined && /^(40001|40P01|55P03|57014):/ } $cached_error, $own_error;    # would have come to an end later
			push @differences, { key => $key, cached => $cached_error // text_of($cached), own => $own_error // text_of($own) };
		}
		next if !@differences;
		if (grep { $_->{begin} <= $comparison->{end} && $_->{end} >= $comparison->{begin} } @changes) {
			$verdict{undecided} += @differences;
			next;
		}
		my @last = grep { defined } (reverse grep { $_->{kit} eq $comparison->{kit} && $_->{end} < $comparison->{begin} } @changes)[ 0 .. 3 ];
		push @{ $verdict{different} }, { %$_, kit => $comparison->{kit}, at => $comparison->{begin}, last => [ map { sprintf '%s (%.1f ms before)', $_->{what}, 1000 * ($comparison->{begin} - $_->{end}) } @last ] } for @differences;
	}
	return \%verdict;
}

sub text_of { my ($value) = @_; return JSON::PP->new->canonical->allow_nonref->encode($value); }

1;
