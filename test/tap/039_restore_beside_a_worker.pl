# Restoring with a worker running: nothing is lost, no provider is called before the restore is done, nor afterwards until
# allow_providers() says that this database is to call it. Copies do not call it either; the database itself goes on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('restore', <<'CONF', allows_streaming => 1);
rolecall.worker = on
rolecall.sync_naptime = 10ms
max_worker_processes = 40
CONF
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
INSERT INTO rolecall.roles (name) VALUES ('local');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(1, 300) g;
INSERT INTO rolecall.user_roles (user_id, role) SELECT g, 'local' FROM generate_series(1, 300) g;
SQL
$node->poll_query_until('postgres', 'SELECT bool_and(roles_synced) FROM rolecall.users') or die;
# Due and asked for: whoever looks calls. An audit, and a token, that a worker would remove.
$node->safe_psql('postgres', <<'SQL');
ALTER SYSTEM SET rolecall.worker = off;
SELECT pg_reload_conf();
UPDATE rolecall.sync_state SET next_sync_at = now() - interval '1 hour', last_roles_sync_at = now() - interval '1 day';
SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(1, 20) g;
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, expires_at) VALUES (1, '\x01', now() - interval '1 day');
UPDATE rolecall.role_changes SET changed_at = '2001-01-01' WHERE id < 50;
SQL
$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')) or die;
my @tables = map { "rolecall.$_" } qw(users roles user_roles units user_units sync_state sync_requests role_changes refresh_tokens);
sub content { my ($database) = @_; return join "\n", map { "$_: " . $node->safe_psql($database, "SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM $_ t") } @tables; }
my $content = content('postgres');
my $connection = $node->connstr('postgres');
my $file = $PostgreSQL::Test::Utils::tmp_check . '/restored';
$node->command_ok([ 'pg_dump', '-f', "$file.sql", $connection ], 'pg_dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$file.custom", $connection ], 'pg_dump -Fc');
$node->command_ok([ 'pg_dump', '--inserts', '-f', "$file.inserts", $connection ], 'pg_dump --inserts');
$node->command_ok([ 'pg_dump', '-Fd', '-f', "$file.directory", $connection ], 'pg_dump -Fd');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET rolecall.worker = off; ALTER SYSTEM SET rolecall.worker = on; SELECT pg_reload_conf()');
$provider->forget_requests;

sub worker_has_looked {
	my ($database) = @_;
	wait_for("a worker in $database", sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND datname = '$database' AND state = 'idle'") eq '1' });
	return;
}
sub calls_nobody {
	my ($database, $why, $what) = @_;
	$node->safe_psql($database, 'SELECT rolecall.wake_worker()');
	worker_has_looked($database);
	is($provider->requests->{total}, 0, "$what: no provider was called");
	like($node->safe_psql($database, 'SELECT not_called_because FROM rolecall.stat_provider'), $why, "$what: stat_provider says why");
	my ($ret, $out, $err) = $node->psql($database, 'SELECT rolecall.force_sync_user_roles(1)');
	like($err, qr/no provider is called from this database\nDETAIL:  $why.*\nHINT:  Call rolecall.allow_providers/, "$what: nor by a session");
	($ret, $out, $err) = $node->psql($database, q(SELECT rolecall.sync_provider('hr')));
	like($err, qr/no provider is called from this database|has no list of users/, "$what: nor by a pass");
	wait_for('the log', sub { slurp_file($node->logfile) =~ /LOG:  no provider is called from database "$database"\n.*DETAIL:  $why/ });
	is(scalar(() = slurp_file($node->logfile) =~ /LOG:  no provider is called from database "$database"/g), 1, "$what: the log says so, once");
	return;
}
sub goes_on {
	my ($database, $what) = @_;
	$node->safe_psql($database, 'SELECT rolecall.allow_providers()');
	$node->poll_query_until($database, 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() OR requested_at IS NOT NULL') or die;
	cmp_ok($provider->requests->{total}, '>=', 300, "$what: when it is told to, it calls");
	is($node->safe_psql($database, q(SELECT count(*) FROM rolecall.user_roles WHERE role = 'local')), '300', "$what: local grants are there");
	is($node->safe_psql($database, 'SELECT rolecall.why_no_calls() IS NULL'), 't', "$what: and nothing is in the way");
	$node->safe_psql($database, 'ALTER DATABASE ' . $database . ' SET rolecall.worker = off');
	$provider->forget_requests;
	return;
}

my $restored = qr/It was restored from a dump|Users were restored into it/;
my %ways = (
	plain => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$file.sql", '-d', $_[0] ] },
	custom => sub { [ 'pg_restore', '--exit-on-error', '-d', $_[0], "$file.custom" ] },
	single => sub { [ 'pg_restore', '--exit-on-error', '-1', '-d', $_[0], "$file.custom" ] },
	secure => sub { [ 'pg_restore', '--exit-on-error', '--enable-row-security', '-d', $_[0], "$file.custom" ] },
	inserts => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$file.inserts", '-d', $_[0] ] },
	disabled => sub { [ 'pg_restore', '--exit-on-error', '--disable-triggers', '-d', $_[0], "$file.custom" ] });
for my $way (sort keys %ways) {
	$node->safe_psql('postgres', "CREATE DATABASE $way TEMPLATE template0");
	$node->command_ok($ways{$way}->($node->connstr($way)), "$way: restored");
	worker_has_looked($way);
	is(content($way), $content, "$way: everything is as it was");
	calls_nobody($way, $restored, $way);
	is(content($way), $content, "$way: and stays so");
	goes_on($way, $way);
}

# In parallel, and in pieces: a worker is there between them.
$node->safe_psql('postgres', 'CREATE DATABASE parallel TEMPLATE template0');
for my $part ([ '--section=pre-data' ], [ '--section=data', '--schema=rolecall' ], [ '--section=post-data', '-j', '3' ]) {
	$node->command_ok([ 'pg_restore', '--exit-on-error', @$part, '-d', $node->connstr('parallel'), "$file.directory" ], "parallel: @$part");
	worker_has_looked('parallel');
}
is(content('parallel'), $content, 'parallel: everything is as it was');
calls_nobody('parallel', $restored, 'parallel');
goes_on('parallel', 'parallel');

# Data only, into a database whose extension was created as usual, with and without triggers.
for my $case ([ 'data_only' ], [ 'data_disabled', '--disable-triggers' ]) {
	my ($database, @options) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->safe_psql($database, "CREATE EXTENSION rolecall; CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}')");
	is($node->safe_psql($database, 'SELECT rolecall.why_no_calls() IS NULL'), 't', "$database: before, it may call");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '--data-only', @options, '-d', $node->connstr($database), "$file.custom" ], "$database: restored");
	is(content($database), $content, "$database: everything is as it was");
	calls_nobody($database, @options ? qr/Triggers of rolecall.users do not fire always/ : $restored, $database);
	goes_on($database, $database);
	is($node->safe_psql($database, q(SELECT string_agg(DISTINCT tgenabled::text, '') FROM pg_trigger WHERE tgname IN ('schedule_inserts', 'schedule_updates', 'end_logins', 'record_inserts', 'record_updates', 'record_deletes', 'record_truncate'))), 'A',
		"$database: triggers fire always again");
}

# Declared, by a tool of another kind
$node->safe_psql('postgres', 'CREATE DATABASE declared TEMPLATE template0');
$node->safe_psql('declared', <<SQL);
SET rolecall.restoring = on;
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'user1', 'hr', '100001');
INSERT INTO rolecall.roles (name) VALUES ('local');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'local');
SQL
is($node->safe_psql('declared', 'SELECT (SELECT count(*) FROM rolecall.role_changes), (SELECT count(*) FROM rolecall.sync_state)'), '0|0', 'declared: no audit, nobody is due');
calls_nobody('declared', $restored, 'declared');

# ---- Copies, and what is none -----------------------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE postgres');
calls_nobody('copy', qr/It is a copy of another database/, 'a copy');
goes_on('copy', 'a copy');
is($node->safe_psql('postgres', 'SELECT rolecall.why_no_calls() IS NULL'), 't', 'what was copied goes on');
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO renamed');
is($node->safe_psql('renamed', 'SELECT rolecall.why_no_calls() IS NULL'), 't', 'a name says nothing');
$node->safe_psql('renamed', 'SELECT rolecall.forbid_providers()');
is($node->safe_psql('renamed', 'SELECT rolecall.why_no_calls()'), 'forbid_providers() was called.', 'forbid_providers()');

# A standby that is promoted goes on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
$node->stop;
$standby->promote;
$standby->safe_psql('postgres', 'ALTER DATABASE postgres RESET rolecall.worker; SELECT rolecall.wake_worker()');
$standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() OR requested_at IS NOT NULL') or die;
cmp_ok($provider->requests->{total}, '>=', 300, 'a standby that is promoted goes on');
$standby->stop;

done_testing();
