# Interleavings that break a backend's memo of its own reads (src/projection/memo.cpp) if the memo skips one of the
# checks by which it knows that reading again would give the same. The form is that of Scenarios.pm.
package MemoScenarios;

use strict;
use warnings;

use Exporter 'import';

use lib 'test/tap/lib';
use Rolecall::Test;

our @EXPORT = qw(@memo_scenarios);

# Opens a transaction that has written a table behind the projection, so that it cannot use shared memory.
sub own_writer {
	my ($node, $level, %settings) = @_;
	my $session = session($node, %settings);
	$session->query_safe("BEGIN ISOLATION LEVEL $level; UPDATE rolecall.users SET function = 'own' WHERE id = 20");
	return $session;
}

sub close_all {
	for my $session (@_) {
		$session->query('ROLLBACK');
		$session->quit;
	}
	return;
}

sub loads { my ($session) = @_; return $session->query_safe(q(SELECT loads FROM rolecall.stat_projection WHERE projection = 'me')); }

# Triggers that read user 1. They see everything that the statement has written so far.
my $looking_triggers = <<'SQL';
CREATE OR REPLACE FUNCTION test.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF rolecall.me(1) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view WHERE uid = 1) THEN
        PERFORM set_config('test.wrong', 'me(1) differs for a trigger', false);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER look BEFORE INSERT ON rolecall.user_roles FOR EACH ROW EXECUTE FUNCTION test.look();
CREATE TRIGGER look_again AFTER INSERT ON rolecall.user_roles FOR EACH ROW EXECUTE FUNCTION test.look();
SQL

sub wrong_in_trigger {
	my ($node, $session) = @_;
	$session->query_safe(q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'member'), (1, 'admin')));
	my $wrong = $session->query_safe(q(SELECT current_setting('test.wrong')));
	close_all($session);
	$node->safe_psql('postgres', 'DROP TRIGGER look ON rolecall.user_roles; DROP TRIGGER look_again ON rolecall.user_roles');
	return $wrong ? ($wrong) : ();
}

sub wrong_for {
	my ($session, $uid, $when) = @_;
	return $session->query_safe(is_difference($uid)) eq 't' ? ("me($uid) differs $when") : ();
}

our @memo_scenarios = (
	{
		fault => 40,
		name => 'the memo does not ask which transactions a snapshot sees',
		run => sub {
			my ($node) = @_;
			my $reader = own_writer($node, 'READ COMMITTED');
			$reader->query_safe('SELECT rolecall.me(1)');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			my @wrong = wrong_for($reader, 1, 'after a commit of another session');
			close_all($reader);
			return @wrong;
		},
	},
	{
		fault => 41,
		name => 'the memo does not ask which own rows a snapshot sees',
		run => sub {
			my ($node) = @_;
			my $session = own_writer($node, 'READ COMMITTED');
			$session->query_safe(q(UPDATE rolecall.users SET display_name = 'a' WHERE id = 1));
			$session->query_safe(q(DECLARE c CURSOR FOR SELECT rolecall.me(1) ->> 'display_name' FROM generate_series(1, 4)));
			$session->query_safe(q(UPDATE rolecall.users SET display_name = 'b' WHERE id = 1));
			my @seen = map { $session->query_safe($_) } q(SELECT rolecall.me(1) ->> 'display_name'), 'FETCH c', q(SELECT rolecall.me(1) ->> 'display_name'), 'FETCH c';
			close_all($session);
			return "@seen" eq 'b a b a' ? () : ("a cursor and the statements beside it see @seen");
		},
	},
	{
		fault => 42,
		name => 'the memo does not ask which command of the transaction it is',
		decorated => 1,
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION test.replace() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CREATE OR REPLACE FUNCTION test.decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN ''replaced''; END';
    RETURN 'then';
END $$;
SQL
			my $session = own_writer($node, 'READ COMMITTED');
			my $seen = $session->query_safe(q(SELECT rolecall.me(1) ->> 'email', test.replace(), rolecall.me(1) ->> 'email'));
			close_all($session);
			return $seen eq 'user1@example.org decorated|then|replaced' ? () : ("beside its own DDL a statement sees $seen");
		},
	},
	{
		fault => 43,
		name => 'the memo does not ask for invalidation messages',
		decorated => 1,
		run => sub {
			my ($node) = @_;
			my $reader = session($node);
			$reader->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT rolecall.me(1)');
			$node->safe_psql('postgres', q(CREATE OR REPLACE FUNCTION test.decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN t || ' replaced'; END $$));
			my @wrong = wrong_for($reader, 1, 'after DDL of another session');
			close_all($reader);
			return @wrong;
		},
	},
	{
		fault => 44,
		name => 'the memo does not ask whether the transaction has written since',
		run => sub {
			my ($node) = @_;
			# The first row's trigger reads before any row is written, the second row's after the first row is written. Both have
			# the same snapshot, that of the command after the INSERT.
			$node->safe_psql('postgres', $looking_triggers);
			my $session = session($node, 'test.wrong' => '');
			$session->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE');
			return wrong_in_trigger($node, $session);
		},
	},
	{
		fault => 45,
		name => 'the memo keeps what a statement reads that is still writing it',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', $looking_triggers);
			return wrong_in_trigger($node, own_writer($node, 'READ COMMITTED', 'test.wrong' => ''));
		},
	},
	{
		fault => 46,
		name => 'the memo outlives the end of a subtransaction',
		run => sub {
			my ($node) = @_;
			my $session = session($node);
			$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
			$session->query_safe(q(SAVEPOINT s; UPDATE rolecall.users SET display_name = 'undone' WHERE id = 1));
			$session->query_safe('SELECT rolecall.me(1)');
			$session->query_safe('ROLLBACK TO s');
			my @wrong = wrong_for($session, 1, 'after ROLLBACK TO');
			close_all($session);
			return @wrong;
		},
	},
	{
		fault => 47,
		name => 'the memo has documents that are not exact',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', <<'SQL');
CREATE VIEW test.view AS SELECT id AS uid, jsonb_build_object('name', display_name) AS doc FROM rolecall.users;
SELECT rolecall.create_projection('p', 'test.view', 'uid', 'doc', watches => '{"rolecall.users": "id"}');
CREATE OR REPLACE VIEW test.view AS SELECT id AS uid, jsonb_build_object('name', display_name, 'now', clock_timestamp()) AS doc FROM rolecall.users;
SQL
			my $session = session($node);
			$session->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE');
			my @seen = map { $session->query_safe(q(SELECT rolecall.project('p', '1'))) } 1 .. 2;
			close_all($session);
			return $seen[0] ne $seen[1] ? () : ('two readings of the clock are the same');
		},
	},
	{
		fault => 48,
		name => 'the memo answers although the cache is off',
		run => sub {
			my ($node) = @_;
			my $session = session($node, 'rolecall.cache' => 'off');
			my $before = loads($session);
			$session->query_safe('SELECT count(rolecall.me(1)) FROM generate_series(1, 10)');
			my $loads = loads($session) - $before;
			$session->quit;
			return $loads == 10 ? () : ("ten reads with the cache off ask the view $loads times");
		},
	},
	{
		fault => 49,
		name => 'the memo outlives invalidate(), of a document with a ttl',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', <<'SQL');
CREATE VIEW test.view AS SELECT id AS uid, jsonb_build_object('now', clock_timestamp()) AS doc FROM rolecall.users;
SELECT rolecall.create_projection('p', 'test.view', 'uid', 'doc', ttl => '1 hour');
SQL
			my $session = session($node);
			$session->query_safe('BEGIN; SELECT pg_current_xact_id()');
			my ($first, $again) = map { $session->query_safe(q(SELECT rolecall.project('p', '1'))) } 1 .. 2;
			$session->query_safe(q(SELECT rolecall.invalidate('p', '1')));
			my $anew = $session->query_safe(q(SELECT rolecall.project('p', '1')));
			close_all($session);
			return (($first eq $again ? () : ('a document is read twice within its ttl')), ($anew ne $first ? () : ('a document is as it was before invalidate()')));
		},
	},
);

1;
