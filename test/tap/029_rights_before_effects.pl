# Who has no right changes nothing: a role without rights tries every kind of command, inside of savepoints, and stays in its
# transaction. No stamp, no lock, hits go on, workers stay where they are. And no statement crashes the server, whatever
# it does to the transaction it was sent in.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('rights', "autovacuum = off\nrolecall.worker = on\nrolecall.workers = 1\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE intruder LOGIN;
CREATE ROLE reader LOGIN;
GRANT USAGE ON SCHEMA rolecall TO intruder, reader;
GRANT SELECT ON ALL TABLES IN SCHEMA rolecall TO reader;
CREATE ROLE other;
CREATE TABLE public.things (id int PRIMARY KEY);
CREATE TYPE public.kind AS ENUM ('a');
CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE DATABASE app;
SQL
$node->safe_psql('app', 'CREATE EXTENSION rolecall');

sub workers { return $node->safe_psql('postgres', q(SELECT datname, pid FROM pg_stat_activity WHERE backend_type LIKE 'rolecall sync worker%' ORDER BY 1)); }
$node->poll_query_until('postgres', q(SELECT count(DISTINCT datname) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'rolecall sync worker%')) or die 'no workers';
my $workers = workers();

my $invalidations = q(SELECT sum(invalidations) FROM rolecall.stat_projection);
my $locks = q(SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND objsubid = 1 AND pid <> pg_backend_pid());
$node->safe_psql('postgres', 'SELECT rolecall.me(1)') for 1 .. 2;

sub hits { return $node->safe_psql('postgres', 'SELECT rolecall.me(1); SELECT hits FROM rolecall.stat_projection') =~ s/.*\n//sr; }

# ---- Every kind of command

my @commands = (
	'ALTER TABLE rolecall.users ADD COLUMN x int', 'ALTER TABLE rolecall.users DISABLE TRIGGER ALL', 'DROP TABLE rolecall.users CASCADE',
	'CREATE OR REPLACE VIEW rolecall.me_view AS SELECT 1 AS uid', 'DROP VIEW rolecall.me_view', 'ALTER VIEW rolecall.me_view RENAME TO x',
	'CREATE POLICY p ON rolecall.users USING (false)', 'ALTER TABLE rolecall.users ENABLE ROW LEVEL SECURITY',
	'CREATE RULE r AS ON INSERT TO rolecall.users DO INSTEAD NOTHING', 'CREATE TRIGGER t BEFORE UPDATE ON rolecall.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE INDEX i ON rolecall.users (email)', 'CREATE STATISTICS s ON id, email FROM rolecall.users', 'ALTER TABLE rolecall.users RENAME TO x', 'ALTER TABLE rolecall.users SET SCHEMA public',
	'GRANT SELECT ON rolecall.users TO intruder', 'REVOKE ALL ON rolecall.users FROM reader', 'REVOKE ALL ON SCHEMA rolecall FROM PUBLIC', 'TRUNCATE rolecall.users',
	'CREATE TABLE rolecall.x (id int)', 'CREATE TABLE public.x () INHERITS (rolecall.users)', 'ALTER TABLE public.things INHERIT rolecall.users',
	'CREATE OR REPLACE FUNCTION rolecall.me(uid bigint) RETURNS jsonb LANGUAGE sql AS $$ SELECT NULL $$', 'DROP FUNCTION public.f()', 'ALTER FUNCTION public.f() IMMUTABLE',
	'CREATE TYPE rolecall.t AS (x int)', q(ALTER TYPE public.kind ADD VALUE 'b'), 'CREATE CAST (int AS json) WITH INOUT AS IMPLICIT', 'CREATE OPERATOR rolecall.+ (leftarg = int, function = public.f)',
	'CREATE SCHEMA x', 'DROP SCHEMA rolecall CASCADE', 'CREATE EXTENSION plpgsql', 'DROP EXTENSION rolecall CASCADE', 'ALTER EXTENSION rolecall UPDATE',
	'CREATE ROLE x', 'DROP ROLE other', 'ALTER ROLE postgres NOSUPERUSER', 'ALTER ROLE other SUPERUSER', 'GRANT postgres TO intruder', 'GRANT other TO reader', 'ALTER GROUP other ADD USER intruder',
	'DROP OWNED BY postgres', 'REASSIGN OWNED BY postgres TO intruder', 'ALTER DATABASE postgres OWNER TO intruder', 'ALTER DATABASE app RENAME TO x', 'ALTER DATABASE app SET TABLESPACE pg_default',
	'ALTER DATABASE app SET work_mem = 100', 'DROP DATABASE app', 'DROP DATABASE app (FORCE)', 'CREATE DATABASE x TEMPLATE app', 'CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION rolecall.watch_row()',
	q(SELECT rolecall.create_projection('x', 'rolecall.me_view', 'uid', 'doc')), q(SELECT rolecall.reload('me')), q(DELETE FROM rolecall.projections), q(SELECT rolecall.put_watch_triggers(1)),
);
for my $role (qw(intruder reader)) {
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', $role ]);
	$session->query_safe('BEGIN');
	my $before = $node->safe_psql('postgres', $invalidations);
	for my $command (@commands) {
		$session->{stderr} = '';
		$session->query("SAVEPOINT s; $command; ROLLBACK TO s");
		like($session->{stderr}, qr/ERROR:|WARNING:  no privileges/, "$role is refused: $command");
		$session->{stderr} = '';
	}
	is($node->safe_psql('postgres', $locks), '0', "$role: no lock of ours is held");
	is($node->safe_psql('postgres', $invalidations), $before, "$role: nothing was made unusable");
	my $hits = hits();
	is(hits(), $hits + 1, "$role: hits go on");
	is(workers(), $workers, "$role: the workers are those that were there");
	$session->query('COMMIT');
	is($node->safe_psql('postgres', $invalidations), $before, "$role: nor when it commits");
	$session->quit;
}

# ---- Outside of a transaction, where the server gets further before it refuses

for my $command ('DROP DATABASE app', 'DROP DATABASE app (FORCE)', 'ALTER DATABASE app SET TABLESPACE pg_default', 'ALTER DATABASE app RENAME TO x', 'CREATE DATABASE x TEMPLATE app', 'CREATE DATABASE x TEMPLATE postgres') {
	my ($ret) = $node->psql('template1', $command, extra_params => [ '-U', 'intruder' ]);
	isnt($ret, 0, "refused: $command");
	is(workers(), $workers, '... and the workers are those that were there');
}
# A role that may create databases may not copy any.
$node->safe_psql('postgres', 'ALTER ROLE intruder CREATEDB');
isnt($node->psql('template1', 'CREATE DATABASE x TEMPLATE app', extra_params => [ '-U', 'intruder' ]), 0, 'refused: somebody else\'s database as a template');
isnt($node->psql('template1', 'CREATE DATABASE x OWNER postgres', extra_params => [ '-U', 'intruder' ]), 0, 'refused: a database for somebody else');
is(workers(), $workers, '... and the workers are those that were there');

# ---- The owner, whose command fails or is rolled back: workers come back.

my $owner = $node->background_psql('postgres', on_error_stop => 0);
$owner->query_safe('BEGIN; SAVEPOINT s; ALTER DATABASE app RENAME TO renamed');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'rolecall%')), '0', 'kept out while the name changes');
$owner->query_safe('ROLLBACK TO s');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'rolecall sync worker%')), 'back when that is rolled back, in a transaction that goes on');
$owner->query('ALTER DATABASE app RENAME TO postgres');
like($owner->{stderr}, qr/already exists/, 'a command that fails');
$owner->{stderr} = '';
$owner->query('SELECT 1');
ok($node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'app' AND backend_type LIKE 'rolecall sync worker%')), '... lets them in, in a transaction that has failed');
$owner->query('ROLLBACK');
$owner->{stderr} = '';
$workers = workers();
$owner->query_safe('BEGIN; SAVEPOINT s; ALTER DATABASE app SET work_mem = 1000; ROLLBACK TO s; COMMIT');
$owner->query('BEGIN; SAVEPOINT s; DROP DATABASE app; ROLLBACK TO s');
$owner->{stderr} = '';
is(workers(), $workers, 'a setting that is rolled back, and a command that no transaction may hold, end no worker');
$owner->query('ROLLBACK');
$owner->quit;
is($node->psql('postgres', 'DROP DATABASE app'), 0, 'the owner drops the database, workers and all');

# ---- The statement may be gone when it has run.

$node->safe_psql('postgres', 'CREATE DATABASE bare');
my $inserts = join ' ', ('INSERT INTO public.rows VALUES (1);') x 100;
for my $database ('postgres', 'bare') {
	$node->safe_psql($database, "CREATE TABLE public.rows (id int); CREATE PROCEDURE p(n int) LANGUAGE plpgsql AS 'BEGIN ROLLBACK; $inserts COMMIT; END'");
	my $script = $node->basedir . "/call.sql";
	open my $file, '>', $script or die;
	print $file "\\set n 1\nCALL p(:n);\n";
	close $file;
	for my $mode (qw(simple extended prepared)) {
		$node->command_ok([ 'pgbench', '-n', '-M', $mode, '-t', '3', '-f', $script, $database ], "CALL by the $mode protocol in database $database");
	}
	is($node->safe_psql($database, 'SELECT count(*) FROM public.rows'), '900', '... does what it should');
	# With definitions in it
	$node->safe_psql($database, q(CREATE PROCEDURE q(n int) LANGUAGE plpgsql AS 'BEGIN ROLLBACK; CREATE TABLE IF NOT EXISTS public.made (id int); COMMIT; ALTER TABLE public.made ADD COLUMN IF NOT EXISTS x int; ROLLBACK; DROP TABLE public.made; COMMIT; END'));
	open $file, '>', $script or die;
	print $file "\\set n 1\nCALL q(:n);\n";
	close $file;
	$node->command_ok([ 'pgbench', '-n', '-M', 'extended', '-t', '3', '-f', $script, $database ], "definitions in a procedure in database $database");
}
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal|server process .* was terminated/, 'nothing crashed');
$node->stop;

done_testing();
