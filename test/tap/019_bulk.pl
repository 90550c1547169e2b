# All users of a provider in one pass through its list, and events that it sends.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '100', '--token', 'the-token');
my $node = new_node('bulk', "max_worker_processes = 20\n");
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', auth 'bearer', list_request_path '/users?size=7', list_paging 'link');
CREATE USER MAPPING FOR CURRENT_USER SERVER hr OPTIONS (token 'the-token');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor'), ('admin'), ('auditor'), ('manager');
INSERT INTO rolecall.units (institutional_id, name) VALUES ('unit3', 'Unit three');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 1 + g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(0, 79) g;
INSERT INTO rolecall.users (id, email) VALUES (1000, 'local');
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub sync { return sql("SET client_min_messages = error; SELECT * FROM rolecall.sync_provider('hr')"); }
sub option {    # of the server; undef: its default
	my ($name, $value) = @_;
	sql("ALTER SERVER hr OPTIONS (DROP $name)") if sql("SELECT count(*) FROM pg_foreign_server, unnest(srvoptions) o WHERE srvname = 'hr' AND o LIKE '$name=%'");
	sql("ALTER SERVER hr OPTIONS (ADD $name '$value')") if defined $value;
	return;
}
sub grants { my ($uid) = @_; return sql("SELECT coalesce(string_agg(role || CASE WHEN scope_kind <> 'global' THEN '\@' || scope_id ELSE '' END, ' ' ORDER BY role, scope_id), '') FROM rolecall.user_roles WHERE user_id = $uid AND source = 'provider'"); }
sub everything { return sql(q(SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g) ) . sql(q(SELECT md5(string_agg((user_id, last_roles_sync_at)::text, chr(10) ORDER BY user_id)) FROM rolecall.sync_state)) . sql('SELECT count(*) FROM rolecall.users WHERE is_active'); }
# The provider's rule, in SQL
my $differences = <<'SQL';
SELECT count(*) FROM (
    (SELECT id, 'reader' AS role, 'global' AS kind, '' AS scope FROM rolecall.users WHERE provider = 'hr'
     UNION ALL
     SELECT id, (ARRAY['reader', 'editor', 'admin', 'auditor', 'manager'])[1 + (id - 1 + i) % 5], 'institutional', 'unit' || (id - 1 + 7 * i) % 200
     FROM rolecall.users, generate_series(0, 3) i WHERE provider = 'hr' AND i < (id - 1) % 4) a
    FULL JOIN rolecall.user_roles g ON (g.user_id, g.role, g.scope_kind, g.scope_id) = (a.id, a.role, a.kind, a.scope)
) WHERE a.id IS NULL OR g.user_id IS NULL
SQL

# ---- One pass -------------------------------------------------------------------------------------------------------

my @warnings = error_of($node, q(BEGIN; SELECT rolecall.sync_provider('hr'); ROLLBACK)) =~ /WARNING:  (.*)/g;
is(scalar(@warnings), 1, 'one warning for all');
like($warnings[0], qr/^01000: of the units that the roles of \d\d users name none is known$/, '... which says what is wrong');
$provider->forget_requests;
is(sync(), '100|20|80|0|0|t', 'the first pass');
is(sql($differences), '0', 'everybody has the roles that the provider names');
is($provider->requests->{total}, 15, 'in 15 pages of 7, and no request for a single user');
is(sql('SELECT count(*) FROM rolecall.users WHERE roles_synced'), '80', 'all are synchronized');
is(sql('SELECT role FROM rolecall.user_units WHERE user_id = 4'), 'auditor', 'units follow');
is(sql('SELECT DISTINCT cause, provider, changed_by = session_user FROM rolecall.role_changes'), 'bulk|hr|t', 'the audit says how');
is(sql('SELECT DISTINCT request_id FROM rolecall.role_changes'), $provider->requests->{headers}{'x-request-id'}, '... and by which request');
my $audited = sql('SELECT count(*) FROM rolecall.role_changes');
my $users_version = sql('SELECT max(xmin::text::bigint) FROM rolecall.users');
sql(q(UPDATE rolecall.sync_state SET last_roles_sync_at = now() - interval '1 hour', next_sync_at = now() - interval '1 hour', attempts = 2, last_error = 'x', requested_at = now()));
is(sync(), '100|20|0|80|0|t', 'the second changes nothing');
is(sql('SELECT count(*) FROM rolecall.role_changes'), $audited, 'no audit');
is(sql('SELECT max(xmin::text::bigint) FROM rolecall.users'), $users_version, 'users are not written');
is(sql(q(SELECT count(*) FROM rolecall.sync_state WHERE last_roles_sync_at > now() - interval '1 minute' AND next_sync_at > now() + interval '11 minutes' AND attempts = 0 AND last_error IS NULL AND requested_at IS NULL)),
	'80', 'but all are confirmed');
$provider->put_user('100005', { code => '100005', roles => [ 'boss', 'reader@institutional:unit3' ] });
sql(q(INSERT INTO rolecall.units (institutional_id, name) VALUES ('unit7', 'Unit seven'); INSERT INTO rolecall.user_roles (user_id, role) VALUES (6, 'admin')));
is(sync(), '100|20|' . (1 + sql(q(SELECT count(DISTINCT user_id) FROM rolecall.user_roles WHERE scope_id = 'unit7' AND source = 'provider'))) . '|' . (79 - sql(q(SELECT count(DISTINCT user_id) FROM rolecall.user_roles WHERE scope_id = 'unit7' AND source = 'provider'))) . '|0|t',
	'the third: who changed, and who is in a unit that became known');
is(grants(6), 'boss reader@unit3', 'exactly those roles');
is(sql('SELECT count(*) FROM rolecall.user_roles WHERE user_id = 6'), '3', 'local grants stay');
is(sql(q(SELECT count(*) FROM rolecall.user_units m JOIN rolecall.units n ON n.id = m.unit_id WHERE n.institutional_id = 'unit7')), sql(q(SELECT count(DISTINCT user_id) FROM rolecall.user_roles WHERE scope_id = 'unit7' AND source = 'provider')), 'the unit that became known is linked');

# Every way of paging comes to the same.
for my $paging ([ 'cursor', 'size=7' ], [ 'page', 'size=9' ], [ 'offset', 'size=30' ], [ 'none', '' ]) {
	my ($style, $query) = @$paging;
	option('list_paging', $style);
	option('list_request_path', $query ? "/users?$query" : '/users/');
	is(sync(), '100|20|0|80|0|t', "paging: $style");
}
option('list_paging', 'link');
option('list_request_path', '/users?size=7');

# No transaction id while the provider is asked; interruptible.
$provider->fault(mode => 'hang', from => 50);
my $session = session($node);
begin_query($session, q(SELECT rolecall.sync_provider('hr')));
wait_for('the page that hangs', sub { $provider->requests->{in_flight} == 1 });
is(sql(q(SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())), '0', 'no transaction id while the provider is asked');
sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sync_provider%' AND pid <> pg_backend_pid()));
finish_query($session);
like($session->{stderr}, qr/canceling statement due to user request/, 'a cancel interrupts');
$session->quit;
$provider->no_fault;

# ---- Half a list is none --------------------------------------------------------------------------------------------

option('on_not_found', 'deactivate');
sql('UPDATE rolecall.users SET is_active = true');
$provider->remove_user("1000$_") for 70 .. 74;
my $before = everything();
for my $case ([ { mode => '500', from => 50 }, qr/RC101/ ], [ { mode => 'broken_json', from => 50 }, qr/RC104/ ], [ { mode => '404', from => 50 }, qr/RC104: .*\nDETAIL:  It answered with HTTP status 404/ ],
	[ { mode => '404' }, qr/RC104: .*\n.*list_request_path/s ], [ { mode => 'same_page' }, qr/RC104/ ], [ { mode => 'endless_pages' }, qr/RC104/ ], [ { mode => 'next_page', link => 'http://127.0.0.1:1/users' }, qr/RC104/ ],
	[ { mode => 'empty_object' }, qr/RC104: .*\nDETAIL:  The list has no users where users_path says/ ], [ { mode => 'twice', from => 50 }, qr/RC104: .*\nDETAIL:  An object of the response names a member twice/ ], [ { mode => 'truncated', from => 50 }, qr/RC101/ ], [ { mode => 'reset', from => 50 }, qr/RC101/ ])
{
	my ($fault, $expected) = @$case;
	my $what = join ' ', map { $fault->{$_} } sort keys %$fault;
	$provider->fault(%$fault);
	option('max_pages', $fault->{mode} eq 'endless_pages' ? 20 : undef);
	like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), $expected, "$what: an error");
	is(everything(), $before, "$what: nothing changed");
	$provider->no_fault;
}
option('max_pages');
# A list that can be read and cannot be all: who is on it is synchronized, nobody is missed.
option('total_path', '$.count');
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/RC104: .*\nDETAIL:  The list has no number of users where total_path says/, 'no number');
option('total_path', '$.users.size() + 1000');
$provider->put_user('100007', { code => '100007', roles => ['boss'] });
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/WARNING:  01000: the list of provider "hr" is not complete\n.*It has 95 of 10\d\d users. Nobody counts as missing/s, 'fewer than it says');
is(grants(8), 'boss', '... who is on it is synchronized');
is(sql('SELECT count(*) FROM rolecall.users WHERE NOT is_active'), '0', '... and nobody is missed');
option('total_path');
option('list_request_path', '/users?size=7&offset=1000');
option('list_paging', 'none');
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/the list of provider "hr" is not complete/, 'an empty list is no list');
is(sql('SELECT count(*) FROM rolecall.users WHERE NOT is_active'), '0', '... and nobody is missed');
option('users_path', '$.users[0, 0, 1 to last]');
option('list_request_path', '/users/');
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/DETAIL:  Somebody is on it twice/, 'somebody is on it twice');
is(sql('SELECT count(*) FROM rolecall.users WHERE NOT is_active'), '0', '... and nobody is missed');
option('users_path');
option('list_paging', 'link');
option('list_request_path', '/users?size=7');

# ---- Who is missing -------------------------------------------------------------------------------------------------

option('on_not_found', 'keep');
is(sync(), '95|20|0|75|5|t', 'keep: counted');
isnt(grants(71), '', '... and kept');
option('on_not_found', 'revoke');
sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id, created_at) VALUES (90, 'new', 'hr', 'not listed yet', now() + interval '1 hour')));
is(sync(), '95|20|5|75|5|t', 'revoke: those who were here when the list was begun');
is(join(' ', map { grants($_) } 71 .. 75), '    ', '... lose their roles');
is(sync(), '95|20|0|80|5|t', '... once');
option('on_not_found', 'deactivate');
sql('SELECT rolecall.issue_refresh_token(71)');
is(sync(), '95|20|5|75|5|t', 'deactivate');
is(sql('SELECT count(*) FROM rolecall.users WHERE id BETWEEN 71 AND 75 AND is_active'), '0', '... they are inactive');
is(sql('SELECT bool_and(revoked) FROM rolecall.refresh_tokens WHERE user_id = 71'), 't', '... and their logins end');
is(sql('SELECT is_active FROM rolecall.users WHERE id = 1000') . sql('SELECT is_active FROM rolecall.users WHERE id = 90'), 'tt', 'others are not meant');
# The brake holds here too, and takes all of it back.
$provider->remove_user("1000$_") for 30 .. 69;
$provider->put_user('100002', { code => '100002', roles => ['boss'] });
$before = everything();
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/RC106: syncs of provider "hr" are stopped/, 'a list that lost half of its users');
is(everything(), $before, '... changes nothing');
is(sql('SELECT stopped_at IS NOT NULL FROM rolecall.stat_provider'), 't', '... and stops the provider');
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/RC106/, '... for the next pass as well');
sql(q(SELECT rolecall.resume_provider('hr')));
option('max_revocation', '100%');
is(sync(), '55|20|41|39|45|t', 'allowed: so be it');

# A pass and the sync of one user wait for each other, and the older answer does not win.
my $one = session($node);
$one->query_safe(q(BEGIN; SELECT 1 FROM rolecall.sync_user_roles(1, '{"roles": ["editor"]}', true)));
$session = session($node);
begin_query($session, q(SELECT 'pass ' || changed FROM rolecall.sync_provider('hr')));
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)) or die;
$one->query_safe('COMMIT');
like(finish_query($session), qr/pass 0/, 'a pass waits for the sync of one user');
is(grants(1), 'editor', '... who is not what the list was compared with');
is(sql('SELECT next_sync_at <= now() FROM rolecall.sync_state WHERE user_id = 1'), 't', '... and due at once');
$session->query_safe('BEGIN');
$session->query(q(SELECT 1 FROM rolecall.sync_provider('hr')));
begin_query($one, q(SELECT 'one ' || roles_changed FROM rolecall.sync_user_roles(1, '{"roles": ["auditor"]}', true)));
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)) or die;
$session->query_safe('COMMIT');
like(finish_query($one), qr/one true/, 'the sync of one user waits for a pass');
$_->quit for $one, $session;

# Whoever is looked at later sees what was taken from others before, in the same pass.
option('protected_roles', 'chief');
sql('UPDATE rolecall.users SET is_active = true WHERE id BETWEEN 32 AND 35');
option('max_revocation', '100%');
$provider->put_user("10003$_", { code => "10003$_", roles => ['chief'] }) for 1 .. 4;
sync();
is(sql(q(SELECT count(*) FROM rolecall.user_roles WHERE role = 'chief')), '4', 'a protected role has four holders');
$provider->put_user("10003$_", { code => "10003$_", roles => ['reader'] }) for 1 .. 4;
sync();
is(sql(q(SELECT count(*) FROM rolecall.user_roles WHERE role = 'chief')), '1', 'the list takes it from all of them: one keeps it');
option('protected_roles');

# ---- Events ---------------------------------------------------------------------------------------------------------

sub event { my ($json) = @_; return sql("SET client_min_messages = error; SELECT user_id, has_changed, new_roles FROM rolecall.apply_provider_event('hr', '$json')"); }
is(event('{"code": "100010", "roles": ["editor"]}'), '11|t|[{"on": "global", "role": "editor"}]', 'an event with roles is applied');
is(event('{"code": "100010", "roles": ["editor"]}'), '11|f|[{"on": "global", "role": "editor"}]', '... once');
is(sql('SELECT DISTINCT cause, provider FROM rolecall.role_changes WHERE user_id = 11 AND change = $$added$$ AND role = $$editor$$ AND scope_kind = $$global$$'), 'event|hr', '... and audited');
is(event('{"code": "nobody", "roles": []}'), '||', 'about nobody here: nothing');
is(event('{"code": "100010"}'), '11|f|[{"on": "global", "role": "editor"}]', 'without roles: absent is not empty');
is(sql('SELECT force FROM rolecall.sync_requests WHERE user_id = 11'), 't', '... the worker asks the provider');
option('active_path', '$.active');
is(event('{"code": "100010", "active": false}'), '11|t|[]', 'gone');
is(sql('SELECT is_active FROM rolecall.users WHERE id = 11'), 'f', '... is treated by on_not_found');
option('active_path');
option('event_path', '$.data.user');
is(event('{"type": "user.updated", "data": {"user": {"code": "100010", "roles": ["reader"]}}}'), '11|t|[{"on": "global", "role": "reader"}]', 'event_path');
for my $bad ('{}', '[]', '{"data": {"user": {}}}', '{"data": {"user": {"roles": []}}}', '{"data": {"user": {"code": "100010", "roles": [1]}}}', '{"data": {"user": {"code": "100010", "roles": [{"role": "a", "on": {}}]}}}') {
	like(error_of($node, "SELECT rolecall.apply_provider_event('hr', '$bad')"), qr/22023: invalid event of provider "hr"\nDETAIL/, "an event that makes no sense: $bad");
}
option('event_path', '$.data[*].user');
like(error_of($node, q(SELECT rolecall.apply_provider_event('hr', '{"data": [{"user": {"code": "100010", "roles": []}}, {"user": {"code": "100011", "roles": []}}]}'))),
	qr/22023: invalid event of provider "hr"\nDETAIL:  More than one value is where event_path says/, 'nor does an event about two users');
option('event_path', '$.data.user');
is(grants(11), 'reader', '... changes nothing');
sql(q(SELECT rolecall.stop_provider('hr', 1, 1, 1, 1, 1)));
like(error_of($node, q(SELECT rolecall.apply_provider_event('hr', '{"data": {"user": {"code": "100010", "roles": []}}}'))), qr/RC106/, 'a stopped provider sends in vain');
like(error_of($node, q(SELECT rolecall.apply_provider_event('nowhere', '{}'))), qr/42704/, 'no such provider');
option('list_request_path');
like(error_of($node, q(SELECT rolecall.sync_provider('hr'))), qr/55000: provider "hr" has no list of users\n.*HINT:  Set the option list_request_path/s, 'no list');
$node->stop;

done_testing();
