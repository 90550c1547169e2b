# Interleavings for those sentences of the freshness rule that Scenarios.pm does not cover. The form is the same.
package RuleScenarios;

use strict;
use warnings;

use Exporter 'import';

use lib 'test/tap/lib';
use Rolecall::Test;

our @EXPORT = qw(@rule_scenarios);

sub cache { my ($node, $uid) = @_; return $node->safe_psql('postgres', "SELECT rolecall.me($uid)"); }

sub wrong_for_newcomer {
	my ($node, $uid) = @_;
	return $node->safe_psql('postgres', is_difference($uid)) eq 't' ? ("me($uid) differs for a new session") : ();
}

sub hits { my ($node) = @_; return $node->safe_psql('postgres', 'SELECT hits FROM rolecall.stat_cache'); }

our @rule_scenarios = (
	{
		fault => 50,
		name => 'a parallel worker of a transaction that writes uses the cache',
		run => sub {
			my ($node) = @_;
			# An application's trigger sorts before the watch and reads in a parallel query. Nothing is stamped yet, and the
			# leader holds the locks.
			$node->safe_psql('postgres', <<'SQL');
CREATE TABLE test.numbers AS SELECT 1::bigint AS n;
CREATE FUNCTION test.ask_in_parallel() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    seen text;
BEGIN
    EXECUTE $q$SELECT max(rolecall.me(n) ->> 'display_name') FROM test.numbers$q$ INTO seen;
    PERFORM set_config('test.seen', seen, false);
    RETURN NULL;
END $$;
CREATE TRIGGER aaa AFTER UPDATE ON rolecall.users FOR EACH ROW EXECUTE FUNCTION test.ask_in_parallel();
SQL
			cache($node, 1);
			my $parallel = $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
			my $session = session($node, 'test.seen' => '', $parallel => 'on', parallel_leader_participation => 'off', parallel_setup_cost => 0, min_parallel_table_scan_size => 0);
			$session->query_safe(q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			my $seen = $session->query_safe(q(SELECT current_setting('test.seen')));
			$session->quit;
			$node->safe_psql('postgres', 'DROP TRIGGER aaa ON rolecall.users');
			return $seen eq 'v2' ? () : ("a parallel worker of the transaction that wrote v2 sees $seen");
		},
	},
	{
		fault => 51,
		name => 'a load of all installs by the newest snapshot',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', 'ALTER SYSTEM SET rolecall.debug_points = on');
			$node->reload;
			hold($node, 'pass-before-install');
			$node->safe_psql('postgres', q(SELECT rolecall.reload('me')));
			wait_at($node, 'pass-before-install');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			release($node, 'pass-before-install');
			$node->poll_query_until('postgres', q(SELECT ended_at IS NOT NULL FROM rolecall.stat_progress WHERE projection = 'me')) or die;
			$node->safe_psql('postgres', 'ALTER SYSTEM RESET rolecall.debug_points');
			$node->reload;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 52,
		name => 'a cached miss does not know its groups',
		run => sub {
			my ($node) = @_;
			# A member of a team that does not exist yet has no document, but still belongs to the team.
			$node->safe_psql('postgres', <<'SQL');
CREATE TABLE test.members (user_id bigint PRIMARY KEY, team text NOT NULL);
CREATE TABLE test.teams (name text PRIMARY KEY, title text NOT NULL);
INSERT INTO test.members VALUES (1, 'blue');
CREATE VIEW test.view AS
SELECT m.user_id AS uid, jsonb_build_object('team', t.title) AS doc FROM test.members m JOIN test.teams t ON t.name = m.team;
SELECT rolecall.create_projection('teams', 'test.view', 'uid', 'doc', strict => false, watches => '{"test.members": "user_id"}');
SELECT rolecall.watch_lookup('teams', 'test.teams', 'name', '{"test.members": "team"}');
SQL
			my $project = q(SELECT rolecall.project('teams', '1') ->> 'team');
			$node->safe_psql('postgres', $project);
			$node->safe_psql('postgres', q(INSERT INTO test.teams VALUES ('blue', 'The blue team')));
			my $team = $node->safe_psql('postgres', $project);
			return $team eq 'The blue team' ? () : ("the member of a team that came into being has '$team'");
		},
	},
	{
		fault => 54,
		name => 'the time for which a document holds is not asked',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', q(INSERT INTO rolecall.user_roles (user_id, role, expires_at) VALUES (1, 'member', clock_timestamp() + interval '2 s')));
			cache($node, 1);
			$node->poll_query_until('postgres', 'SELECT bool_and(expires_at < now()) FROM rolecall.user_roles WHERE user_id = 1') or die;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 55,
		name => 'a document does not know its groups',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', q(INSERT INTO rolecall.user_units SELECT 1, id, 'member' FROM rolecall.units WHERE institutional_id = 'u1'));
			cache($node, 1);
			$node->safe_psql('postgres', q(UPDATE rolecall.units SET name = name || '!' WHERE institutional_id = 'u1'));
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 56,
		name => 'who installs does not ask whether the writers have finished',
		run => sub {
			my ($node) = @_;
			my $writer = session($node);
			$writer->query_safe(q(BEGIN; UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			cache($node, 1);
			$writer->query_safe('COMMIT');
			$writer->quit;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 57,
		name => 'who reads does not compare the versions',
		run => sub {
			my ($node) = @_;
			cache($node, 1);
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 58,
		name => 'a deferrable transaction hits that has no safe snapshot',
		run => sub {
			my ($node) = @_;
			cache($node, 1);
			my $before = hits($node);
			my $session = session($node);
			$session->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE DEFERRABLE; SELECT 1; SET TRANSACTION READ ONLY; SELECT rolecall.me(1); COMMIT');
			$session->quit;
			return hits($node) == $before ? () : ('a read that must leave predicate locks was a hit');
		},
	},
	{
		fault => 59,
		name => 'a text has the versions of when it was written, not of its document',
		run => sub {
			my ($node) = @_;
			cache($node, 1);
			my $reader = session($node, 'rolecall.debug_points' => 'on');
			hold($node, 'before-text');
			begin_query($reader, 'SELECT rolecall.me_json(1)');
			wait_at($node, 'before-text');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			release($node, 'before-text');
			finish_query($reader);
			$reader->quit;
			return $node->safe_psql('postgres', 'SELECT rolecall.me_json(1)::jsonb IS DISTINCT FROM (SELECT doc FROM rolecall.me_view WHERE uid = 1)') eq 't'
			  ? ('me_json(1) differs for a new session') : ();
		},
	},
);

1;
