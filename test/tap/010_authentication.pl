# OAuth states and refresh tokens across sessions, crashes and dumps.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('authentication', <<'CONF');
rolecall.refresh_grace = 1h
log_statement = none
CONF
create_extension($node);
$node->safe_psql('postgres', 'CREATE TABLE won (client int, state text); CREATE TABLE given (state text)');

sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query); }
sub live { return sql('SELECT count(*) FROM rolecall.refresh_tokens WHERE NOT revoked'); }
sub issue { my ($uid) = @_; return sql("SELECT token FROM rolecall.issue_refresh_token($uid)"); }
sub refresh { my ($token, $set) = @_; return $node->safe_psql('postgres', ($set // '') . "SELECT token FROM rolecall.refresh('$token')"); }

# 002-6: thirty-two clients race for a thousand states; each is won once.
sql(q(INSERT INTO given SELECT rolecall.create_oauth_state('google', 1 + g % 20) FROM generate_series(1, 1000) g));
my $file = $PostgreSQL::Test::Utils::tmp_check . '/race.sql';
append_to_file($file, <<'SQL');
DO $$
DECLARE s text;
BEGIN
    FOR s IN SELECT state FROM given LOOP
        IF rolecall.validate_and_consume_oauth_state(s, 'google') THEN
            INSERT INTO won VALUES (pg_backend_pid(), s);
        END IF;
        COMMIT;
    END LOOP;
END $$;
SQL
$node->command_ok([ 'pgbench', '-n', '-c', '32', '-j', '4', '-t', '1', '-f', $file, $node->connstr('postgres') ], 'thirty-two clients');
is(sql('SELECT count(*), count(DISTINCT state) FROM won'), '1000|1000', '002-6: each state is consumed exactly once');
cmp_ok(sql('SELECT count(DISTINCT client) FROM won'), '>', 1, '... by several clients');
is(sql('SELECT count(*) FROM rolecall.oauth_states'), '0', '... and none is left');

# A crash between rotation and answer: the client retries with the token it has.
my $first = issue(1);
my $lost = refresh($first);
$node->stop('immediate');
$node->start;
my $second = refresh($first);
is(length $second, 43, 'after a crash a lost answer can be asked for again');
is(length refresh($lost), 43, '... and the answer that was lost is good too');

# An error after the rotation, in the caller's transaction: nothing has happened.
my ($ret, $out, $err) = $node->psql('postgres', "BEGIN; SELECT rolecall.refresh('$second'); SELECT 1 / 0; COMMIT");
is(sql("SELECT rotated_at IS NULL FROM rolecall.refresh_tokens WHERE token_hash = sha256('$second')"), 't', 'a rollback takes the rotation back');

# Reuse after the grace revokes the family, durably, though the statement ends with an error: in each isolation level.
for my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') {
	my $stolen = issue(2);
	my $bystander = issue(2);
	my $child = refresh($stolen);
	like(error_of($node, "SET rolecall.refresh_grace = 0; BEGIN ISOLATION LEVEL $level; SELECT rolecall.refresh('$stolen'); COMMIT"),
		qr/RC306: invalid or expired refresh token\nDETAIL:  It was used before/, "$level: a token that is used again is an error");
	like(error_of($node, "SELECT rolecall.refresh('$child')"), qr/RC305: /, '... and what replaced it is revoked');
	is(length refresh($bystander), 43, '... and another login of the user is not');
}
# ... and what is being issued at this moment
sql('SELECT rolecall.revoke_refresh_tokens(2)');
my $stolen = issue(3);
my $child = refresh($stolen);
my $thief = session($node);
$thief->query_safe('BEGIN');
my $grandchild = $thief->query_safe("SELECT token FROM rolecall.refresh('$child')");
my $user = session($node);
$user->query_safe('SET rolecall.refresh_grace = 0');
begin_query($user, "SELECT rolecall.refresh('$stolen')");
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall token revoker' AND wait_event_type = 'Lock')) or die;
$thief->query_safe('COMMIT');
finish_query($user);
like($user->{stderr}, qr/all tokens of this login are revoked/, 'reuse while the successor is being replaced');
$user->{stderr} = '';
like(error_of($node, "SELECT rolecall.refresh('$grandchild')"), qr/RC305: /, '... revokes what the thief was just given');
$_->quit for $thief, $user;

# No process for it: an error that says so, and the next attempt does it.
$stolen = issue(4);
$child = refresh($stolen);
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_parallel_workers = 0\n");
$node->restart;    # the launcher takes the only one
like(error_of($node, "SET rolecall.refresh_grace = 0; SELECT rolecall.refresh('$stolen')"),
	qr/53400: could not start the worker that revokes refresh tokens\nDETAIL:  .*\nHINT:  Raise max_worker_processes/, 'no process to revoke in');
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
like(error_of($node, "SET rolecall.refresh_grace = 0; SELECT rolecall.refresh('$stolen')"), qr/RC306: /, 'the next attempt');
like(error_of($node, "SELECT rolecall.refresh('$child')"), qr/RC305: /, '... revokes');

# Restored from a dump: what was used since is good again, what was issued since is unknown.
my $old = issue(5);
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$PostgreSQL::Test::Utils::tmp_check/tokens", $node->connstr('postgres') ], 'pg_dump');
my $new = refresh($old);
sql('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), "$PostgreSQL::Test::Utils::tmp_check/tokens" ], 'pg_restore');
is($node->safe_psql('restored', "SELECT user_id FROM rolecall.refresh('$old')"), '5', 'a replay after a restore is accepted: the dump does not know better');
($ret, $out, $err) = $node->psql('restored', "SELECT rolecall.refresh('$new')");
like($err, qr/invalid or expired refresh token/, '... and what was issued after the dump is unknown');
is($node->safe_psql('restored', 'UPDATE rolecall.refresh_tokens SET revoked = true; SELECT count(*) FROM rolecall.refresh_tokens WHERE NOT revoked'),
	'0', '... which is why the documentation says to end all logins');

# 002-7: a flood of a million states and tokens is removed by the worker, in batches, while others log in. ROLECALL_FLOOD
# says how many.
my $flood = $ENV{ROLECALL_FLOOD} // 1_000_000;
sql(<<"SQL");
DROP DATABASE restored;
INSERT INTO rolecall.oauth_states (state, provider, expires_at) SELECT g::text, 'google', now() - interval '1 minute' FROM generate_series(1, $flood) g;
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, expires_at) SELECT 1 + g % 20, sha256(g::text::bytea), now() - interval '1 minute' FROM generate_series(1, $flood / 10) g;
SQL
my $kept = issue(6);
my $flow = sql(q(SELECT rolecall.create_oauth_state('google')));
$node->append_conf('postgresql.conf', "rolecall.worker = on\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT count(*) < 0.9 * $flood FROM rolecall.oauth_states") or die;
is(sql(qq(SET statement_timeout = '60s'; SELECT rolecall.validate_and_consume_oauth_state('$flow', 'google'))), 't', 'a login goes on meanwhile');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.oauth_states') or die;
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.refresh_tokens WHERE expires_at < now()') or die;
pass('002-7: the worker has removed what was expired');
is(length refresh($kept), 43, '... and nothing else');
$node->poll_query_until('postgres', q(SELECT state = 'idle' FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker')) or die;
pass('... and rests');

# The examples of the documentation, one after the other
sql(q(INSERT INTO rolecall.users (email, oauth_provider, oauth_id) VALUES ('ada@example.org', 'google', '108')));
my $examples = join "\n", slurp_file('docs/authentication.md') =~ /```sql\n(.*?)```/gs;
($ret, $out, $err) = $node->psql('postgres', $examples, on_error_stop => 1);
is($err, '', 'docs/authentication.md: the examples run') or diag($out);
like($out, qr/^google\|\|code-verifier\|nonce\|https:.*"email": "ada\@example.org".*\nt\n0\z/ms, '... and give what they say');
# ... and the role that they grant to can do all that, and no more
for my $statement (q(INSERT INTO rolecall.users (email) VALUES ('x')), 'TABLE rolecall.refresh_tokens', 'TABLE rolecall.oauth_states', 'SELECT rolecall.me(1)', 'SELECT rolecall.cleanup_expired_oauth_states()') {
	like(error_of($node, "SET ROLE app_authenticator; $statement"), qr/42501: /, "app_authenticator: not $statement");
}
is(sql(q(SET ROLE app_authenticator; SELECT length(token) FROM rolecall.refresh((SELECT token FROM rolecall.issue_refresh_token(8))))), '43', 'app_authenticator: issue and refresh');
is(sql(q(SET ROLE app_authenticator; SELECT rolecall.validate_and_consume_oauth_state(rolecall.create_oauth_state('google', 8), 'google'))), 't', 'app_authenticator: states');

# Secrets: not in the server's log, not in a view or table, not in pg_stat_activity.
my $marker = issue(7);
my $pg = session($node);
$pg->query_safe("PREPARE r(text) AS SELECT user_id FROM rolecall.refresh(\$1)");
$node->append_conf('postgresql.conf', "rolecall.worker = off\nlog_error_verbosity = verbose\n");
$node->reload;
$node->command_ok([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ], 'alive');
append_to_file("$file.refresh", "SELECT user_id FROM rolecall.refresh(:token);\nSELECT user_id FROM rolecall.refresh(:unknown);\n");
my $unknown = sql('SELECT rolecall.random_token()');
$node->command_fails([ 'pgbench', '-n', '-M', 'extended', '-t', '1', '-D', "token=$marker", '-D', "unknown=$unknown", '-f', "$file.refresh", $node->connstr('postgres') ],
	'a good token and an unknown one, as parameters');
is(sql("SELECT rotated_at IS NOT NULL FROM rolecall.refresh_tokens WHERE token_hash = sha256('$marker')"), 't', 'the good one was used');
$pg->quit;
my $log = slurp_file($node->logfile);
like($log, qr/RC303: invalid or expired refresh token/, 'the error is in the log');
is_deeply([ grep { $log =~ /\Q$_\E/ } $marker, $unknown ], [], '... and the tokens are not');
my $everything = '';
for my $relation (split /\n/, sql(q(SELECT c.oid::regclass FROM pg_class c WHERE c.relkind IN ('r', 'v', 'm') AND (c.relnamespace = 'rolecall'::regnamespace OR c.relname LIKE 'pg_stat%')))) {
	$everything .= sql("SELECT t::text FROM $relation t");
}
cmp_ok(length $everything, '>', 10000, 'what tables and views show');
is(index($everything, $_), -1, '... is no token') for $marker, $kept, $flow;
$node->stop;

done_testing();
