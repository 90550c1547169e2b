# What a provider that errs cannot do: take everybody's roles away, take the last holder of a role away, or be believed
# when it makes no sense.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '1000');
my $node = new_node('safety', <<'CONF');
rolecall.worker = on
rolecall.sync_naptime = 50ms
rolecall.debug_points = on
rolecall.sync_batch_size = 7
max_worker_processes = 20
CONF

$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor'), ('admin'), ('auditor'), ('manager'), ('owner');
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub until_true { my ($what, $sql) = @_; $node->poll_query_until('postgres', $sql) or die "timed out waiting until $what"; return pass($what); }
sub add_users {
	my ($from, $to) = @_;
	sql("INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series($from, $to) g");
	return until_true("users $from to $to are synchronized", 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced AND provider IS NOT NULL');
}
sub ask_for { my ($condition) = @_; return sql("SELECT rolecall.trigger_role_sync_for_user(id, true) FROM rolecall.users WHERE $condition"); }
sub grants { my ($uid) = @_; return sql("SELECT coalesce(string_agg(role, ' ' ORDER BY role), '') FROM rolecall.user_roles WHERE user_id = $uid"); }
sub option {    # of the server; undef: its default
	my ($name, $value) = @_;
	sql("ALTER SERVER hr OPTIONS (DROP $name)") if sql("SELECT count(*) FROM pg_foreign_server, unnest(srvoptions) o WHERE srvname = 'hr' AND o LIKE '$name=%'");
	sql("ALTER SERVER hr OPTIONS (ADD $name '$value')") if defined $value;
	return;
}
sub log_has { my ($what, $pattern) = @_; return like(slurp_file($node->logfile), $pattern, $what); }
sub worker { my ($on) = @_; sql("ALTER SYSTEM SET rolecall.worker = $on"); $node->reload;
	return until_true("the worker is $on", q(SELECT count(*) = ) . ($on eq 'on' ? 1 : 0) . q( FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')); }

# ---- Answers that make no sense -------------------------------------------------------------------------------------

add_users(0, 99);
my @senseless = (
	[ { mode => 'broken_json' }, qr/gave an answer that cannot be used: The response is not valid JSON/ ],
	[ { mode => 'truncated' }, qr/could not be asked: The request failed in phase "body"/ ],
	[ { mode => 'nested' }, qr/The response is nested too deeply/ ],
	[ { mode => 'nested', depth => 5 }, qr/Role 1 of the response has an unexpected shape/ ],
	[ { mode => 'huge', bytes => 100_000_000 }, qr/phase "body": the response is larger than 1048576 bytes/ ],
	[ { mode => 'twice' }, qr/An object of the response names a member twice/ ],
	[ { mode => 'echo' }, qr/The response is not valid JSON\. It is not JSON\.$/ ],
	[ { mode => 'empty_object' }, qr/The response does not say whom it is about/ ],
	[ { mode => 'no_roles' }, qr/The response has no roles/ ],
	[ { mode => 'wrong_subject' }, qr/The response is about subject "other"/ ]);
for my $case (@senseless) {
	my ($fault, $expected) = @$case;
	my $what = join ' ', map { $fault->{$_} } sort keys %$fault;
	my $before = sql('SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g');
	my $synced = sql('SELECT last_roles_sync_at FROM rolecall.sync_state WHERE user_id = 7');
	$provider->fault(%$fault, subject => '100007');
	ask_for('id IN (7, 8)');
	until_true("$what: noted", 'SELECT attempts > 0 FROM rolecall.sync_state WHERE user_id = 7');
	like(sql('SELECT last_error FROM rolecall.sync_state WHERE user_id = 7'), $expected, "$what: the error");
	is(sql('SELECT last_roles_sync_at FROM rolecall.sync_state WHERE user_id = 7'), $synced, "$what: not synchronized");
	is(sql('SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g'), $before, "$what: nothing changed");
	until_true("$what: others go on", 'SELECT requested_at IS NULL FROM rolecall.sync_state WHERE user_id = 8');
	$provider->no_fault;
	move_clock($node, 10);
	until_true("$what: forgotten", 'SELECT attempts = 0 FROM rolecall.sync_state WHERE user_id = 7');
}

# ---- Not found, or inactive -----------------------------------------------------------------------------------------

my %gone = (404 => { mode => '404' }, 410 => { mode => '410' }, inactive => { mode => 'inactive' });
option('active_path', '$.active');
$provider->put_user("10001$_", { code => "10001$_", active => JSON::PP::true(), roles => [ 'reader', 'editor' ] }) for 0 .. 5;
ask_for('id BETWEEN 10 AND 15');
until_true('who is active has roles', q(SELECT count(*) = 6 FROM rolecall.user_roles WHERE user_id BETWEEN 10 AND 15 AND role = 'editor' AND scope_kind = 'global'));
sql(q(INSERT INTO rolecall.user_roles (user_id, role) SELECT g, 'auditor' FROM generate_series(10, 15) g; SELECT rolecall.issue_refresh_token(g) FROM generate_series(10, 15) g, generate_series(1, 2)));
sub shown { my ($uid) = @_; return sql("SELECT rolecall.me($uid) -> 'is_active', rolecall.has_role($uid, 'editor'), rolecall.has_role($uid, 'auditor'), (SELECT count(*) FROM rolecall.refresh_tokens WHERE user_id = $uid AND NOT revoked)"); }

like(error_of($node, 'SELECT rolecall.force_sync_user_roles(9)'), qr/RC104: .*\nDETAIL:  The response does not say whether the subject is active/, 'absent is not inactive');
for my $why (sort keys %gone) {
	$provider->fault(%{ $gone{$why} }, subject => '100010');
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(10)'), qr/RC103: provider "hr" does not know subject "100010"\nDETAIL:  (It answered with HTTP status 4|It says that the subject is inactive)/, "keep: $why is an error");
	is(shown(10), 'true|t|t|2', "keep: $why: nothing changed");
}
option('on_not_found', 'revoke');
for my $why (sort keys %gone) {
	$provider->fault(%{ $gone{$why} }, subject => '100011');
	is(sql('SELECT has_changed, roles_changed, new_roles FROM rolecall.force_sync_user_roles(11)'), 't|t|[]', "revoke: $why");
	is(shown(11), 'true|f|t|2', "revoke: $why: what the provider gave is gone at once, and nothing else");
	is(sql('SELECT has_changed FROM rolecall.force_sync_user_roles(11)'), 'f', "revoke: $why: once");
	$provider->no_fault;
	is(sql('SELECT roles_changed FROM rolecall.force_sync_user_roles(11)'), 't', "revoke: $why: and they come back");
	is(shown(11), 'true|t|t|2', "revoke: $why: as they were");
}
option('on_not_found', 'deactivate');
$provider->fault(mode => '404', subject => '100012');
$provider->fault(mode => 'inactive', subject => '100013');
my $reader = session($node);
is($reader->query(q(BEGIN; SELECT rolecall.me(12) -> 'is_active')), 'true', 'a reader');
sql('BEGIN; SELECT rolecall.force_sync_user_roles(12); ROLLBACK');
is(shown(12), 'true|t|t|2', 'deactivate: rolled back, all of it');
is(sql('SELECT has_changed, roles_changed FROM rolecall.force_sync_user_roles(12)'), 't|t', 'deactivate: 404');
is($reader->query(q(SELECT rolecall.me(12) -> 'is_active')), 'false', 'deactivate: me() shows it at once');
$reader->query('COMMIT');
$reader->quit;
is(shown(12), 'false|f|f|0', 'deactivate: no role, and no refresh token');
is(sql('SELECT has_changed FROM rolecall.force_sync_user_roles(13)'), 't', 'deactivate: inactive');
is(shown(13), 'false|f|f|0', 'deactivate: likewise');
# The worker does the same.
$provider->fault(mode => '404', subject => '100014');
$provider->fault(mode => 'inactive', subject => '100015');
ask_for('id IN (14, 15)');
until_true('deactivate: by the worker', 'SELECT count(*) = 2 FROM rolecall.users WHERE id IN (14, 15) AND NOT is_active');
is(shown($_), 'false|f|f|0', "deactivate: user $_, by the worker") for 14, 15;
is(sql('SELECT count(*) FROM rolecall.sync_state WHERE user_id IN (14, 15) AND attempts > 0'), '0', '... which is no failure');
# A user whom a sync found again has roles, and stays as the administrator says.
$provider->no_fault;
is(sql('SELECT roles_changed FROM rolecall.force_sync_user_roles(14)'), 't', 'found again: roles come back');
is(shown(14), 'false|f|f|0', '... and activating is for people');
option('active_path', '$.status == "active"');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(9)'), qr/RC104: .*\nDETAIL:  The response does not say whether the subject is active/, 'a comparison with what is absent is not false');
option('active_path');
sql('UPDATE rolecall.users SET is_active = true');
# Roles that come apart: only the request about the person says that there is none.
sql(qq(CREATE SERVER two FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', roles_request_path '/nowhere/{subject}', on_not_found 'deactivate');
	INSERT INTO rolecall.users (id, email) VALUES (900, 'two'); INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (900, 'reader', 'provider')));
sql(q(ALTER SYSTEM SET rolecall.worker = off));
$node->reload;
until_true('the worker left', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
sql(q(UPDATE rolecall.users SET provider = 'two', institutional_id = '100900' WHERE id = 900));
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(900)'), qr/RC104: .*\nDETAIL:  It answered with HTTP status 404/, 'a 404 for the roles alone deprovisions nobody');
is(grants(900), 'reader', '... nothing changed');
sql('DELETE FROM rolecall.users WHERE id = 900; DROP SERVER two');
worker('on');

# ---- Unknown roles --------------------------------------------------------------------------------------------------

$provider->put_user('100020', { code => '100020', roles => [ 'reader', 'wizard' ] });
option('unknown_roles', 'error');
my $before = grants(20);
ask_for('id = 20');
until_true('error: noted', 'SELECT attempts > 0 FROM rolecall.sync_state WHERE user_id = 20');
like(sql('SELECT last_error FROM rolecall.sync_state WHERE user_id = 20'), qr/cannot be used: Role "wizard" does not exist/, 'error: which');
is(grants(20), $before, 'error: nothing changed');
option('unknown_roles', 'skip');
is(sql('SELECT new_roles FROM rolecall.force_sync_user_roles(20)'), '[{"on": "global", "role": "reader"}]', 'skip: the others are granted');
is(sql('SELECT has_changed FROM rolecall.force_sync_user_roles(20)'), 'f', 'skip: and compared');
is(sql(q(SELECT count(*) FROM rolecall.roles WHERE name = 'wizard')), '0', 'skip: not created');
option('unknown_roles', 'create');
sql('SELECT rolecall.force_sync_user_roles(20)');
is(grants(20), 'reader wizard', 'create');

# ---- The brake ------------------------------------------------------------------------------------------------------

# A wrong base_url answers 404 for everybody. 100 users; at most 20 of them may be deactivated, and fewer if they held more.
move_clock($node, 90000);    # past the window that began above
until_true('everybody is synchronized', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '$clock seconds' OR requested_at IS NOT NULL");
is(sql('SELECT count(*) FROM rolecall.stopped_providers'), '0', 'nothing has been stopped');
sub figures { return sql(q(SELECT count(*) FILTER (WHERE is_active), (SELECT count(*) FROM rolecall.user_roles WHERE source = 'provider'), (SELECT count(*) FROM rolecall.users) FROM rolecall.users)); }
my ($active, $grants, $users) = split /\|/, figures();
sub is_braked {
	my ($what, $most_users, $most_grants) = @_;
	until_true("$what: stopped", q(SELECT stopped_at IS NOT NULL FROM rolecall.stat_provider WHERE provider = 'hr'));
	until_true("$what: nothing is under way", 'SELECT in_flight = 0 FROM rolecall.stat_provider');
	my ($active_now, $grants_now) = split /\|/, figures();
	cmp_ok($active - $active_now, '<=', $most_users, "$what: deactivated were " . ($active - $active_now));
	cmp_ok($grants - $grants_now, '<=', $most_grants, "$what: revoked were " . ($grants - $grants_now) . " of $grants");
	cmp_ok($active - $active_now, '>=', 9, "$what: ... but those that were allowed");
	return;
}
sql('ALTER SYSTEM SET rolecall.sync_workers = 3');
$node->reload;
until_true('three workers', q(SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
$provider->fault(mode => '404');
ask_for('true');
is_braked('three workers', 20, 0.2 * $grants);
log_has('the log says so', qr/LOG:  syncs of provider "hr" are stopped\n.*DETAIL:  \d+ users would have lost \d+ of $grants grants; \d+ of 100 users would have been deactivated\.\n.*HINT:  If that is right, call rolecall\.resume_provider/);
like(sql(q(SELECT stopped_because FROM rolecall.stat_provider)), qr/^\d+ users would have lost \d+ of $grants grants; \d+ of 100 users would have been deactivated$/, 'stat_provider says why');
my @stops = slurp_file($node->logfile) =~ /syncs of provider "hr" are stopped/g;
is(scalar(@stops), 1, '... once');
until_true('nobody is about to be asked for', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE leased_by IS NOT NULL');
$provider->forget_requests;
ask_for('true');
move_clock($node, 3600);
until_true('the worker has looked', 'SELECT count(*) = 0 FROM rolecall.sync_requests');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(50)'), qr/RC106: syncs of provider "hr" are stopped\nDETAIL:  .*stat_provider.*\n.*HINT:  If that is right, call rolecall.resume_provider/, 'a session is refused');
like(error_of($node, q(SELECT rolecall.sync_user_roles(50, '{"roles": ["owner"]}', true))), qr/RC106/, '... with roles of its own too');
$node->restart;
until_true('after a restart the workers are there', q(SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
sql('SELECT rolecall.wake_worker()');
is_braked('a restart changes nothing', 20, 0.2 * $grants);
$node->stop('immediate');
$node->start;
until_true('after a crash the workers are there', q(SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
is_braked('a crash changes nothing', 20, 0.2 * $grants);
is($provider->requests->{total}, 0, 'all this time the provider is not asked');

# Resumed, it may take as much again, and no more.
($active, $grants) = split /\|/, figures();
is(sql(q(SELECT rolecall.resume_provider('hr'))), 't', 'resume_provider()');
is_braked('the next window', 0.2 * $active, 0.2 * $grants);
# Put right, the provider's users come back when it is resumed.
$provider->no_fault;
is(sql(q(SELECT rolecall.resume_provider('hr'))), 't', 'resumed');
is(sql(q(SELECT rolecall.resume_provider('hr'))), 'f', 'there is nothing to resume any more');
like(error_of($node, q(SELECT rolecall.resume_provider('nobody'))), qr/42704: provider "nobody" does not exist/, 'nor ever was');
ask_for('true');    # also those for whom the wrong answer was taken
until_true('everybody is synchronized again', 'SELECT NOT EXISTS (SELECT FROM rolecall.sync_requests) AND count(*) = 0 FROM rolecall.sync_state WHERE requested_at IS NOT NULL OR attempts > 0');
is(sql('SELECT count(*) FROM rolecall.stopped_providers'), '0', 'and the provider goes on');
is(sql(q(SELECT count(*) FROM rolecall.user_roles WHERE source = 'provider' AND user_id <> 20)), sql(q(SELECT sum(1 + (id % 4)) FROM rolecall.users WHERE id NOT BETWEEN 10 AND 15 AND id <> 20)) + 12, 'with the roles that it names');
sql('UPDATE rolecall.users SET is_active = true');

# What a worker has fetched when the provider is stopped is not applied.
create_points($node);
$provider->put_user('100030', { code => '100030', roles => ['owner'] });
hold($node, 'sync-fetched');
ask_for('id = 30');
wait_at($node, 'sync-fetched');
sql(q(SELECT rolecall.stop_provider('hr', 1, 1, 1, 1, 1)));
release($node, 'sync-fetched');
until_true('given back', 'SELECT leased_by IS NULL AND requested_at IS NOT NULL FROM rolecall.sync_state WHERE user_id = 30');
unlike(grants(30), qr/owner/, 'what a worker has fetched when the provider is stopped is not applied');
sql(q(SELECT rolecall.resume_provider('hr')));
until_true('it is when the provider goes on', q(SELECT rolecall.has_role(30, 'owner')));

# A window ends; a small share never matters; fewer than ten users never do, of so many.
move_clock($node, 90000);
until_true('everybody is synchronized', "SELECT count(*) = 0 FROM rolecall.sync_state WHERE next_sync_at <= now() + interval '$clock seconds'");
worker('off');
sub take_away { my ($uid) = @_; return sql(qq(SELECT roles_changed FROM rolecall.sync_user_roles($uid, '{"roles": []}', true))); }
# What sessions took away, and no worker has added up
sub affected { return sql('SELECT sum(users_affected) FROM (SELECT users_affected FROM rolecall.revocations UNION ALL SELECT users_affected FROM rolecall.open_revocations) r'); }
is(take_away($_), 't', "user $_ of nine") for 80 .. 88;
option('max_revocation', '0%');
is(take_away(80), 'f', 'taking nothing away is always allowed');
like(error_of($node, q(SELECT rolecall.sync_user_roles(89, '{"roles": []}', true))), qr/RC106/, 'at 0% the tenth is stopped');
isnt(grants(89), '', '... before it happens');
is(sql(q(SELECT users_affected FROM rolecall.stopped_providers)), '10', '... and that holds, though the transaction was rolled back');
log_has('the log says so', qr/LOG:  syncs of provider "hr" are stopped\n.*DETAIL:  10 users would have lost/);
is(sql(q(SELECT rolecall.resume_provider('hr'))), 't', 'resumed');
option('max_revocation', '20%');
is(take_away(89), 't', 'a new window');
is(take_away($_), 't', "user $_") for 70 .. 77;
is(affected(), '9', 'counted are users');
sql(q(SELECT rolecall.sync_user_roles(70, '{"roles": ["owner"]}', true)));
is(take_away(70), 't', 'the same user again');
is(affected(), '9', '... each once');
my $granted = sql(q(SELECT count(*) FROM rolecall.user_roles WHERE source = 'provider'));
sql('SELECT rolecall.sync_user_roles(60, jsonb_build_object($$roles$$, (SELECT jsonb_agg($$role $$ || g) FROM generate_series(1, 1000) g)), true)');
option('max_revocation', '10%');    # less than was lost already, of what there was before
is(take_away(61), 't', 'what is given counts for the share');
sql('BEGIN; ' . join(' ', map { "SELECT rolecall.sync_user_roles($_, '{\"roles\": []}', true);" } 62 .. 65) . ' ROLLBACK');
is(affected(), '11', 'what is rolled back is not counted');
like(error_of($node, q(SELECT rolecall.sync_user_roles(60, '{"roles": []}', true))), qr/RC106/, 'one user with most of the grants is too much');
is(sql(q(SELECT count(*) FROM rolecall.user_roles WHERE user_id = 60)), '1000', '... and keeps them');
sql(q(SELECT rolecall.resume_provider('hr')));
is(take_away(60), 't', 'but not by itself');

# Two sessions count together: the second counts what the first has not committed, and does not wait for it.
sql(q(INSERT INTO rolecall.user_roles (user_id, role, source) SELECT g, 'owner', 'provider' FROM generate_series(70, 79) g ON CONFLICT DO NOTHING));
option('max_revocation', '0%');
sql("DELETE FROM rolecall.open_revocations; DELETE FROM rolecall.revocations;
	INSERT INTO rolecall.revocations (provider, began_at, users_affected, grants, users) VALUES ('hr', now() + interval '$clock seconds', 8, 1000, 100)");
my ($one, $two) = (session($node), session($node));
$one->query_safe(q(BEGIN; SELECT 1 FROM rolecall.sync_user_roles(70, '{"roles": []}', true)));
unlike($two->query(q(SELECT 'took ' || roles_changed FROM rolecall.sync_user_roles(71, '{"roles": []}', true))), qr/took/, 'the second is stopped');
like($two->{stderr}, qr/syncs of provider "hr" are stopped/, '... by what the first took');
$one->query_safe('ROLLBACK');
$_->quit for $one, $two;
sql(q(SELECT rolecall.resume_provider('hr')));
is(sql(q(SELECT roles_changed FROM rolecall.sync_user_roles(71, '{"roles": []}', true))), 't', 'what is rolled back does not count');

# Resumed and stopped again in one transaction: nobody waits for ever.
sql(q(SELECT rolecall.stop_provider('hr', 1, 1, 1, 1, 1)));
like(error_of($node, q(BEGIN; SELECT rolecall.resume_provider('hr'); INSERT INTO rolecall.revocations (provider, began_at, users_affected, grants, users) VALUES ('hr', now() + '1 year', 9, 1, 1); SELECT rolecall.sync_user_roles(72, '{"roles": []}', true); COMMIT)),
	qr/RC106/, 'resumed and stopped again in one transaction');
is(sql(q(SELECT count(*) FROM rolecall.stopped_providers)), '1', 'it was rolled back');
$node->stop;

done_testing();
