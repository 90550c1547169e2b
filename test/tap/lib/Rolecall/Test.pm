# Functions that the TAP tests share: servers with the library preloaded, sessions that can be stopped at debug points,
# and the demo provider.
package Rolecall::Test;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run qw(start);
use JSON::PP qw(decode_json encode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node create_extension create_points session begin_query finish_query hold release wait_at
  wait_for kill_process configure set_fault is_difference error_of start_provider move_clock $clock);

our $root = abs_path(dirname(__FILE__) . '/../../../..');

# Returns a started server. $setup has lines for postgresql.conf; %init is passed to init().
sub new_node {
	my ($name, $settings, %init) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%init);
	$node->append_conf('postgresql.conf', <<'CONF' . ($settings // ''));
shared_preload_libraries = 'rolecall'
rolecall.cache_size = 256MB  # enough stamps that two keys rarely share one
rolecall.worker = off
max_prepared_transactions = 20
log_statement = none
CONF
	$node->start;
	return $node;
}

# Creates the functions that hold(), release() and wait_at() need.
sub create_points {
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA IF NOT EXISTS test;
CREATE OR REPLACE FUNCTION test.hold(point text) RETURNS void LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_hold';
CREATE OR REPLACE FUNCTION test.release(point text) RETURNS void LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_release';
CREATE OR REPLACE FUNCTION test.waiting(point text) RETURNS int LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_waiting';
SQL
	return;
}

# Creates the extension, a few users, and the functions of create_points().
sub create_extension {
	my ($node) = @_;
	create_points($node);
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION rolecall;
INSERT INTO rolecall.roles (name) VALUES ('member'), ('admin');
INSERT INTO rolecall.units (institutional_id, name) VALUES ('u1', 'unit one'), ('u2', 'unit two');
INSERT INTO rolecall.users (email, display_name) SELECT 'user' || g || '@example.org', 'v1' FROM generate_series(1, 20) g;
SQL
	return;
}

# Returns a background psql, which errors do not end. %settings are SET in it.
sub session {
	my ($node, %settings) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET $_ = '$settings{$_}'") for sort keys %settings;
	return $session;
}

# Sends a query without waiting for its result; finish_query() waits for it and returns the output.
sub begin_query {
	my ($session, $sql) = @_;
	$session->query_until(qr/begun\n/, "\\echo begun\n$sql;\n");
	return;
}

sub finish_query {
	my ($session) = @_;
	my $output = $session->query_until(qr/finished\n/, "\\echo finished\n");
	$output =~ s/\n?finished\n//;
	return $output;
}

sub hold { my ($node, $point) = @_; return $node->safe_psql('postgres', "SELECT test.hold('$point')"); }

sub release { my ($node, $point) = @_; return $node->safe_psql('postgres', "SELECT test.release('$point')"); }

# Waits until a session has reached a held point.
sub wait_at {
	my ($node, $point) = @_;
	$node->poll_query_until('postgres', "SELECT test.waiting('$point') <> 0") or die "nobody came to $point";
	return;
}

# Waits until a Perl condition holds, and checks it every 20 ms.
sub wait_for {
	my ($what, $condition) = @_;
	for (1 .. 50 * $PostgreSQL::Test::Utils::timeout_default) {
		return 1 if $condition->();
		select(undef, undef, undef, 0.02);
	}
	die "timed out waiting for $what";
}

# Ends a process of a server by SIGKILL and waits until the server has restarted. Returns false if there was no such
# process. Until the postmaster has reaped the process, the server still accepts sessions, only to end them.
sub kill_process {
	my ($node, $pid) = @_;
	my $killed = kill 'KILL', $pid;
	wait_for('the server to notice', sub { !kill 0, $pid });
	wait_for('the restart', sub { $node->psql('postgres', 'SELECT 1') == 0 });
	return $killed;
}

# Changes a setting in the configuration file and waits until new sessions have it.
sub configure {
	my ($node, $name, $value) = @_;
	$node->append_conf('postgresql.conf', "$name = $value\n");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'") or die;
	return;
}

# Switches on a seeded fault, by its number; 0: none.
sub set_fault { my ($node, $fault) = @_; return configure($node, 'rolecall.seeded_fault', $fault); }

# The seconds by which the clock of syncs has been moved.
our $clock = 0;

sub move_clock {
	my ($node, $seconds) = @_;
	$clock += $seconds;
	$node->safe_psql('postgres', "ALTER SYSTEM SET rolecall.clock_offset = $clock");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('rolecall.clock_offset')::interval = interval '$clock seconds'") or die;
	return;
}

# Returns SQL that is true if me($uid) differs from what its query returns in the same statement.
sub is_difference {
	my ($uid) = @_;
	return "SELECT rolecall.me($uid) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view WHERE uid = $uid)";
}

# Returns SQLSTATE, message, detail and hint of the error that a query raises, as one string.
sub error_of {
	my ($node, $sql, %params) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, extra_params => ['-v', 'VERBOSITY=verbose'], %params);
	return $err;
}

# Started providers are ended together with the test, however it ends.
my @providers;
END {
	local $? = $?;
	$_->kill_kill for @providers;
}

# Starts the demo provider. Returns an object with url, tls, control and methods such as put_user, fault, requests.
sub start_provider {
	my (@arguments) = @_;
	my ($out, $err) = ('', '');
	my $harness = start([ 'node', "$root/demo/provider.mjs", @arguments ], '<', \undef, '>', \$out, '2>', \$err);
	wait_for('the provider', sub { $harness->pump_nb; $out =~ /\n/ || $err });
	die "the provider did not start: $err" if $err;
	my $self = decode_json($out);
	push @providers, $harness;
	return bless { %$self, http => HTTP::Tiny->new(timeout => 30) }, 'Rolecall::Test::Provider';
}

package Rolecall::Test::Provider;

use strict;
use warnings;

use Encode qw(encode);
use JSON::PP qw(decode_json encode_json);

sub call {
	my ($self, $method, $path, $body) = @_;
	my $response = $self->{http}->request($method, "$self->{control}/$path",
		{ defined $body ? (content => encode_json($body)) : () });
	die "$method $path: $response->{status} $response->{content}" unless $response->{success};
	return decode_json($response->{content});
}

sub segment { my ($text) = @_; return encode('UTF-8', $text) =~ s/([^A-Za-z0-9])/sprintf('%%%02X', ord $1)/ger; }

sub put_user { my ($self, $code, $user) = @_; return $self->call('PUT', 'users/' . segment($code), $user); }
sub remove_user { my ($self, $code) = @_; return $self->call('DELETE', 'users/' . segment($code)); }
sub fault { my ($self, %fault) = @_; return $self->call('PUT', 'fault', \%fault); }
sub no_fault { my ($self) = @_; return $self->call('DELETE', 'fault'); }
sub requests { my ($self) = @_; return $self->call('GET', 'requests'); }
sub forget_requests { my ($self) = @_; return $self->call('DELETE', 'requests'); }

1;
