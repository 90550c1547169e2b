# Partitions that are being detached concurrently: until that is complete, or for good where it was interrupted, an older
# snapshot still has them and a newer one does not. What a session plans for the one serves nobody who reads by the other.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('detach', "autovacuum = off\n");
my $world = <<'SQL';
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app CASCADE;
CREATE EXTENSION rolecall;
CREATE SCHEMA app;
CREATE TABLE app.users (id int PRIMARY KEY);
INSERT INTO app.users SELECT generate_series(1, 9);
CREATE TABLE app.events (user_id int NOT NULL, kind text NOT NULL) PARTITION BY LIST (kind);
CREATE TABLE app.events_a PARTITION OF app.events FOR VALUES IN ('a');
CREATE TABLE app.events_b PARTITION OF app.events FOR VALUES IN ('b');
INSERT INTO app.events SELECT id, k FROM app.users, unnest('{a,b}'::text[]) k;
CREATE VIEW app.view AS
SELECT u.id AS uid, jsonb_build_object('events', e.kinds) AS doc, u.id || '@' || e.kinds AS email
FROM app.users u, LATERAL (SELECT string_agg(e.kind, '' ORDER BY e.kind) AS kinds FROM app.events e WHERE e.user_id = u.id) e;
SELECT rolecall.create_projection('me', 'app.view', 'uid', 'doc', watches => '{"app.users": "id", "app.events": "user_id"}');
-- Planned anew each time: from PostgreSQL 18 on a plan that the session keeps for it would be as wrong as what it looks for.
CREATE FUNCTION app.differences() RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM app.view WHERE rolecall.me(uid) IS DISTINCT FROM doc OR rolecall.me_json(uid)::jsonb IS DISTINCT FROM doc' INTO found;
    RETURN found;
END $$;
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

# Waits behind whoever has read the table, so that the partition stays pending.
sub begin_detach {
	my $detaching = session($node);
	begin_query($detaching, 'ALTER TABLE app.events DETACH PARTITION app.events_b CONCURRENTLY');
	$node->poll_query_until('postgres', 'SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = $$app.events_b$$::regclass') or die;
	return $detaching;
}

sub interrupt {
	my ($detaching) = @_;
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%CONCURRENTLY%' AND pid <> pg_backend_pid() AND wait_event_type = 'Lock')) or die;
	sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%CONCURRENTLY%' AND pid <> pg_backend_pid()));
	finish_query($detaching);
	$detaching->quit;
	return;
}

# Often enough for a plan to become one that is kept.
sub read_often { my ($session) = @_; return $session->query_safe('SELECT sum(d) FROM generate_series(1, 3), LATERAL (SELECT app.differences() + 0 * generate_series AS d) x'); }

sub old_session {
	my $old = session($node);
	$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app.events');
	return $old;
}

sub quit { $_->quit for @_; return; }

# Each returns what was wrong.
my %cases = (
	'an older snapshot, and then a newer one' => sub {
		my $old = old_session();
		interrupt(begin_detach());
		my @wrong;
		push @wrong, 'the older snapshot' if read_often($old) ne '0';
		push @wrong, 'its partition' if $old->query_safe(q(SELECT rolecall.me(1) ->> 'events')) ne 'ab';
		$old->query_safe('COMMIT');
		push @wrong, 'the newer snapshot in the same session' if read_often($old) ne '0';
		push @wrong, 'a newcomer' if sql('SELECT app.differences()') ne '0';
		push @wrong, 'the partition that is gone' if sql(q(SELECT rolecall.me(1) ->> 'events')) ne 'a';
		quit($old);
		return @wrong;
	},
	'a newer snapshot, and then the older one of a cursor' => sub {
		my $session = session($node);
		$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT rolecall.me(uid) = doc FROM app.view, generate_series(1, 9)');
		my $detaching = begin_detach();
		my @wrong;
		push @wrong, 'the newer snapshot' if read_often($session) ne '0';
		push @wrong, 'the cursor' if $session->query_safe('FETCH ALL c') =~ /f/;
		push @wrong, 'the newer snapshot again' if read_often($session) ne '0';
		$session->query_safe('COMMIT');
		finish_query($detaching);
		push @wrong, 'after it' if read_often($session) ne '0';
		quit($session, $detaching);
		return @wrong;
	},
	'who has an address' => sub {
		my $old = old_session();
		interrupt(begin_detach());
		my $find = sub { my ($address) = @_; return $old->query_safe("SELECT count(rolecall.me_by_email('$address')) FROM generate_series(1, 9)"); };
		my @wrong;
		push @wrong, 'by the older snapshot' if $find->('1@ab') ne '9';
		$old->query_safe('COMMIT');
		push @wrong, 'by the newer snapshot' if $find->('1@a') ne '9';
		quit($old);
		return @wrong;
	});

for my $case (sort keys %cases) {
	for my $fault (0, 53) {
		sql($world);
		sql('SELECT app.differences()');
		set_fault($node, $fault);
		my @wrong = $cases{$case}->();
		set_fault($node, 0);
		is("@wrong", '', "nothing is wrong: $case") if !$fault;
		cmp_ok(scalar @wrong, '>', 0, "seeded fault $fault is caught: $case") and note(@wrong) if $fault;
	}
}

# While it is pending nothing is cached, and the problem is named with what repairs it.
sql($world);
sql('SELECT app.differences()') for 1 .. 2;
my $hits = 'SELECT hits FROM rolecall.stat_projection WHERE projection = $$me$$ AND NOT builtin';
my $old = old_session();
interrupt(begin_detach());
my $before = sql($hits);
is(sql('SELECT app.differences()'), '0', 'an interrupted detach: right');
is(sql($hits), $before, '... and not from the cache');
my ($problem, $repair) = split /\|/, sql(q(SELECT problem, repair FROM rolecall.check_projections() WHERE projection = 'me'));
is($problem, 'partition app.events_b of app.events is being detached', '... which is named');
sql(q(SELECT rolecall.reload('me')));
$node->poll_query_until('postgres', q(SELECT ended_at IS NOT NULL FROM rolecall.stat_progress WHERE projection = 'me' AND NOT builtin)) or die;
like(sql(q(SELECT message FROM rolecall.stat_progress WHERE projection = 'me' AND NOT builtin)), qr/is being detached/, '... also by who wants all to be loaded');

# What is written to it meanwhile is still seen by the older snapshot only if it was there.
sql(q(INSERT INTO app.events_b VALUES (2, 'b')));
is(read_often($old), '0', 'an older snapshot beside writes to the partition');
is(sql('SELECT app.differences()'), '0', '... and a newer one');
$old->query_safe('COMMIT');
$old->quit;

sql($repair);
is(sql(q(SELECT count(*) FROM rolecall.check_projections())), '0', 'FINALIZE: repaired');
is(sql('SELECT app.differences()'), '0', '... right');
$before = sql($hits);
is(sql('SELECT app.differences()'), '0', '... and still so');
cmp_ok(sql($hits), '>', $before, '... from the cache');
sql(q(SELECT rolecall.reload('me')));
$node->poll_query_until('postgres', q(SELECT phase = 'done' FROM rolecall.stat_progress WHERE projection = 'me' AND NOT builtin)) or die;
is(sql('SELECT app.differences()'), '0', '... and loaded at once');

# ---- A full load under way when it begins: its snapshot is older.
sql($world);
sql('ALTER SYSTEM SET rolecall.debug_points = on');
$node->reload;
create_points($node);
hold($node, 'pass-before-install');
sql(q(SELECT rolecall.reload('me')));
wait_at($node, 'pass-before-install');
my $detaching = begin_detach();
release($node, 'pass-before-install');
finish_query($detaching);
$detaching->quit;
$node->poll_query_until('postgres', q(SELECT ended_at IS NOT NULL FROM rolecall.stat_progress WHERE projection = 'me' AND NOT builtin)) or die;
is(sql('SELECT app.differences()'), '0', 'a load of all that had begun before');
$node->stop;

done_testing();
