# Interleavings that break the freshness rule when it lacks one of its sentences. Each is a sub that gets a server with
# the extension and users 1 to 20. It returns the faults that it found as a list of sentences, which is empty if there
# were none.
#
# Every sub runs twice: with the code as it is, where it must find no fault, and with its sentence broken by a seeded
# fault (compiled in for tests), where it must find one.
package Scenarios;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

use lib 'test/tap/lib';
use Rolecall::Test;

our @EXPORT = qw(@scenarios);

# Loads a user's document into the cache, in a session of its own.
sub cache { my ($node, $uid) = @_; return $node->safe_psql('postgres', "SELECT rolecall.me($uid)"); }

# Returns a fault if a new session sees something else than the view has.
sub wrong_for_newcomer {
	my ($node, $uid) = @_;
	return $node->safe_psql('postgres', is_difference($uid)) eq 't' ? ("me($uid) differs for a new session") : ();
}

sub wrong_for {
	my ($session, $uid) = @_;
	return $session->query(is_difference($uid)) eq 't' ? ("me($uid) differs for an open session") : ();
}

our @scenarios = (
	{
		fault => 1,
		name => 'the stamps are read before the entry',
		run => sub {
			my ($node) = @_;
			cache($node, 1);
			my $reader = session($node, 'rolecall.debug_points' => 'on');
			hold($node, 'between-entry-and-stamps');
			begin_query($reader, is_difference(1));
			wait_at($node, 'between-entry-and-stamps');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			cache($node, 1);
			release($node, 'between-entry-and-stamps');
			my @wrong = finish_query($reader) eq 't' ? ('a reader saw a commit that its snapshot does not contain') : ();
			$reader->quit;
			return @wrong;
		},
	},
	{
		fault => 2,
		name => 'the stamp names the transaction before',
		run => sub {
			my ($node) = @_;
			my $writer = session($node);
			$writer->query_safe(q(BEGIN; UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			cache($node, 1);    # the writer is the oldest running transaction: xmin is its id
			$writer->query_safe('COMMIT');
			$writer->quit;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 3,
		name => 'the stamp is of the subtransaction',
		run => sub {
			my ($node) = @_;
			my $writer = session($node);
			$writer->query_safe(q(BEGIN; SAVEPOINT s; UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1; RELEASE s));
			cache($node, 1);
			$writer->query_safe('COMMIT');
			$writer->quit;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 4,
		name => 'the old key is not stamped',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'member')));
			cache($node, $_) for 1, 2;
			$node->safe_psql('postgres', 'UPDATE rolecall.user_roles SET user_id = 2 WHERE user_id = 1');
			return map { wrong_for_newcomer($node, $_) } 1, 2;
		},
	},
	{
		fault => 5,
		name => 'the new key is not stamped',
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'admin')));
			cache($node, $_) for 1, 2;
			$node->safe_psql('postgres', q(UPDATE rolecall.user_roles SET user_id = 2 WHERE user_id = 1 AND role = 'admin'));
			return map { wrong_for_newcomer($node, $_) } 1, 2;
		},
	},
	{
		fault => 7,
		name => 'own writes are ignored',
		run => sub {
			my ($node) = @_;
			# The application's trigger sorts before the watch. It reads before any stamp is raised, and then the statement
			# fails.
			$node->safe_psql('postgres', <<'SQL');
CREATE OR REPLACE FUNCTION test.read_and_fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM rolecall.me(NEW.id); RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER aaa AFTER UPDATE ON rolecall.users FOR EACH ROW EXECUTE FUNCTION test.read_and_fail();
SQL
			$node->psql('postgres', q(UPDATE rolecall.users SET display_name = 'failed' WHERE id = 1));
			my @wrong = wrong_for_newcomer($node, 1);
			# The same in a savepoint, after which the transaction continues.
			my $session = session($node);
			$session->query(q(BEGIN; SAVEPOINT s; UPDATE rolecall.users SET display_name = 'failed' WHERE id = 2));
			$session->query('ROLLBACK TO s');
			push @wrong, wrong_for($session, 2);
			$session->query('COMMIT');
			$session->quit;
			push @wrong, wrong_for_newcomer($node, 2);
			$node->safe_psql('postgres', 'DROP TRIGGER aaa ON rolecall.users');
			return @wrong;
		},
	},
	{
		fault => 8,
		name => 'own writes are ignored by the first level',
		run => sub {
			my ($node) = @_;
			# As before, but the session has the old answer in its own memory and reads nothing else.
			$node->safe_psql('postgres', <<'SQL');
CREATE OR REPLACE FUNCTION test.check_role() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT rolecall.has_role(NEW.user_id, NEW.role) THEN
        PERFORM set_config('test.wrong', 'has_role differs after an own write', false);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER aaa AFTER INSERT ON rolecall.user_roles FOR EACH ROW EXECUTE FUNCTION test.check_role();
SQL
			my $session = session($node, 'test.wrong' => '');
			$session->query_safe(q(SELECT rolecall.has_role(1, 'member'))) for 1 .. 3;
			$session->query_safe(q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'member')));
			my $wrong = $session->query_safe(q(SELECT current_setting('test.wrong')));
			$session->quit;
			$node->safe_psql('postgres', 'DROP TRIGGER aaa ON rolecall.user_roles');
			return $wrong ? ($wrong) : ();
		},
	},
	{
		fault => 9,
		name => q(the reader's snapshot is not asked),
		run => sub {
			my ($node) = @_;
			my $reader = session($node);
			$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM rolecall.users');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			cache($node, 1);
			my @wrong = wrong_for($reader, 1);
			$reader->query_safe('COMMIT');
			$reader->quit;
			return @wrong;
		},
	},
	{
		fault => 10,
		name => 'installed by the newest snapshot',
		run => sub {
			my ($node) = @_;
			my $loader = session($node);
			$loader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM rolecall.users');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			$loader->query_safe('SELECT rolecall.me(1)');
			$loader->query_safe('COMMIT');
			$loader->quit;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 11,
		name => 'the query runs under a snapshot of its own',
		run => sub {
			my ($node) = @_;
			my $reader = session($node, 'rolecall.debug_points' => 'on');
			hold($node, 'before-query');
			begin_query($reader, is_difference(1));
			wait_at($node, 'before-query');
			$node->safe_psql('postgres', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 1));
			release($node, 'before-query');
			my @wrong = finish_query($reader) eq 't' ? ('a reader saw a commit that its snapshot does not contain') : ();
			$reader->quit;
			return @wrong;
		},
	},
	{
		fault => 12,
		name => 'lookup keys are found by a query',
		run => sub {
			my ($node) = @_;
			my ($t1, $t2) = (session($node), session($node));
			$t2->query_safe(q(BEGIN; INSERT INTO rolecall.user_units SELECT 1, id, 'member' FROM rolecall.units WHERE institutional_id = 'u1'));
			$t1->query_safe(q(BEGIN; UPDATE rolecall.units SET name = name || '!' WHERE institutional_id = 'u1'));
			$t2->query_safe('COMMIT');
			cache($node, 1);
			$t1->query_safe('COMMIT');
			$_->quit for $t1, $t2;
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 13,
		name => 'a hit in SERIALIZABLE',
		run => sub {
			my ($node) = @_;
			cache($node, $_) for 1, 2;
			my @doctors = (session($node), session($node));
			for my $i (0, 1) {
				$doctors[$i]->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE');
				$doctors[$i]->query_safe('SELECT rolecall.me(' . (2 - $i) . q() . q() . ') ' . q(->> 'display_name'));
			}
			for my $i (0, 1) {
				$doctors[$i]->query('UPDATE rolecall.users SET display_name = ' . "'gone $i'" . ' WHERE id = ' . ($i + 1));
			}
			$_->query('COMMIT') for @doctors;
			$_->quit for @doctors;
			my $gone = $node->safe_psql('postgres', q(SELECT count(*) FROM rolecall.users WHERE id IN (1, 2) AND display_name LIKE 'gone%'));
			return $gone eq '2' ? ('both transactions of a write skew committed') : ();
		},
	},
	{
		fault => 14,
		name => 'the floor is set when shared memory is made, and never again',
		restarts => 1,
		run => sub {
			my ($node) = @_;
			$node->safe_psql('postgres', q(BEGIN; UPDATE rolecall.users SET display_name = 'prepared' WHERE id = 1; PREPARE TRANSACTION 'p'));
			$node->stop('immediate');
			$node->start;
			cache($node, 1);
			$node->safe_psql('postgres', q(COMMIT PREPARED 'p'));
			return wrong_for_newcomer($node, 1);
		},
	},
	{
		fault => 15,
		name => 'the floor is stored, not raised',
		run => sub {
			my ($node) = @_;
			# The rows of this lookup belong to every document.
			$node->safe_psql('postgres', <<'SQL');
CREATE VIEW test.units_view AS
SELECT u.id AS uid, (SELECT jsonb_agg(n.name ORDER BY n.name) FROM rolecall.units n) AS doc FROM rolecall.users u;
SELECT rolecall.create_projection('units', 'test.units_view', 'uid', 'doc', watches => '{"rolecall.users": "id", "rolecall.units": null}');
SQL
			my ($older, $newer) = (session($node), session($node));
			$older->query_safe('BEGIN; SELECT pg_current_xact_id()');
			$newer->query_safe(q(BEGIN; UPDATE rolecall.units SET name = name || '!' WHERE institutional_id = 'u1'));
			$older->query_safe(q(UPDATE rolecall.units SET name = name || '!' WHERE institutional_id = 'u2'));
			$older->query_safe('COMMIT');
			$node->safe_psql('postgres', q(SELECT rolecall.project('units', '1')));
			$newer->query_safe('COMMIT');
			$_->quit for $older, $newer;
			return $node->safe_psql('postgres', q(SELECT rolecall.project('units', '1') IS DISTINCT FROM (SELECT doc FROM test.units_view WHERE uid = 1))) eq 't'
			  ? ('a document has an old unit') : ();
		},
	},
	{
		fault => 17,
		name => 'no lock keeps loaders out while DDL ends',
		decorated => 1,
		run => sub {
			my ($node) = @_;
			my $loader = session($node);
			$loader->query_safe('SELECT rolecall.me(1)');
			# The DDL transaction has left the proc array but has not yet sent its invalidations.
			my $ddl = session($node, 'rolecall.debug_points' => 'on');
			hold($node, 'between-proc-array-and-invalidations');
			begin_query($ddl, q(CREATE OR REPLACE FUNCTION test.decorate(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN t || ' replaced'));
			wait_at($node, 'between-proc-array-and-invalidations');
			$loader->query_safe('SELECT rolecall.me(2)');
			release($node, 'between-proc-array-and-invalidations');
			finish_query($ddl);
			$_->quit for $ddl, $loader;
			return wrong_for_newcomer($node, 2);
		},
	},
	{
		fault => 20,
		name => 'a cached miss is not stamped',
		run => sub {
			my ($node) = @_;
			cache($node, 999);
			$node->safe_psql('postgres', q(INSERT INTO rolecall.users (id, email) VALUES (999, 'new@example.org')));
			return wrong_for_newcomer($node, 999);
		},
	},
	{
		fault => 21,
		name => 'a projection with the id of one that is gone',
		run => sub {
			my ($node) = @_;
			# A database made from a template has projections with the same ids, and its OID may be used again.
			$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS one');
			$node->safe_psql('postgres', 'CREATE DATABASE one OID 99999 TEMPLATE postgres');
			$node->safe_psql('one', q(UPDATE rolecall.users SET display_name = 'first'));
			$node->safe_psql('one', 'SELECT rolecall.me(1)') for 1 .. 2;
			$node->safe_psql('postgres', 'DROP DATABASE one');
			$node->safe_psql('postgres', 'CREATE DATABASE one OID 99999 TEMPLATE postgres');
			my $name = $node->safe_psql('one', q(SELECT rolecall.me(1) ->> 'display_name'));
			$node->safe_psql('postgres', 'DROP DATABASE one');
			return $name eq 'v1' ? () : ("a document of a database that was dropped");
		},
	},
);

1;
