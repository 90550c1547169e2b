# psql in the background, fed with scripts. Several run at once; what each printed is read when it has come to the end.
package Session;

use strict;
use warnings;

use IO::Handle;
use PostgreSQL::Test::Utils;

my $number = 0;

sub new {
	my ($class, $node, $directory) = @_;
	$number++;
	my $self = bless { output => "$directory/session_$number.out", script => "$directory/session_$number.sql", read => 0, marks => 0 }, $class;
	open($self->{psql}, '|-', 'stdbuf', '-oL', 'sh', '-c', 'exec psql -XqAt -d "$0" >"$1" 2>&1', $node->connstr('postgres'), $self->{output}) or die "could not start psql: $!";
	$self->{psql}->autoflush(1);
	return $self;
}

# Begins a script; done() is true when it has ended.
sub start {
	my ($self, $script) = @_;
	$self->{marks}++;
	PostgreSQL::Test::Utils::append_to_file($self->{script}, "-- $self->{marks}\n$script");
	open(my $file, '>', "$self->{script}.now") or die $!;
	print $file $script;
	close($file);
	print { $self->{psql} } "\\i $self->{script}.now\n\\echo mark $self->{marks}\n";
	$self->{text} = '';
	return $self;
}

sub done {
	my ($self) = @_;
	open(my $file, '<', $self->{output}) or return 0;
	seek($file, $self->{read}, 0);
	local $/ = undef;
	my $text = <$file> // '';
	return 0 if $text !~ /^mark $self->{marks}\n/m;
	$self->{read} += length($text);
	$self->{text} = $text;
	return 1;
}

# Waits for the end of what start() began, and returns what was printed meanwhile.
sub finish {
	my ($self) = @_;
	for (1 .. 500 * $PostgreSQL::Test::Utils::timeout_default) {
		return $self->{text} if $self->done;
		select(undef, undef, undef, 0.002);
	}
	die 'timed out waiting for a session of the checker';
}

sub run { my ($self, $script) = @_; return $self->start($script)->finish; }

sub end { my ($self) = @_; print { $self->{psql} } "\\q\n"; close($self->{psql}); return; }

1;
