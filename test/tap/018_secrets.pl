# Secrets: used, and shown nowhere. Each begins with a marker, which is then looked for everywhere.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $marker = 'MaRkEr';
my $bearer = start_provider('--token', "$marker-token", '--users', '100');
my $basic = start_provider('--basic', "user:$marker-password", '--users', '100');
my $node = new_node('secrets', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
rolecall.request_timeout = 1s
max_worker_processes = 20
log_min_messages = debug5
log_error_verbosity = verbose
CONF
my $file = PostgreSQL::Test::Utils::tempdir . '/secret';
sub write_file { my ($content) = @_; open my $handle, '>', $file or die; print $handle $content; close $handle; return; }
write_file("$marker-token\n");

# What sets a secret is in the log as a statement, if at all: that is PostgreSQL's own, and off here.
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER mapped FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$bearer->{url}', auth 'bearer');
CREATE SERVER basic FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$basic->{url}', auth 'basic');
CREATE SERVER filed FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$bearer->{url}', auth 'bearer', secret_file '$file');
CREATE USER MAPPING FOR CURRENT_USER SERVER mapped OPTIONS (token '$marker-token', headers 'X-Api-Key: $marker-header');
CREATE USER MAPPING FOR CURRENT_USER SERVER basic OPTIONS (username 'user', password '$marker-password');
CREATE ROLE ordinary; CREATE ROLE monitor IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA rolecall TO ordinary, monitor;
GRANT USAGE ON FOREIGN SERVER mapped, basic, filed TO ordinary, monitor;
INSERT INTO rolecall.users (id, email, provider, institutional_id)
SELECT 10 * n + g, 'user', (ARRAY['mapped', 'basic', 'filed'])[n], (100000 + g)::text FROM generate_series(1, 3) n, generate_series(0, 9) g;
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub until_true { my ($what, $sql) = @_; $node->poll_query_until('postgres', $sql) or die "timed out waiting until $what"; return pass($what); }

# They are what lets us in.
until_true('all three ways lead in', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced');
sql('SELECT rolecall.force_sync_user_roles(11)');
is($bearer->requests->{headers}{'x-api-key'}, "$marker-header", 'a header of the user mapping is sent');
# A file is read anew.
write_file("$marker-wrong\n");
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(31)'), qr/RC102: provider "filed" refused the request/, 'another secret in the file');
write_file("$marker-token");
like(sql('SELECT rolecall.force_sync_user_roles(31)'), qr/^\(31,f/, 'the right one again, with no line end');

# Everything that can go wrong, in sessions and in the worker.
my @told;
for my $fault ({ mode => '401' }, { mode => '404' }, { mode => '500' }, { mode => 'echo' }, { mode => 'broken_json' }, { mode => 'wrong_subject' },
	{ mode => 'empty_object' }, { mode => 'reset' }, { mode => 'truncated' }, { mode => 'endless' }, { mode => 'hang' },
	{ mode => 'redirect', location => 'http://127.0.0.1:1/' }, { mode => 'down' })
{
	$fault->{mode} eq '401' ? write_file("$marker-wrong") : $_->fault(%$fault) for $bearer, $basic;
	push @told, map { error_of($node, "SET client_min_messages = debug5; SELECT rolecall.force_sync_user_roles($_)") } 11, 21, 31;
	sql('SELECT rolecall.trigger_role_sync_for_user(id, true) FROM rolecall.users WHERE id IN (12, 22, 32)');
	until_true("$fault->{mode}: the worker asks", 'SELECT count(*) = 3 FROM rolecall.sync_state WHERE user_id IN (12, 22, 32) AND (leased_by IS NOT NULL OR attempts > 0)')
	  if $fault->{mode} eq 'hang';
	push @told, sql(q(SELECT string_agg(a::text, ' ') FROM pg_stat_activity a));
	$_->no_fault for $bearer, $basic;
	write_file("$marker-token");
	sql('UPDATE rolecall.sync_state SET leased_until = NULL, next_sync_at = now(); SELECT rolecall.wake_worker()');
}
for my $content ('', "\n", "$marker\n$marker\n", "$marker\r\nX-Evil: 1\n", $marker x 3000) {
	write_file($content);
	push @told, error_of($node, 'SELECT rolecall.force_sync_user_roles(31)');
	like($told[-1], qr/28000: the secret file of provider "filed" cannot be used/, 'a file that holds no secret');
}
unlink $file;
push @told, error_of($node, 'SELECT rolecall.force_sync_user_roles(31)');
like($told[-1], qr/28000: .*cannot be used\nDETAIL:  "\Q$file\E": No such file or directory/, 'a file that is not there');
write_file("$marker-token");
sql('ALTER USER MAPPING FOR CURRENT_USER SERVER basic OPTIONS (DROP username)');
push @told, error_of($node, 'SELECT rolecall.force_sync_user_roles(21)');
like($told[-1], qr/28000: provider "basic" has no credentials/, 'no user name');

# Who may set it, and whose server may use it: whoever owns the server can have it send the secret anywhere.
sql('CREATE ROLE owner; GRANT USAGE ON FOREIGN DATA WRAPPER rolecall TO owner; GRANT CREATE ON DATABASE postgres TO owner');
like(error_of($node, "SET ROLE owner; CREATE SERVER own FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', secret_file '$file')"),
	qr/42501: invalid value for option "secret_file": only superusers may set it/, 'secret_file is for superusers');
sql('ALTER SERVER filed OWNER TO owner');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(31)'), qr/42501: the owner of provider "filed" may not write grants\nDETAIL:  Role "owner" lacks/, 'a server of somebody else is no provider');
sql('GRANT INSERT, UPDATE, DELETE ON rolecall.user_roles TO owner; GRANT UPDATE ON rolecall.users TO owner');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(31)'), qr/28000: .*\nDETAIL:  The server's owner is not a superuser/, 'and for servers of superusers');
like(error_of($node, "SET ROLE owner; ALTER SERVER filed OPTIONS (SET base_url 'http://127.0.0.1:1')"), qr/only superusers/, 'others cannot turn it elsewhere either');

# ---- Where to look --------------------------------------------------------------------------------------------------

my @found = grep { /$marker/ } map { split /\n/ } @told;
is_deeply(\@found, [], 'in no message, and not in pg_stat_activity');
# Everything that an ordinary user, or a monitoring one, may read in the catalogs and in the schema rolecall
for my $role ('ordinary', 'monitor') {
	my @relations = split /\n/, sql(<<SQL);
SELECT c.oid::regclass FROM pg_class c WHERE relkind IN ('r', 'v', 'm', 'p') AND has_table_privilege('$role', c.oid, 'SELECT')
AND has_schema_privilege('$role', relnamespace, 'USAGE') AND relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'rolecall'::regnamespace) ORDER BY 1
SQL
	cmp_ok(scalar(@relations), '>', 100, "$role may read many relations");
	my @shown;
	for my $relation (@relations) {
		my ($ret, $out) = $node->psql('postgres', "SET ROLE $role; SELECT r::text FROM $relation r");
		push @shown, $relation if ($out // '') =~ /$marker/;
	}
	is_deeply(\@shown, [], "$role sees it in none");
}
# What administrators look at
for my $table (split /\n/, sql(q(SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'rolecall'::regnamespace AND relkind IN ('r', 'v')))) {
	is(sql("SELECT count(*) FROM $table t WHERE t::text LIKE '%$marker%'"), '0', "not in $table");
}
is(sql("SELECT count(*) FROM pg_user_mappings m WHERE m::text LIKE '%$marker%'"), '2', '(a superuser sees it where it was put: the search works)');

$node->stop;
my $log = slurp_file($node->logfile);
my @lines = grep { /$marker/ } split /\n/, $log;
is_deeply([ grep { !/USER MAPPING/ } @lines ], [], 'in no line of the log, at debug5');
like($log, qr/DEBUG:  .*synchronizing user 11 with provider "mapped"/, '(which says a lot)');
cmp_ok(length $log, '>', 1_000_000, '(' . length($log) . ' bytes)');

done_testing();
