# The audit, the revocation of tokens, the scheduling of users, workers and loader do not depend on what a session, a role or
# the owner of a database happens to have set.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('settings', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
max_worker_processes = 20
CONF
$node->safe_psql('postgres', <<SQL);
CREATE ROLE owner LOGIN SUPERUSER;
CREATE ROLE app LOGIN;
CREATE EXTENSION rolecall;
GRANT USAGE ON SCHEMA rolecall TO app;
GRANT ALL ON ALL TABLES IN SCHEMA rolecall TO app;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', max_revocation '100%');
INSERT INTO rolecall.roles (name) VALUES ('local');
SQL

sub sql { my ($text) = @_; return $node->safe_psql('postgres', $text); }
sub until_true { my ($what, $text) = @_; $node->poll_query_until('postgres', $text) or die "timed out waiting until $what"; return pass($what); }

# What a careless administrator may have set; each by itself, for the session, the role and the database.
my %settings = (
	check_function_bodies => 'off',
	session_replication_role => 'replica',
	default_transaction_isolation => 'serializable',
	default_transaction_read_only => 'on',
	default_transaction_deferrable => 'on',
	statement_timeout => '1ms',
	lock_timeout => '1ms',
	idle_in_transaction_session_timeout => '1ms',
	search_path => 'pg_temp, nowhere',
	row_security => 'off',
	DateStyle => 'German',
	IntervalStyle => 'sql_standard',
	TimeZone => 'Asia/Kathmandu',
	standard_conforming_strings => 'off',
	transform_null_equals => 'on',
	client_min_messages => 'error',
	xmloption => 'document',
	bytea_output => 'escape',
	array_nulls => 'off',
	exit_on_error => 'on',
	extra_float_digits => '-15',
	quote_all_identifiers => 'on',
	'plpgsql.variable_conflict' => 'use_column',
	'plpgsql.extra_errors' => 'all',
	role => 'app');
$settings{transaction_timeout} = '1ms' if $node->pg_version >= 17;

# ---- What anybody may set of ours is for sessions ----------------------------------------------------------------------

# The database belongs to a role that may do nothing else.
sql(q(CREATE ROLE dbowner LOGIN; CREATE DATABASE theirs OWNER dbowner));
$node->safe_psql('theirs', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', max_revocation '100%');
SQL
$provider->fault(mode => 'slow', ms => 300);
my $their_id = 0;
my %extreme = (bool => sub { my ($value) = @_; return $value eq 'on' ? 'off' : 'on' }, integer => sub { return '1' }, real => sub { return '0.001' }, string => sub { return 'theirs' });
my @free = map { [ split /\|/ ] } split /\n/, sql(q(SELECT name, vartype, setting FROM pg_settings WHERE name LIKE 'rolecall.%' AND context = 'user' AND name <> 'rolecall.debug_points' ORDER BY 1));
cmp_ok(scalar(@free), '>=', 5, 'there are settings that anybody may set');
for my $setting (@free) {
	my ($name, $type, $value) = @$setting;
	my $theirs = $extreme{$type}->($value);
	for my $where ('DATABASE theirs', "ROLE @{[ sql('SELECT current_user') ]} IN DATABASE theirs") {
		my @as = $where =~ /^DATABASE/ ? (extra_params => [ '-U', 'dbowner' ]) : ();
		$node->safe_psql('theirs', "ALTER $where SET $name = '$theirs'", @as);
		$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
		++$their_id;
		$node->safe_psql('theirs', "INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES ($their_id, 'user$their_id', 'hr', (100000 + $their_id)::text)");
		$node->poll_query_until('theirs', "SELECT roles_synced FROM rolecall.users WHERE id = $their_id UNION ALL SELECT true FROM rolecall.stat_provider WHERE failed > 0 ORDER BY 1 DESC LIMIT 1") or die;
		is($node->safe_psql('theirs', "SELECT u.roles_synced, s.last_error, p.failed, p.breaker FROM rolecall.users u JOIN rolecall.sync_state s ON s.user_id = u.id, rolecall.stat_provider p WHERE u.id = $their_id"), 't||0|closed', "ALTER $where SET $name = $theirs: the worker goes by the server's configuration");
		$node->safe_psql('theirs', "ALTER $where RESET $name", @as);
	}
}
# Nor does a session that is impatient by it open the breaker that others share.
$node->safe_psql('theirs', q(ALTER DATABASE theirs SET rolecall.worker = off));
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
for my $name ('rolecall.request_timeout', 'rolecall.connect_timeout') {
	for my $where ('DATABASE theirs', "ROLE @{[ sql('SELECT current_user') ]} IN DATABASE theirs", "ROLE @{[ sql('SELECT current_user') ]}") {
		$node->safe_psql('theirs', "ALTER $where SET $name = '1ms'");
		$node->psql('theirs', "SELECT rolecall.force_sync_user_roles($_)") for 1 .. 7;
		is($node->safe_psql('theirs', 'SELECT breaker, failures_in_a_row FROM rolecall.stat_provider'), 'closed|0', "ALTER $where SET $name = 1ms: the breaker is closed");
		$node->safe_psql('theirs', "ALTER $where RESET $name");
	}
}
$provider->no_fault;
# A change of the server's configuration reaches a worker that was kept from its database's.
$node->safe_psql('theirs', q(ALTER DATABASE theirs RESET rolecall.worker; ALTER DATABASE theirs SET rolecall.request_timeout = '1ms'));
sql(q(ALTER SYSTEM SET rolecall.request_timeout = '20s'));
$node->reload;
++$their_id;
$node->safe_psql('theirs', "INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES ($their_id, 'user$their_id', 'hr', (100000 + $their_id)::text)");
$node->poll_query_until('theirs', "SELECT roles_synced FROM rolecall.users WHERE id = $their_id") or die;
sql(q(ALTER SYSTEM RESET rolecall.request_timeout));
$provider->fault(mode => 'slow', ms => 100);
sql(q(ALTER SYSTEM SET rolecall.request_timeout = '2ms'));
$node->reload;
$node->safe_psql('theirs', 'SELECT rolecall.trigger_role_sync_for_user(1, true)');
$node->poll_query_until('theirs', q(SELECT last_error LIKE '%timed out%' FROM rolecall.sync_state WHERE user_id = 1)) or die;
pass('a worker goes by what the server is told');
$provider->no_fault;
sql(q(ALTER SYSTEM RESET rolecall.request_timeout));
$node->reload;
sql('DROP DATABASE theirs');

# ---- Background processes: what is set for the database and the role they connect as -----------------------------------

my $id = 0;
my $superuser = sql('SELECT current_user');
for my $where ('DATABASE postgres', "ROLE $superuser") {
	# What a session of the test itself could not work with is taken back in a session that does not have it.
	my $reset = sub { my ($name) = @_; return $node->safe_psql('postgres', "ALTER $where RESET $name", extra_params => [ '-U', 'owner' ], connstr => $node->connstr('postgres') . " options='-c $name=" . default_of($name) . "'") };
	for my $name (sort keys %settings) {
		next if $name eq 'role' && $where =~ /ROLE/;
		sql("ALTER $where SET $name = '$settings{$name}'") unless $name eq 'search_path';
		sql("ALTER $where SET $name = $settings{$name}") if $name eq 'search_path';
		# Another worker, with that.
		my $owner = sub { my ($text) = @_; return $node->safe_psql('template1', $text, extra_params => [ '-U', 'owner' ]) };
		$owner->(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
		++$id;
		my $plain = join ' ', map { "-c $_=" . default_of($_) } $name;
		local $ENV{PGOPTIONS} = $plain;
		$node->safe_psql('postgres', "INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES ($id, 'user$id', 'hr', (100000 + $id)::text)", extra_params => [ '-U', 'owner' ]);
		wait_for("$where, $name: the worker", sub { $node->safe_psql('postgres', "SELECT roles_synced FROM rolecall.users WHERE id = $id", extra_params => [ '-U', 'owner' ]) eq 't' });
		pass("$where, $name: the worker works");
		is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM rolecall.role_changes WHERE user_id = $id AND changed_by = 'rolecall sync worker'", extra_params => [ '-U', 'owner' ]), 't', "$where, $name: ... and is audited");
		# A family of tokens is revoked by a process of its own.
		is($node->safe_psql('postgres', <<SQL, extra_params => [ '-U', 'owner' ]), 't', "$where, $name: a family of tokens is revoked");
BEGIN;
SELECT family FROM rolecall.refresh_tokens WHERE false;
COMMIT;
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, family, expires_at) VALUES ($id, sha256('$where$name'::bytea), '00000000-0000-0000-0000-000000000001', now() + interval '1 day');
DO \$\$ BEGIN PERFORM rolecall.revoke_family_durably('00000000-0000-0000-0000-000000000001'); END \$\$;
SELECT bool_and(revoked) FROM rolecall.refresh_tokens WHERE family = '00000000-0000-0000-0000-000000000001';
SQL
		# The loader
		$node->safe_psql('postgres', q(SELECT rolecall.reload('me')), extra_params => [ '-U', 'owner' ]);
		wait_for("$where, $name: the loader", sub { $node->safe_psql('postgres', q(SELECT phase FROM rolecall.stat_progress WHERE projection = 'me'), extra_params => [ '-U', 'owner' ]) =~ /done|failed|cancelled|full|not cached/ });
		is($node->safe_psql('postgres', q(SELECT phase FROM rolecall.stat_progress WHERE projection = 'me'), extra_params => [ '-U', 'owner' ]), 'done', "$where, $name: the loader works");
		$node->safe_psql('postgres', "ALTER $where RESET $name", extra_params => [ '-U', 'owner' ]);
	}
}
sub default_of {
	my ($name) = @_;
	return { check_function_bodies => 'on', session_replication_role => 'origin', default_transaction_isolation => 'read\ committed', default_transaction_read_only => 'off',
		default_transaction_deferrable => 'off', statement_timeout => '0', lock_timeout => '0', idle_in_transaction_session_timeout => '0', transaction_timeout => '0',
		search_path => 'public', row_security => 'on', DateStyle => 'ISO', IntervalStyle => 'postgres', TimeZone => 'UTC', standard_conforming_strings => 'on',
		transform_null_equals => 'off', client_min_messages => 'notice', xmloption => 'content', bytea_output => 'hex', array_nulls => 'on', exit_on_error => 'off',
		extra_float_digits => '1', quote_all_identifiers => 'off', 'plpgsql.variable_conflict' => 'error', 'plpgsql.extra_errors' => 'none', role => 'none' }->{$name};
}

# ---- Sessions: each setting, and the audit, tokens and scheduling -------------------------------------------------------

sql(q(ALTER SYSTEM SET rolecall.worker = off));
$node->reload;
until_true('the worker left', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
# Those that make every write an error are no way around anything.
delete @settings{qw(default_transaction_read_only statement_timeout idle_in_transaction_session_timeout transaction_timeout role exit_on_error)};
my @signs = ([], map { [$_] } sort keys %settings);
push @signs, [ sort keys %settings ];
# Some signs of a restore, but not all.
push @signs, [ 'check_function_bodies', 'row_security' ], [ 'check_function_bodies', 'session_replication_role' ];
for my $set (@signs) {
	my $what = @$set > 3 ? 'all' : @$set ? "@$set" : 'nothing';
	my $prefix = join '', map { "SET $_ = " . ($_ eq 'search_path' ? $settings{$_} : "'$settings{$_}'") . '; ' } @$set;
	++$id;
	sql(<<SQL);
$prefix
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES ($id, 'user$id', 'hr', (100000 + $id)::text);
INSERT INTO rolecall.user_roles (user_id, role) VALUES ($id, 'local');
UPDATE rolecall.user_roles SET expires_at = now() WHERE user_id = $id;
DELETE FROM rolecall.user_roles WHERE user_id = $id;
SELECT rolecall.issue_refresh_token($id);
UPDATE rolecall.users SET is_active = false WHERE id = $id;
SQL
	is(sql("SELECT string_agg(change, ' ' ORDER BY id) FROM rolecall.role_changes WHERE user_id = $id"), 'added removed added removed', "$what: the audit is written");
	is(sql("SELECT next_sync_at <= now() FROM rolecall.sync_state WHERE user_id = $id"), 't', "$what: a new user is scheduled");
	is(sql("SELECT count(*), bool_and(revoked) FROM rolecall.refresh_tokens WHERE user_id = $id"), '1|t', "$what: who is deactivated has no login");
	sql("UPDATE rolecall.sync_state SET next_sync_at = 'infinity'");
	sql("$prefix UPDATE rolecall.users SET institutional_id = institutional_id || '0' WHERE id = $id");
	is(sql("SELECT next_sync_at <= now() FROM rolecall.sync_state WHERE user_id = $id"), 't', "$what: a new subject is scheduled");
}
is(sql('SELECT rolecall.why_no_calls() IS NULL'), 't', 'and none of it is taken for a restore');
sql(qq(ALTER SYSTEM SET rolecall.oauth_providers = 'one , two'));
$node->reload;
is(sql(q(SET standard_conforming_strings = off; SELECT rolecall.create_oauth_state('two') IS NOT NULL)), 't', 'a list of providers is read the same whatever strings are');

# A snapshot that is older than a token, or a grant
for my $level ('REPEATABLE READ', 'SERIALIZABLE') {
	++$id;
	sql("INSERT INTO rolecall.users (id, email) VALUES ($id, 'user$id'); INSERT INTO rolecall.user_roles (user_id, role) VALUES ($id, 'local')");
	my $old = session($node);
	$old->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM rolecall.refresh_tokens");
	sql("SELECT rolecall.issue_refresh_token($id)");
	$old->query_safe("UPDATE rolecall.users SET is_active = false WHERE id = $id");
	$old->query_safe('COMMIT');
	is(sql("SELECT bool_and(revoked) FROM rolecall.refresh_tokens WHERE user_id = $id"), 't', "$level: a token that was issued since is revoked too");
	$old->query_safe("BEGIN ISOLATION LEVEL $level; SELECT count(*) FROM rolecall.refresh_tokens");
	sql("UPDATE rolecall.users SET is_active = true WHERE id = $id; SELECT rolecall.issue_refresh_token($id)");
	is($old->query_safe("SELECT rolecall.revoke_refresh_tokens($id)"), '1', "$level: and by name");
	$old->query_safe('COMMIT');
	$old->quit;
}
$node->stop;

done_testing();
