# What a session has once compiled of a function stays in that session: PL/pgSQL keeps the types of variables, and what an
# ambiguous name means. What such a session reads of a view must not become everybody's, when a name or a type has come to
# mean something else: everybody reads what the view answers in a session that begins now.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node("compiled", "autovacuum = off\nrolecall.debug_points = on\n");
create_points($node);
my $seed = $ENV{ROLECALL_SEED} // time;
diag("ROLECALL_SEED=$seed");
srand($seed);

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

my $world = <<'SQL';
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app, s1, s2 CASCADE;
CREATE EXTENSION rolecall;
CREATE SCHEMA app; CREATE SCHEMA s1; CREATE SCHEMA s2;
CREATE TABLE app.users (id bigint PRIMARY KEY, name text);
INSERT INTO app.users VALUES (1, 'ada');
CREATE TABLE app.o (a int);
CREATE TYPE s2.t AS (a int);
CREATE DOMAIN s2.d AS text;
SQL
my $view = q(CREATE VIEW app.v AS SELECT id AS uid, jsonb_build_object('d', app.f(id)) AS doc FROM app.users;
	SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id"}'););
sub function { my ($declare, $body, $result) = @_; return 'CREATE OR REPLACE FUNCTION app.f(i bigint) RETURNS ' . ($result // 'text') . " IMMUTABLE SET search_path = s1, s2, pg_temp LANGUAGE plpgsql AS \$\$ DECLARE $declare BEGIN $body END \$\$;"; }

# An error is an answer, too.
my $answers = <<'SQL';
CREATE FUNCTION app.answers(OUT cached text, OUT own text) LANGUAGE plpgsql AS $$
BEGIN
    BEGIN cached := rolecall.project('p', '1'); EXCEPTION WHEN OTHERS THEN cached := SQLSTATE; END;
    BEGIN own := (SELECT doc FROM app.v WHERE uid = 1); EXCEPTION WHEN OTHERS THEN own := SQLSTATE; END;
END $$;
SQL

my $read = q(SELECT rolecall.project('p', '1'), rolecall.project('p', '1'));
my $compiled = function('r t;', 'r := ROW(1); RETURN to_jsonb(r);', 'jsonb');
my @cases = (
	[ 'a relation takes the name of a type', $compiled, 'CREATE TABLE s1.t (b int)' ],
	[ 'a view takes it', $compiled, 'CREATE VIEW s1.t AS SELECT 1 AS b' ],
	[ 'a relation is renamed so', $compiled, 'ALTER TABLE s1.x RENAME TO t' ],
	[ 'a relation is moved there', $compiled, 'ALTER TABLE app.t SET SCHEMA s1' ],
	[ 'a type takes it', $compiled, 'CREATE TYPE s1.t AS (c int)' ],
	[ 'a domain takes it', function('r d;', q(r := 'x'; RETURN r;)), q(CREATE DOMAIN s1.d AS text CHECK (VALUE <> 'x')) ],
	[ 'the type of a column', function('r app.o.a%TYPE;', 'r := 1.6; RETURN r;'), 'ALTER TABLE app.o ALTER a TYPE numeric(4, 1)' ],
	[ 'a schema is renamed so', function('r s3.t;', 'r := ROW(1); RETURN to_jsonb(r);', 'jsonb'), 'ALTER SCHEMA s3 RENAME TO s4; ALTER SCHEMA s5 RENAME TO s3' ],
	[ 'a schema may be used by its owner', $compiled, 'GRANT USAGE ON SCHEMA s1 TO app_owner', 'CREATE TABLE s1.t (b int); ALTER VIEW app.v OWNER TO app_owner; ALTER FUNCTION app.f OWNER TO app_owner; ALTER FUNCTION app.f SECURITY DEFINER; GRANT ALL ON ALL TABLES IN SCHEMA app TO app_owner; GRANT USAGE ON SCHEMA app, s2 TO app_owner' ],
	[ 'a role may use it', $compiled, 'GRANT grp TO app_owner', 'GRANT USAGE ON SCHEMA s1 TO grp; CREATE TABLE s1.t (b int); ALTER VIEW app.v OWNER TO app_owner; ALTER FUNCTION app.f OWNER TO app_owner; ALTER FUNCTION app.f SECURITY DEFINER; GRANT ALL ON ALL TABLES IN SCHEMA app TO app_owner; GRANT USAGE ON SCHEMA app, s2 TO app_owner' ]);
my $places = 'DROP SCHEMA IF EXISTS s3, s4, s5 CASCADE; CREATE SCHEMA s3; CREATE SCHEMA s5; CREATE TYPE s3.t AS (a int); CREATE TYPE s5.t AS (e int); CREATE TABLE s1.x (b int); CREATE TABLE app.t (f int); REVOKE grp FROM app_owner;';
sql('CREATE ROLE app_owner; CREATE ROLE grp');

sub build { my ($function, $setup, $first) = @_; return sql("$world $places " . ($first // '') . "$function $view $answers" . ($setup // '')); }

# What everybody reads in the end, where it is not what the view answers.
sub wrong { my ($node) = @_; return sql('SELECT cached, own FROM app.answers() WHERE cached IS DISTINCT FROM own'); }

# A session compiles the function; then definitions change; then it reads the document first. $by: who changes them, and how.
sub run_case {
	my ($case, $by) = @_;
	my (undef, $function, $change, $setup) = @$case;
	build($function, $setup);
	my $old = session($node);
	$old->query_safe($read);
	$by->($old, $change);
	$old->query($read);
	my $wrong = wrong();
	$old->query($read);
	my $later = wrong();
	$old->quit;
	return grep { $_ ne '' } $wrong, $later;
}
my %ways = (
	'by the session itself' => sub { my ($old, $change) = @_; $old->query_safe($change) },
	'by another session' => sub { my (undef, $change) = @_; sql($change) },
	'by a transaction that another prepared' => sub {
		my ($old, $change) = @_;
		sql("BEGIN; $change; PREPARE TRANSACTION 'x'");
		my $between = session($node);  # begins before the change is there
		$between->query_safe($read);
		$old->query_safe($read);
		sql(q(COMMIT PREPARED 'x'));
		$between->query($read);
		$between->quit;
	});
for my $case (@cases) {
	is_deeply([ run_case($case, $ways{$_}) ], [], "$case->[0], $_") for sort keys %ways;
}
set_fault($node, 70);
cmp_ok(scalar(run_case($cases[0], $ways{$_})), '>', 0, "seeded fault 70 is found: $cases[0][0], $_") for sort keys %ways;
cmp_ok(scalar(run_case($cases[6], $ways{'by another session'})), '>', 0, "seeded fault 70 is found: $cases[6][0]");
set_fault($node, 0);

# --- What is taken back was compiled all the same.
sub taken_back {
	my ($how) = @_;
	build($cases[6][1]);
	my $old = session($node);
	$old->query_safe($how);
	$old->query_safe($read);
	my $wrong = wrong();
	$old->quit;
	return $wrong;
}
my @taken_back = (
	[ 'a transaction', 'BEGIN; ALTER TABLE app.o ALTER a TYPE numeric(4, 1); SELECT app.f(1); ROLLBACK' ],
	[ 'a savepoint', 'BEGIN; SAVEPOINT s; ALTER TABLE app.o ALTER a TYPE numeric(4, 1); SELECT app.f(1); ROLLBACK TO s; COMMIT' ]);
is(taken_back($_->[1]), '', "compiled in $_->[0] that was rolled back") for @taken_back;
set_fault($node, 70);
isnt(taken_back($_->[1]), '', "seeded fault 70 is found: compiled in $_->[0] that was rolled back") for @taken_back;
set_fault($node, 0);

# --- Settings under which a function is compiled: what was set and reset, and what a function sets for those that it calls.
my $ambiguous = function(q(b text := 'var';), q(RETURN (SELECT max(b) FROM (VALUES ('x')) z(b));));
my $strict = function('a int; d text;', q(BEGIN SELECT 1 INTO STRICT a FROM app.users WHERE id = i + 1; EXCEPTION WHEN no_data_found THEN GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL; RETURN 'none' || d; END; RETURN 'found';));
my $several = function('a int;', q(BEGIN SELECT g INTO a FROM generate_series(1, 2) g; EXCEPTION WHEN too_many_rows THEN RETURN 'many'; END; RETURN a;));
for my $case (
	[ 'variable_conflict', $ambiguous, 'SET plpgsql.variable_conflict = use_column; SELECT app.f(1)' ],
	[ 'variable_conflict, reset', $ambiguous, 'SET plpgsql.variable_conflict = use_variable; SELECT app.f(1); RESET plpgsql.variable_conflict' ],
	[ 'print_strict_params, reset', $strict, 'SET plpgsql.print_strict_params = on; SELECT app.f(1); RESET plpgsql.print_strict_params' ],
	[ 'variable_conflict, of a function that runs as its owner', $ambiguous =~ s/SET search_path = s1, s2, pg_temp/SECURITY DEFINER/r, 'SET plpgsql.variable_conflict = use_column; SELECT app.f(1); RESET plpgsql.variable_conflict' ],
	[ 'variable_conflict, which a caller sets', "$ambiguous CREATE FUNCTION app.caller() RETURNS text SET plpgsql.variable_conflict = use_column LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN app.f(1); END \$\$;", 'SELECT app.caller()' ],
	[ 'extra_errors', $several, q(SET plpgsql.extra_errors = 'too_many_rows'; SELECT app.f(1)) ]) {
	my ($what, $function, $before) = @$case;
	build("SET plpgsql.variable_conflict = use_column; $function RESET plpgsql.variable_conflict;");
	sql(q(SELECT rolecall.invalidate('p', '1')));
	my $old = session($node);
	$old->query($before);
	$old->query($read);
	is(wrong(), '', "a function compiled under other settings: $what");
	$old->quit;
}

# Where a function that runs as its owner looks for names without a search_path of its own, its first caller decides.
sub by_path {
	my ($before) = @_;
	my $function = function('d date;', q(d := '20260101'; RETURN d;)) =~ s/SET search_path = s1, s2, pg_temp/SECURITY DEFINER/r;
	build($function, '', 'CREATE DOMAIN s2.date AS text;');
	my $old = session($node);
	$old->query_safe($before);
	$old->query_safe("UPDATE app.users SET name = name || '.'; $read");
	my $wrong = wrong();
	$old->quit;
	return $wrong;
}
my $other_path = 'SET search_path = s2, pg_catalog; SELECT app.f(1); RESET search_path';
is(by_path($_), '', "a function compiled under another search_path: $_") for $other_path, "$read; $other_path";
set_fault($node, 70);
isnt(by_path($other_path), '', 'seeded fault 70 is found: a function compiled under another search_path');
set_fault($node, 0);

# A function that runs as the view's owner must not leave its names to its callers: what a caller's domain checks would run as
# the view's owner.
my $plain = function('r text;', q(r := 'x'; RETURN r;));
sub with_path { my ($path) = @_; return $plain =~ s/SET search_path = s1, s2, pg_temp/$path/r; }
my $refused = qr/42501.*has no search_path that ends with pg_temp/s;
for my $path ('', 'SET search_path = s2', 'SET search_path = pg_temp, s2') {
	sql("$world $places " . with_path($path));
	like(error_of($node, $view), $refused, 'refused: a function ' . ($path || 'without a search_path'));
}
for my $path ('SET search_path = s2, pg_temp', 'SECURITY DEFINER') {
	build(with_path($path));
	is(sql(q(SELECT rolecall.project('p', '1') ->> 'd')), 'x', "not refused: $path");
}
build($plain);
sql(q(CREATE ROLE stranger LOGIN; CREATE SCHEMA stranger AUTHORIZATION stranger; GRANT USAGE ON SCHEMA app, rolecall TO stranger;
	GRANT SELECT ON app.v TO stranger; GRANT EXECUTE ON FUNCTION rolecall.project(name, text) TO stranger;
	ALTER FUNCTION app.f RESET search_path));
my (undef, undef, $said) = $node->psql('postgres', <<'SQL', extra_params => [ '-U', 'stranger', '-v', 'VERBOSITY=verbose' ]);
SET search_path = stranger, pg_catalog;
CREATE FUNCTION stranger.as_whom(t text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'it runs as %', current_user; RETURN true; END $$;
CREATE DOMAIN stranger.text AS pg_catalog.text CHECK (stranger.as_whom(VALUE));
SELECT app.f(1);
SELECT rolecall.project('p', '1');
SQL
like($said, qr/it runs as stranger/, 'a caller has a function compiled for a domain of its own');
like($said, $refused, '... and nobody reads the projection then');
unlike($said, qr/it runs as postgres/, "... as the view's owner");

# --- Who may install, and what is said of it.
sub reason { my ($session) = @_; return $session->query_safe(q(SELECT reason FROM rolecall.cache_entry('p', '1'))); }
build($compiled);
my $old = session($node);
$old->query_safe($read);
is(reason($old), '', 'a session that is younger than all definitions keeps documents');
sql('CREATE TABLE app.later (a int)');
my $skips = sql('SELECT not_installed_ddl FROM rolecall.stat_cache');
$old->query_safe($read);
like(reason($old), qr/^definitions have changed since this session began/, '... no more when they have changed, and says why');
cmp_ok(sql('SELECT not_installed_ddl FROM rolecall.stat_cache'), '>', $skips, '... which is counted');
$old->query_safe('BEGIN; CREATE TEMP TABLE x (a int); ROLLBACK');
like(reason($old), qr/^this session has changed definitions/, '... or has changed some itself');
my $young = session($node);
$young->query_safe($read);
is(reason($young), '', 'a session that begins afterwards keeps them');
is(reason($old), '', '... for the older one, too');
my $loads = sql(q(SELECT loads FROM rolecall.stat_projection WHERE projection = 'p'));
$old->query_safe($read);
is(sql(q(SELECT loads FROM rolecall.stat_projection WHERE projection = 'p')), $loads, '... which reads them from the cache');
$_->quit for $old, $young;

# The loader: one that begins now loads everything, one that was there before a change leaves the rest to the next.
sub loaded { $node->poll_query_until('postgres', q(SELECT phase = 'done' FROM rolecall.stat_progress WHERE projection = 'p')) or die; return; }
sql('INSERT INTO app.users SELECT g, g FROM generate_series(2, 3000) g');
sql(q(SELECT rolecall.reload('p')));
loaded();
is(sql(q(SELECT documents_loaded FROM rolecall.stat_progress WHERE projection = 'p')), 3000, 'the loader keeps documents of functions with a text');
hold($node, 'pass-before-install');
sql(q(SELECT rolecall.reload('p')));
wait_at($node, 'pass-before-install');
my $loader = sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall loader'));
sql('CREATE TABLE s1.t (b int)');
release($node, 'pass-before-install');
loaded();
is(sql(q(SELECT documents_loaded FROM rolecall.stat_progress WHERE projection = 'p')), 3000, 'a change while it loads: all documents are loaded in the end');
isnt(sql(qq(SELECT pid FROM pg_stat_activity WHERE pid = $loader)), $loader, '... by another process');
is(wrong(), '', '... as the view answers now');
is(sql(q(SELECT count(*) FROM app.users WHERE NOT (SELECT cached FROM rolecall.cache_entry('p', id::text)))), 0, '... and all are cached');

# A session that begins while definitions are being changed may have compiled something on either side of it.
build($compiled);
my $changing = session($node);
$changing->query_safe(q(BEGIN; CREATE TABLE s1.t (b int); PREPARE TRANSACTION 'y'));
my $between = session($node);
sql(q(ROLLBACK PREPARED 'y'));
$between->query_safe($read);
like(reason($between), qr/^definitions have changed since this session began/, 'a session that began beside a prepared change keeps nothing');
$_->quit for $changing, $between;
my $survivor = session($node);
sql(q(BEGIN; CREATE TABLE s1.t (b int); PREPARE TRANSACTION 'z'));
$survivor->quit;
$node->restart;
$between = session($node);
$between->query_safe($read);
sql(q(COMMIT PREPARED 'z'));
$between->query_safe($read);
is(wrong(), '', 'a prepared change that survives a restart');
$between->quit;

# What a language compiles without a call.
build($ambiguous =~ s/s1, s2, pg_temp/pg_catalog, pg_temp/r, '', 'SET plpgsql.variable_conflict = use_column;');
my $validating = session($node);
$validating->query_safe(q(SET plpgsql.variable_conflict = use_column; SELECT plpgsql_validator('app.f'::regproc); RESET plpgsql.variable_conflict));
$validating->query($read);
is(wrong(), '', 'a function that was compiled by its validator');
$validating->quit;

# Catalogs that are written by hand, and what is called afterwards.
build(function('', q(RETURN 'x';)) . 'ALTER TABLE app.users ADD more int;', 'CREATE VIEW app.w AS SELECT id AS uid, to_jsonb(u) AS doc FROM app.users u;'
	  . q(SELECT rolecall.create_projection('w', 'app.w', 'uid', 'doc', watches => '{"app.users": "id"}')));
sql(q(SELECT rolecall.project('w', '1'), rolecall.project('w', '1')));
sql(q(SET allow_system_table_mods = on; UPDATE pg_attribute SET attname = 'by_hand' WHERE attrelid = 'app.users'::regclass AND attname = 'more'));
sql(q(SELECT rolecall.repair_projection('p')));
is(sql(q(SELECT rolecall.project('w', '1') = (SELECT doc FROM app.w WHERE uid = 1))), 't', 'repairing any projection makes all documents unusable, after catalogs were written by hand');

# --- At random: sessions that live long and others that are new, which compile, change, take back and read.
build(function('r t; n app.o.a%TYPE; x d;', q(r := ROW(1); n := 1.6; x := 'x'; RETURN concat_ws(' ', to_jsonb(r), n, x);)));
my @changes = (
	'CREATE TABLE s1.t (b int)', 'CREATE TYPE s1.t AS (c int)', 'DROP TABLE IF EXISTS s1.t', 'DROP TYPE IF EXISTS s1.t', 'CREATE VIEW s1.t AS SELECT 1 AS g', 'DROP VIEW IF EXISTS s1.t',
	'ALTER TABLE app.o ALTER a TYPE numeric(4, 1)', 'ALTER TABLE app.o ALTER a TYPE int', 'ALTER TABLE app.o ALTER a TYPE text USING a::text',
	q(CREATE DOMAIN s1.d AS text DEFAULT 'y'), q(CREATE DOMAIN s1.d AS char(3)), 'DROP DOMAIN IF EXISTS s1.d', 'ALTER TYPE s2.t RENAME ATTRIBUTE a TO h', 'ALTER TYPE s2.t RENAME ATTRIBUTE h TO a',
	'ALTER TABLE s1.x RENAME TO t', 'ALTER TABLE s1.t RENAME TO x', q(UPDATE app.users SET name = name || '.' WHERE id = 1));
my @ends = ('COMMIT', 'COMMIT', 'ROLLBACK', q(PREPARE TRANSACTION 'r'; COMMIT PREPARED 'r'), q(PREPARE TRANSACTION 'r'; ROLLBACK PREPARED 'r'));
sub pick { return $_[ int rand @_ ]; }
my @living = map { session($node) } 1 .. 4;
my (@history, @found);
my $rounds = $ENV{ROLECALL_ROUNDS} // 150;
my $hits = 0;
for my $round (1 .. $rounds) {
	my $who = int rand @living;
	my $what = pick(
		$read, $read, pick(@changes),
		'BEGIN; ' . pick(@changes) . "; $read; " . pick(@ends),
		'BEGIN; SAVEPOINT s; ' . pick(@changes) . '; SELECT app.f(1); ROLLBACK TO s; ' . pick('', pick(@changes) . ';') . pick(@ends),
		'reconnects');
	push @history, "session $who: $what";
	if ($what eq 'reconnects') { $living[$who]->quit; $living[$who] = session($node); }
	else { $living[$who]->query($what); $living[$who]->query('ROLLBACK'); }
	$living[ int rand @living ]->query($read);
	my $answer = sql('SELECT * FROM app.answers()');
	my ($cached, $own) = split /\|/, $answer;
	$hits += sql(q(SELECT cached::int FROM rolecall.cache_entry('p', '1')));
	push @found, "round $round: $answer\n  " . join("\n  ", @history[ -8 .. -1 ]) if $cached ne $own;
}
is(scalar(@found), 0, "seed $seed: what everybody reads is what the view answers, in $rounds rounds") or diag($found[0]);
cmp_ok($hits, '>', $rounds / 4, 'documents were cached');
$_->quit for @living;
$node->stop;

done_testing();
