# Definitions and rows, at random: projections over an application's tables, whose functions, types, columns, partitions,
# policies and rights change in every way, beside the built-in directory. A document must be what its view answers, in every
# session, at any time, and where the one is an error the other must be. test/checker/definitions has the parts.
#
#   ROLECALL_CHECKS  how many documents are compared: two thirds of it here
#   ROLECALL_SEED    repeats a run; the scripts of its sessions are in tmp_check/definitions_SEED
#   ROLECALL_SWEEP   all: each unit of DDL by itself in each way, which takes an hour
#   ROLECALL_KITS    only these kits, by their names
#   ROLECALL_FAULT   a seeded fault, to see it found
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib', 'test/checker/definitions';
use Rolecall::Test;
use World;
use Tables;
use Code;
use Rights;
use Rounds;
use Script;
use Sweep;

my $seed = $ENV{ROLECALL_SEED} // time;
my $wanted = ($ENV{ROLECALL_CHECKS} // 300_000) * 2 / 3;
my $sweep = $ENV{ROLECALL_SWEEP} // 'some';
diag("ROLECALL_SEED=$seed");
srand($seed);

my $node = new_node('definitions', <<'CONF');
max_connections = 60
autovacuum_naptime = 1s
deadlock_timeout = 30ms
jit = off
max_locks_per_transaction = 256
CONF
$Script::server_version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $directory = "${PostgreSQL::Test::Utils::tmp_check}/definitions_$seed";
mkdir $directory;
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall');
$node->safe_psql('postgres', checker_sql());

if ($ENV{ROLECALL_KITS}) { my %only = map { $_ => 1 } split /,/, $ENV{ROLECALL_KITS}; @kits = grep { $only{ $_->{name} } } @kits; }
for my $kit (@kits) {
	$node->safe_psql('postgres', $kit->{builtin} ? $kit->{setup} . oracle_sql($kit) : build_kit($kit));
}
my @applications = grep { !$_->{builtin} } @kits;

sub describe {
	my ($d) = @_;
	return "projection $d->{kit}, key $d->{key}\n  cached: $d->{cached}\n  view:   $d->{own}\n" . join '', map { "  before: $_\n" } @{ $d->{last} };
}

sub unit_named {
	my ($kit, $name) = @_;
	my ($unit) = grep { $_->[0] eq $name } units_of($kit);
	return $unit->[1]->();
}

# --- Each guard of definitions is switched off once, and is missed.
my @faults = (
	[ 18, 'fn', 'function f is replaced', 'by itself' ],
	[ 24, 'co', 'triggers disabled, rows', 'in a transaction' ],
	[ 30, 'vw', 'view middle is replaced', 'with a snapshot older than the projection' ],
	[ 32, 'at', 'function reads a table', 'by itself' ],
	[ 33, 'fn', 'function g is replaced', 'in a prepared transaction' ],
	[ 34, 'fn', 'function h is replaced', 'and read by the session itself' ],
	[ 35, 'co', 'attributes change names', 'in a savepoint' ],
	[ 60, 'fn', 'function inside reads a table', 'by itself' ]);
for my $fault (@faults) {
	my ($number, $kit, $what, $way) = @$fault;
	next if !grep { $_->{name} eq $kit } @kits;
	set_fault($node, $number);
	my (undef, $verdict) = alone($node, $directory, $kits{$kit}, $what, $way, unit_named($kits{$kit}, $what));
	set_fault($node, 0);
	cmp_ok(scalar(@{ $verdict->{different} }), '>', 0, "seeded fault $number is found: $kit: $what, $way");
}
set_fault($node, $ENV{ROLECALL_FAULT}) if $ENV{ROLECALL_FAULT};

# --- What the body of a function means depends on the session: on the plan that it kept, on the settings under which that
# was made, on its temporary objects. What one session makes of it must not become everybody's.
sub np_function { my ($body) = @_; return "CREATE OR REPLACE FUNCTION np.f(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = np_first, np, pg_catalog, pg_temp AS \$\$ $body \$\$;"; }
my @np_cases = (
	[ 'a function that comes later and takes a name', 'BEGIN RETURN inside(t); END', q(SELECT rolecall.project('np', '1') FROM generate_series(1, 2)),
		q(CREATE FUNCTION np_first.inside(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN t || ' new'; END $$), 'ada new' ],
	[ 'a table that comes later, which it names', q(BEGIN PERFORM NULL::np.place; RETURN t || ' there'; EXCEPTION WHEN undefined_object THEN RETURN t || ' not there'; END),
		q(SELECT rolecall.project('np', '1') FROM generate_series(1, 2)), 'CREATE TABLE np.place (city text)', 'ada there' ],
	[ 'a plan made in another time zone', q(BEGIN RETURN t || ('2026-01-01 00:00'::timestamptz AT TIME ZONE 'UTC'); END),
		q(SET TimeZone = 'Asia/Tokyo'; SELECT np.f('ada'); RESET TimeZone), 'SELECT', 'ada2026-01-01 00:00:00' ],
	[ 'a plan made with another order of dates', q(BEGIN RETURN t || '01-02-2026'::date; END), q(SET DateStyle = 'ISO, DMY'; SELECT np.f('ada'); RESET DateStyle), 'SELECT', 'ada2026-01-02' ],
	[ 'a temporary type', q(DECLARE r shape; BEGIN r := ROW('x'); RETURN t || to_jsonb(r)::text; END), 'CREATE TEMP TABLE shape (evil text)', 'SELECT', 'ada{"a": "x"}' ],
	[ 'assertions that a session does not check', q(BEGIN BEGIN ASSERT t IS NULL; EXCEPTION WHEN assert_failure THEN RETURN t; END; RETURN 'not checked'; END), 'SET plpgsql.check_asserts = off', 'SELECT', 'ada' ]);
# What everybody reads after one session has read in its own way.
sub np_read {
	my ($body, $before, $then) = @_;
	$node->safe_psql('postgres', <<'SQL' . np_function($body));
CREATE SCHEMA np; CREATE SCHEMA np_first;
CREATE TABLE np.users (id bigint PRIMARY KEY, name text);
INSERT INTO np.users VALUES (1, 'ada');
CREATE TYPE np.shape AS (a text);
CREATE FUNCTION np.inside(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN t || ' old'; END $$;
SQL
	$node->safe_psql('postgres', q(CREATE VIEW np.v AS SELECT id AS uid, jsonb_build_object('n', np.f(name)) AS doc FROM np.users;
		SELECT rolecall.create_projection('np', 'np.v', 'uid', 'doc', watches => '{"np.users": "id"}')));
	$node->safe_psql('postgres', q(SELECT rolecall.invalidate('np', '1')));
	my $kept = session($node);
	$kept->query($before);
	$node->safe_psql('postgres', $then);
	$kept->query(q(SELECT rolecall.project('np', '1') FROM generate_series(1, 2)));
	my $read = $node->safe_psql('postgres', q(SELECT rolecall.project('np', '1') ->> 'n'));
	$kept->quit;
	$node->safe_psql('postgres', q(SELECT rolecall.drop_projection('np'); DROP SCHEMA np, np_first CASCADE));
	return $read;
}
for my $case (@np_cases) {
	my ($what, $body, $before, $then, $right) = @$case;
	is(np_read($body, $before, $then), $right, "what one session makes of a function is not everybody's: $what");
}
for my $fault ([ 37, $np_cases[1] ], [ 36, $np_cases[2] ]) {
	my ($number, $case) = @$fault;
	set_fault($node, $number);
	isnt(np_read(@$case[ 1 .. 3 ]), $case->[4], "seeded fault $number is found: $case->[0]");
	set_fault($node, 0);
}

# A string that standard_conforming_strings decides about stays as a session has read it: such a function is refused.
$node->safe_psql('postgres', q(CREATE SCHEMA np; CREATE TABLE np.users (id bigint PRIMARY KEY, name text)));
for my $case ([ q('a\tb'), 'refused' ], [ q(E'a\tb'), 'admitted' ]) {
	my ($string, $verdict) = @$case;
	$node->safe_psql('postgres', np_function("BEGIN RETURN t || length($string); END") . q(
		CREATE OR REPLACE VIEW np.v AS SELECT id AS uid, jsonb_build_object('n', np.f(name)) AS doc FROM np.users));
	my $error = error_of($node, q(BEGIN; SELECT rolecall.create_projection('np', 'np.v', 'uid', 'doc', watches => '{"np.users": "id"}'); ROLLBACK));
	my $is_refused = $error =~ /42P17.*function np\.f\(text\) has a string that standard_conforming_strings reads in two ways/s;
	is($is_refused ? 'refused' : $error ? $error : 'admitted', $verdict, "a function with $string");
}
$node->safe_psql('postgres', 'DROP SCHEMA np CASCADE');

# --- Each unit by itself.
sub run_unit {
	my ($kit, $what, $way, @statements) = @_;
	my ($hits, $verdict) = alone($node, $directory, $kit, $what, $way, @statements);
	my @different = @{ $verdict->{different} };
	ok(!@different, "$kit->{name}: $what, $way") or diag(scalar(@different), ' of ', $verdict->{compared}, "\n", join(";\n", @statements), "\n", describe($different[0]));
	note("errors: $_") for keys %{ $verdict->{errors} };
	note("refused: $_") for keys %{ $verdict->{refused} };
	return $hits;
}
my %hits;
for my $kit (@applications) {
	for my $unit (map({ [ @$_, 0 ] } units_of($kit)), map({ [ @$_, 1 ] } @{ $kit->{alone} // [] })) {
		my ($what, $statements, $is_alone) = @$unit;
		next if $sweep eq 'none' || $sweep eq 'some' && rand() > 0.3;
		for my $way ($sweep eq 'all' ? ways_alone($is_alone) : pick(ways_alone($is_alone))) {
			$hits{ $kit->{name} } += run_unit($kit, $what, $way, $statements->());
		}
	}
}
cmp_ok($hits{$_}, '>', 0, "documents of $_ came from the cache") for sort keys %hits;

# --- All at once.
my $found = run_rounds($node, $directory, sub { my ($total) = @_; return $total->{compared} >= $wanted || @{ $total->{different} } > 100 }, @kits);
my %shown;
for my $d (@{ $found->{different} }) { diag("seed $seed, $d->{when}: " . describe($d)) if $shown{"$d->{kit} $d->{when}"}++ < 1; }
is(scalar(@{ $found->{different} }), 0, "documents compared: $found->{compared}, in $found->{rounds} rounds with $found->{changes} changes of definitions");
cmp_ok($found->{compared}, '>=', $wanted, "enough was compared; $found->{undecided} fell into a change");
for my $counts (qw(errors refused)) {
	note("$counts:");
	note("  $found->{$counts}{$_} $_") for sort { $found->{$counts}{$b} <=> $found->{$counts}{$a} } keys %{ $found->{$counts} };
}
# A checker that never hits proves nothing.
cmp_ok($found->{hits}, '>', $found->{compared} / 5, "hits: $found->{hits}, misses: $found->{misses}");
$node->stop;

done_testing();
