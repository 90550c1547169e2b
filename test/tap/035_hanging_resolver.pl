# A name server that does not answer, and secret files that do not: nobody waits for them longer than he said, and whoever
# is told to end does. The server runs with a library whose getaddrinfo() and open() hang for some names, and note when
# they come back: they must not have, whenever something has ended.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $directory = PostgreSQL::Test::Utils::tempdir;
append_to_file("$directory/hang.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int open_function(const char *, int, ...);

static void note(const char *what)
{
	char path[1024];
	open_function *real = (open_function *) dlsym(RTLD_NEXT, "open");

	strncpy(path, getenv("HANG_NOTES"), sizeof path - 20);
	strcat(path, what);
	int fd = real(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (write(fd, "x", 1) != 1)
		abort();
	close(fd);
}

static void hang(void)
{
	struct timespec left = {120, 0};

	note("/entered");
	while (nanosleep(&left, &left) != 0)
		;
	note("/left");
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");

	if (node && strncmp(node, "hanging", 7) == 0)
		hang();
	return real(node, service, hints, result);
}

#define OPEN(name) \
int name(const char *path, int flags, ...) \
{ \
	open_function *real = (open_function *) dlsym(RTLD_NEXT, #name); \
	va_list arguments; \
	va_start(arguments, flags); \
	mode_t mode = va_arg(arguments, mode_t); \
	va_end(arguments); \
	if (strncmp(path, "/dead-mount/", 12) == 0) \
		hang(); \
	return real(path, flags, mode); \
}
OPEN(open)
OPEN(open64)
C
system_or_bail($ENV{CC} // 'cc', '-shared', '-fPIC', '-o', "$directory/hang.so", "$directory/hang.c", '-ldl');

my $provider = start_provider('--token', 'the-token');
my $node = PostgreSQL::Test::Cluster->new('hanging');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'rolecall'
rolecall.worker = off
rolecall.sync_naptime = 20ms
max_worker_processes = 20
CONF

sub start {
	local $ENV{LD_PRELOAD} = "$directory/hang.so";
	local $ENV{HANG_NOTES} = $directory;
	$node->start;
	return;
}
sub noted { my ($what) = @_; return -s "$directory/$what" // 0; }
sub nobody_waited { my ($what) = @_; return is(noted('left'), 0, "$what: nobody waited for what hangs"); }
sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
start();

sql(<<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', auth 'bearer');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'the-token');
CREATE SERVER lost FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://hanging.example.org');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'lost', 'lost', '100001'), (2, 'hr', 'hr', '100002');
SQL

# ---- A name server --------------------------------------------------------------------------------------------------

my $session = session($node);
$session->query("SET rolecall.request_timeout = '300ms'; SELECT rolecall.force_sync_user_roles(1)");
like($session->{stderr}, qr/provider "lost" could not be asked\n.*phase "name lookup": timed out/, 'the request times out');
cmp_ok(noted('entered'), '>=', 1, 'the lookup hangs');  # later versions of libcurl look up both kinds of addresses apart
nobody_waited('a timeout');
$session->{stderr} = '';
$session->query("SET rolecall.request_timeout = '1h'; SET statement_timeout = '200ms'; SELECT rolecall.force_sync_user_roles(1)");
like($session->{stderr}, qr/canceling statement due to statement timeout/, 'statement_timeout interrupts');
nobody_waited('statement_timeout');
$session->{stderr} = '';
$session->query_safe('SET statement_timeout = 0');
my $lookups = noted('entered');
begin_query($session, 'SELECT rolecall.force_sync_user_roles(1)');
wait_for('another lookup', sub { noted('entered') > $lookups });
sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%force_sync_user_roles(1)%' AND pid <> pg_backend_pid()));
finish_query($session);
like($session->{stderr}, qr/canceling statement due to user request/, 'a cancel interrupts');
nobody_waited('a cancel');
is($session->query('SELECT rolecall.force_sync_user_roles(2)') =~ /^\(2,t/, 1, 'the session goes on, with other providers');
my $pid = $session->query('SELECT pg_backend_pid()');
$session->quit;
wait_for('the session to end', sub { !kill 0, $pid });
nobody_waited('the end of a session');

# What is left behind has an end too. From version 8.20 on, libcurl has a pool of threads for lookups, which is as large.
my ($major, $minor) = `curl-config --version` =~ /(\d+)\.(\d+)/;
$session = session($node, 'statement_timeout' => '30ms', 'rolecall.request_timeout' => '1h');
$session->query('SELECT rolecall.force_sync_user_roles(1);' x 200);
SKIP: {
	skip 'the pool of libcurl is the limit', 1 if $major * 1000 + $minor >= 8020;
	like($session->{stderr}, qr/too many name lookups do not end\n.*More than 64 of them were given up/, 'a process leaves so many lookups behind');
}
cmp_ok(noted('entered'), '<=', 2 * (3 + 65 + 1), '... and no more');
$session->quit;
nobody_waited('any of them');

# The worker serves the others meanwhile.
sql(q(ALTER SERVER lost OPTIONS (ADD request_timeout '500ms'); DELETE FROM rolecall.user_roles;
	UPDATE rolecall.sync_state SET next_sync_at = now(), last_roles_sync_at = NULL, attempts = 0; ALTER SYSTEM SET rolecall.worker = on));
$node->reload;
$node->poll_query_until('postgres', q(SELECT rolecall.has_role(2, 'reader'))) or die;
pass('the worker synchronizes users of another provider');
$node->poll_query_until('postgres', 'SELECT attempts > 0 FROM rolecall.sync_state WHERE user_id = 1') or die;
like(sql('SELECT last_error FROM rolecall.sync_state WHERE user_id = 1'), qr/phase "name lookup": timed out/, 'whose name hangs has failed');
nobody_waited('the worker');

# A database with lookups under way
$node->safe_psql('postgres', 'CREATE DATABASE app');
my $entered = noted('entered');
$node->safe_psql('app', <<'SQL');
CREATE EXTENSION rolecall;
CREATE SERVER lost FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://hanging.example.org', request_timeout '1h', connect_timeout '1h');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'lost', 'lost', g::text FROM generate_series(1, 5) g;
SQL
wait_for('lookups', sub { noted('entered') >= $entered + 5 });
sql('DROP DATABASE app');
nobody_waited('DROP DATABASE');

# ---- Secret files ---------------------------------------------------------------------------------------------------

my $file = "$directory/secret";
sql("ALTER SERVER hr OPTIONS (ADD secret_file '$file')");
append_to_file($file, "the-token\n");
like(sql('SELECT rolecall.force_sync_user_roles(2)'), qr/^\(2,/, 'a file that can be read');
my @unusable = (
	[ 'a pipe', sub { system_or_bail('mkfifo', $file) }, qr/is not a regular file/ ],
	[ 'a directory', sub { mkdir $file or die }, qr/Is a directory/ ],
	[ 'a device', sub { symlink '/dev/zero', $file or die }, qr/is not a regular file/ ],
	[ 'a file that is huge', sub { append_to_file($file, ''); truncate $file, 1 << 40 or die }, qr/File too large/ ],
	[ 'a file that is just too long', sub { append_to_file($file, 'x' x 8192) }, qr/File too large/ ],
	[ 'a file with two lines', sub { append_to_file($file, "a\nb\n") }, qr/must hold one line/ ]);
for my $case (@unusable) {
	my ($what, $make, $expected) = @$case;
	-d $file ? rmdir $file : unlink $file;
	$make->();
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(2)'), qr/28000: the secret file of provider "hr" cannot be used\nDETAIL:  .*$expected/, $what);
}
-d $file ? rmdir $file : unlink $file;
sql(q(ALTER SERVER hr OPTIONS (SET secret_file '/dead-mount/secret')));
$entered = noted('entered');
$session = session($node);
$session->query('SELECT rolecall.force_sync_user_roles(2)');
like($session->{stderr}, qr/cannot be used\n.*could not be read within 1000 ms/, 'a mount that does not answer');
$session->{stderr} = '';
$session->query('SELECT rolecall.force_sync_user_roles(2)');
like($session->{stderr}, qr/cannot be used\n.*an earlier attempt to read it has not ended yet/, '... is waited for once');
$pid = $session->query('SELECT pg_backend_pid()');
$session->quit;
wait_for('the session to end', sub { !kill 0, $pid });
like(error_of($node, q(SET statement_timeout = '100ms'; SELECT rolecall.force_sync_user_roles(2))), qr/57014/, '... interruptibly');
cmp_ok(noted('entered'), '>=', $entered + 2, '... each by a thread of its own');
nobody_waited('a secret file');
# The worker goes on with others.
sql(qq(CREATE SERVER other FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', auth 'bearer');
	CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (token 'the-token');
	SELECT rolecall.trigger_role_sync_for_user(2, true);
	INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (3, 'other', 'other', '100003')));
$node->poll_query_until('postgres', q(SELECT rolecall.has_role(3, 'reader'))) or die;
pass('the worker synchronizes users of a provider whose secret can be read');
$node->poll_query_until('postgres', q(SELECT last_error LIKE '%secret file%' FROM rolecall.sync_state WHERE user_id = 2)) or die;
pass('... and notes the failure of the others');

# ---- The end --------------------------------------------------------------------------------------------------------

# With a session and a worker that wait
sql(q(ALTER SERVER lost OPTIONS (SET request_timeout '1h', ADD connect_timeout '1h'); UPDATE rolecall.sync_state SET leased_until = NULL, attempts = 0));
$entered = noted('entered');
$session = session($node, 'rolecall.request_timeout' => '1h');
begin_query($session, 'SELECT rolecall.force_sync_user_roles(1)');
wait_for('a lookup', sub { noted('entered') > $entered });
$node->stop('fast');
nobody_waited('pg_ctl stop -m fast');
cmp_ok(noted('entered'), '>', 10, '(' . noted('entered') . ' calls hung)');

done_testing();
