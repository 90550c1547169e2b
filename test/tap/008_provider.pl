# Role sync over HTTP in a session: a real provider, with every fault it knows.
use strict;
use warnings;

use Encode qw(encode);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib 'test/tap/lib';
use Rolecall::Test;

my $tls = PostgreSQL::Test::Utils::tempdir;
my $provider = start_provider('--token', 'the-secret-token', '--tls', $tls);
my $node = new_node('provider', "log_min_messages = debug1\n");
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', auth 'bearer');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'the-secret-token');
INSERT INTO rolecall.units (institutional_id, name) VALUES ('unit3', 'Unit three');
INSERT INTO rolecall.roles (name) VALUES ('local-role');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 1 + g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(0, 19) g;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (4, 'local-role');
SQL

sub sync { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT has_changed, roles_changed, units_changed, skipped_due_to_ttl FROM rolecall.sync_user_roles($uid)"); }
sub roles_of { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT string_agg(role || '\@' || scope_kind || ':' || scope_id || '/' || source, ' ' ORDER BY role, scope_id) FROM rolecall.user_roles WHERE user_id = $uid"); }
sub state_of { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT roles_synced, last_roles_sync_at FROM rolecall.users LEFT JOIN rolecall.sync_state ON user_id = id WHERE id = $uid"); }
sub asked { my ($subject) = @_; return $provider->requests->{by_subject}{$subject} // 0; }

# 000-10, 000-13, 001-2, 001-3: the first sync
is($node->safe_psql('postgres', q(SELECT rolecall.me(4) -> 'roles_synced')), 'false', '001-2: not synced yet');
is(sync(4), 't|t|t|f', '000-13: the first sync changes roles and units');
is(roles_of(4), 'auditor@institutional:unit3/provider local-role@global:/local manager@institutional:unit10/provider reader@global:/provider reader@institutional:unit17/provider',
	'the provider has its roles there, and local ones are untouched');
is($node->safe_psql('postgres', q(SELECT rolecall.me(4) -> 'roles_synced', rolecall.has_role(4, 'manager', 'unit10'), rolecall.me(4) -> 'units' -> 0 ->> 'role')),
	'true|t|auditor', '001-3: the next read shows it');

# 000-9: the TTL is checked before the provider is called
is(asked('100003'), 1, 'asked once');
my $state = state_of(4);
is(sync(4), 'f|f|f|t', '000-9: skipped');
is(asked('100003'), 1, '000-9: the provider was not called');
is(state_of(4), $state, '000-9: nothing was written');
is($node->safe_psql('postgres', 'SELECT skipped_due_to_ttl, has_changed, old_roles = new_roles FROM rolecall.force_sync_user_roles(4)'), 'f|f|t',
	'000-12: forced, and equal');
is(asked('100003'), 2, 'asked again');
isnt(state_of(4), $state, '000-12: the time is updated though nothing changed');

# Two requests are one connection.
cmp_ok($provider->requests->{connections}, '<=', 3, 'at most one connection for each session');
my $session = session($node);
$provider->forget_requests;
$session->query("SELECT rolecall.force_sync_user_roles($_)") for 5 .. 10;    # with warnings: units that are not known
is($provider->requests->{connections}, 1, 'a session reuses its connection');

# Other headers, of the server and of the user mapping
$node->safe_psql('postgres', <<'SQL');
ALTER SERVER hr OPTIONS (ADD headers E'X-Tenant: seven\nX-Trace: one: two');
ALTER USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (ADD headers 'X-Api-Key: another-secret');
SQL
$session->query('SELECT rolecall.force_sync_user_roles(5)');
is_deeply([ @{ $provider->requests->{headers} }{qw(x-tenant x-trace x-api-key)} ], [ 'seven', 'one: two', 'another-secret' ], 'headers by option');

# What changes at the provider
$provider->put_user('100003', { code => '100003', roles => [ { role => 'reader', on => 'global' }, { role => 'new role', on => { laboratory => 'lab/7' } }, 'plain', 'boss@institutional:unit3' ] });
is($node->safe_psql('postgres', 'SELECT roles_changed, units_changed FROM rolecall.force_sync_user_roles(4)'), 't|t', 'changed at the provider');
is(roles_of(4), 'boss@institutional:unit3/provider local-role@global:/local new role@laboratory:lab/7/provider plain@global:/provider reader@global:/provider',
	'exactly that, roles as objects and as strings');

# ---- Faults: a clear error, and nothing changed -------------------------------------------------------------------

my $roles = roles_of(4);
$state = state_of(4);
my $page = "$provider->{url}/users/100003";
my @faults = (
	[ { mode => '404' }, qr/RC103: provider "hr" does not know subject "100003"/ ],
	[ { mode => '500' }, qr/RC101: provider "hr" is not available\nDETAIL:  It answered with HTTP status 500/ ],
	[ { mode => '429', retry_after => 0 }, qr/RC101: .*\nDETAIL:  It answered with HTTP status 429/ ],
	[ { mode => 'broken_json' }, qr/RC104: .*\nDETAIL:  The response is not valid JSON/ ],
	[ { mode => 'wrong_subject' }, qr/RC104: .*\nDETAIL:  The response is about subject "other", not "100003"/ ],
	[ { mode => 'no_roles' }, qr/RC104: .*\nDETAIL:  The response has no roles.*\n.*HINT:  An answer without the roles member never removes a role/ ],
	[ { mode => 'empty_object' }, qr/RC104: .*\nDETAIL:  The response does not say whom it is about/ ],
	[ { mode => 'huge' }, qr/RC101: .*\nDETAIL:  .* phase "body": the response is larger than 1048576 bytes/ ],
	[ { mode => 'endless' }, qr/RC101: .*\nDETAIL:  .* phase "body": the response is larger/ ],
	[ { mode => 'reset' }, qr/RC101: .*\nDETAIL:  .* phase "first byte"/ ],
	[ { mode => 'redirect', location => 'http://127.0.0.1:1/users/100003' }, qr/RC101: .*\nDETAIL:  .*redirect to another host refused/ ],
	[ { mode => 'redirect', location => $page }, qr/RC101: .*\nDETAIL:  .*too many redirects/ ],
	[ { mode => 'redirect', location => 'file:///etc/passwd' }, qr/RC101: .*\nDETAIL:  .*redirect to another host refused/ ],
	[ { mode => 'down' }, qr/RC101: .*\nDETAIL:  .* phase "connect"/ ],
);
for my $case (@faults) {
	my ($fault, $expected) = @$case;
	$provider->fault(%$fault);
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(4)'), $expected, "$fault->{mode}: the error");
	is(roles_of(4), $roles, "$fault->{mode}: roles are untouched");
	is(state_of(4), $state, "$fault->{mode}: so is the sync time");
	$provider->no_fault;
	is($node->safe_psql('postgres', 'SELECT has_changed FROM rolecall.force_sync_user_roles(4)'), 'f', '... and after it all is well');
	$state = state_of(4);
}
$provider->fault(mode => 'hang');
like(error_of($node, "SET rolecall.request_timeout = '200ms'; SELECT rolecall.force_sync_user_roles(4)"), qr/RC101: .*\n.*phase "first byte": timed out/, 'hang: the request times out');

# A cancel or statement_timeout interrupts a hanging fetch. (The bound is generous: it is no race.)
my $started = time;
like(error_of($node, "SET statement_timeout = '100ms'; SELECT rolecall.force_sync_user_roles(4)"), qr/57014: canceling statement due to statement timeout/, 'statement_timeout interrupts');
my $took = time - $started;
cmp_ok($took, '<', 5, "... long before the request's timeout of 10 s");
begin_query($session, 'SELECT rolecall.force_sync_user_roles(4)');
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%force_sync_user_roles(4)%' AND wait_event_type = 'Extension'));
# No transaction id is held during network I/O: a user changed meanwhile becomes cacheable.
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())), '0', 'no transaction id while the provider is asked');
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%force_sync_user_roles(4)%' AND pid <> pg_backend_pid()));
finish_query($session);
like($session->{stderr}, qr/canceling statement due to user request/, 'a cancel interrupts');
$provider->no_fault;
$session->{stderr} = '';
is($session->query('SELECT skipped_due_to_ttl FROM rolecall.force_sync_user_roles(4)'), 'f', 'the session goes on');
$session->quit;

# Wrong credentials, none, another wrapper's server, no server, no provider
$node->safe_psql('postgres', q(ALTER USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (SET token 'wrong')));
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(4)'), qr/RC102: provider "hr" refused the request\nDETAIL:  It answered with HTTP status 401/, 'wrong token');
$node->safe_psql('postgres', 'DROP USER MAPPING FOR CURRENT_USER SERVER hr');
$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER hr OPTIONS (token 'the-secret-token')));
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(4)'), qr/28000: provider "hr" has no credentials\nDETAIL:  The user mapping of the server's owner has no option "token"/,
	q(only the owner's mapping is used));
$node->safe_psql('postgres', <<'SQL');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'the-secret-token');
CREATE FOREIGN DATA WRAPPER other; CREATE SERVER other FOREIGN DATA WRAPPER other;
UPDATE rolecall.users SET provider = 'nowhere' WHERE id = 5; UPDATE rolecall.users SET provider = 'other' WHERE id = 6;
UPDATE rolecall.users SET provider = NULL WHERE id = 7; UPDATE rolecall.users SET institutional_id = '..' WHERE id = 8;
SQL
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(5)'), qr/42704: provider "nowhere" does not exist\nHINT/, 'no such server');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(6)'), qr/42809: server "other" is not a provider/, 'a server of another wrapper');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(7)'), qr/55000: user 7 has no provider\nDETAIL:  Its column provider is NULL/, 'no provider');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(8)'), qr/22023: subject "\.\." cannot be part of a URL/, 'a subject that walks up');
like(error_of($node, 'SELECT rolecall.sync_user_roles(999)'), qr/WARNING:  01000: user 999 does not exist/, '000-8: an unknown user is a warning');
is($node->safe_psql('postgres', 'SELECT * FROM rolecall.sync_user_roles(999)'), '999|f|f|f|f|[]|[]', '000-5, 000-8: and the default result');

# Subjects with odd characters stay one path segment.
my $odd = "a/b?c=d&e#f %2e \x{fc}\x{4e2d}";
$provider->put_user($odd, { code => $odd, roles => ['odd'] });
$node->safe_psql('postgres', encode('UTF-8', "UPDATE rolecall.users SET institutional_id = '$odd' WHERE id = 9"));
is($node->safe_psql('postgres', 'SELECT new_roles FROM rolecall.force_sync_user_roles(9)'), '[{"on": "global", "role": "odd"}]', 'a subject with every odd character');

# TLS: verified, unless ca_file says whom to trust.
$node->safe_psql('postgres', "ALTER SERVER hr OPTIONS (SET base_url '$provider->{tls}')");
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(4)'), qr/RC101: .*\nDETAIL:  .* phase "TLS"/, 'an untrusted certificate');
$node->safe_psql('postgres', "ALTER SERVER hr OPTIONS (ADD ca_file '$tls/cert.pem')");
is($node->safe_psql('postgres', 'SELECT skipped_due_to_ttl FROM rolecall.force_sync_user_roles(4)'), 'f', '... trusted by ca_file');
$node->safe_psql('postgres', "ALTER SERVER hr OPTIONS (SET base_url '$provider->{url}', DROP ca_file)");

# Kind accred, against the same provider
$node->safe_psql('postgres', <<SQL);
CREATE SERVER accred FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'accred', base_url '$provider->{url}', auth 'bearer');
CREATE USER MAPPING FOR CURRENT_USER SERVER accred OPTIONS (token 'the-secret-token');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (100, 'accred', 'accred', '100007');
SQL
is($node->safe_psql('postgres', 'SELECT new_roles FROM rolecall.sync_user_roles(100)'),
	'[{"on": {"institutional_id": "unit7"}, "role": "admin"}, {"on": {"institutional_id": "unit14"}, "role": "auditor"}, {"on": {"institutional_id": "unit21"}, "role": "manager"}]',
	'kind accred: rights with a unit, from the second request');
$provider->fault(mode => 'no_roles', subject => '100007');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(100)'), qr/RC104: .*\nDETAIL:  The response has no roles/, 'accred: absent is not empty');
$provider->no_fault;

# The secret is in no message and no log line of ours; PostgreSQL logs the statement that sets it.
my $log = slurp_file($node->logfile);
my @lines = grep { /the-secret-token|another-secret/ && !/USER MAPPING/ } split /\n/, $log;
is_deeply(\@lines, [], 'a secret is in no log line');
like($log, qr/synchronized user 4: 4 roles before, 4 after, units changed/, '000-23: a sync leaves a line with its counts');
$node->stop;

done_testing();
