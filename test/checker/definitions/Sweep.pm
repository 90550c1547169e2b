# One unit of DDL alone: documents are cached, the unit is run in some way, rows are written; sessions of every kind read
# before, after and in between. What is found here is found again, with a few statements.
package Sweep;

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(shuffle);

use Judge;
use Script;
use Session;
use World;

our @EXPORT = qw(ways_alone alone);

# What only two sessions can do, each by (kit, what, statements): before, the reader's turn, and the end.
my $in_transaction = sub { my ($kit, $what, @statements) = @_; return ("BEGIN;\n" . join('', map { "$_;\n" } @statements), change($kit, $what) . "COMMIT;\n" . changed()) };
my %together = (
	'while another session reads' => sub { return ('', $in_transaction->(@_)) },
	'begun before the projection was made' => sub { return ('', $in_transaction->(@_), 'makes') },
	'with a snapshot older than the projection' => sub {
		my ($kit, $what, @statements) = @_;
		return ("BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n", '', join('', map { "$_;\n" } @statements) . change($kit, $what) . "COMMIT;\n" . changed(), 'makes') });

sub ways_alone { my ($is_alone) = @_; return $is_alone ? 'alone' : (ways_of(), sort keys %together); }

my $builder;

# Returns whether the documents were cached before, and the verdict.
sub alone {
	my ($node, $directory, $kit, $what, $way, @statements) = @_;
	$builder //= Session->new($node, $directory);
	my $all = compare_all($kit);
	my $build = build_kit($kit);
	my $name = "$what, $way";
	$builder->run("SET lock_timeout = '2s';\nROLLBACK;\n$build");
	# Who is older than definitions keeps no documents of functions with a text.
	my ($reader, $writer, $elder) = map { Session->new($node, $directory) } 1 .. 3;
	$_->run("SET app.tenant = 'one';\n" . settings() . "$all$all") for $reader, $writer;
	my @outputs;
	if (my $together = $together{$way}) {
		my ($first, $second, $third, $makes) = $together->($kit, $name, @statements);
		$writer->run($first);
		$builder->run(create_again($kit)) if $makes && $first;
		push @outputs, $writer->run($second);
		$builder->run(create_again($kit)) if $makes && !$first;
		my $hits = hits($reader, $all);
		$elder->run(settings() . "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n");
		push @outputs, $reader->run("$all$all"), $writer->run($third);
		return finish($node, $directory, $kit, $reader, $writer, $elder, $hits, @outputs);
	}
	my $hits = hits($reader, $all);
	$elder->run(settings() . "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 1;\n");
	push @outputs, $writer->run($way eq 'alone' ? change($kit, $name) . join('', map { "$_;\n" } @statements) . changed() : in_way($way, $kit, $name, @statements));
	return finish($node, $directory, $kit, $reader, $writer, $elder, $hits, @outputs);
}

sub create_again { my ($kit) = @_; return "BEGIN;\nSELECT rolecall.drop_projection('$kit->{name}');\n" . create_projection($kit) . ";\nCOMMIT;\n"; }

sub hits {
	my ($session, $all) = @_;
	my $count = "SELECT 'hits ' || hits FROM rolecall.stat_cache;\n";
	my ($before, $after) = $session->run("$count$all$count") =~ /hits (\d+)/g;
	return ($after // 0) - ($before // 0);
}

sub finish {
	my ($node, $directory, $kit, $reader, $writer, $elder, $hits, @outputs) = @_;
	my $all = compare_all($kit);
	my $new = Session->new($node, $directory);
	$new->run(settings());
	push @outputs, $_->run($all) for $writer, $reader, $new;
	push @outputs, $elder->run("${all}COMMIT;\n");
	push @outputs, $builder->run($_->($kit) . ";\n"), $reader->run($all) for shuffle @{ $kit->{rows} };
	push @outputs, $_->run($all) for $writer, $elder, $new;
	$_->end for $reader, $writer, $new, $elder;
	return ($hits, judge(@outputs));
}

1;
