# Scripts for psql: what a session of the definitions checker does in one round, and how it compares.
#
# A comparison prints "C|kit|keys|differences|begin|end|details". What changes definitions prints "B|number|time|kit|what"
# before it may become visible and "E|number|time" after: a difference counts if no such stretch touches the comparison.
# The two sides of a comparison read the catalogs one after the other; what commits in between, they may see differently.
package Script;

use strict;
use warnings;

use Exporter 'import';
use World;

our @EXPORT = qw(compare_all compare careful writer_script reader_script change changed ways_of in_way settings $server_version);

our $server_version = 15;
my $changes = 0;
my $absent = 0;

sub list_of { my (@keys) = @_; return 'ARRAY[' . join(', ', map { "'$_'" } @keys) . ']'; }
sub some_keys { my ($kit) = @_; return @{ $kit->{keys} } if rand() < 0.4; my $from = number(scalar @{ $kit->{keys} } - 3); return @{ $kit->{keys} }[ $from .. $from + 3 ]; }

my $now = 'extract(epoch FROM clock_timestamp())';
my $statement_begin = 'extract(epoch FROM statement_timestamp())';

# One statement compares the documents of these keys with the view's. $begin: an SQL expression, or the variable :t0.
sub compare {
	my ($kit, $begin, @keys) = @_;
	my $list = list_of(@keys);
	return <<"SQL";
SELECT 'C', '$kit->{name}', count(*), count(*) FILTER (WHERE differs), $begin, $now, jsonb_agg(jsonb_build_array(k, cached, own)) FILTER (WHERE differs) FROM
(SELECT c.k, c.cached, o.doc AS own, c.cached IS DISTINCT FROM o.doc AS differs FROM (SELECT k, $kit->{project} AS cached FROM unnest($list) k OFFSET 0) c
LEFT JOIN checker.own_$kit->{name}($list) o ON o.k = c.k OFFSET 0) d;
SQL
}

# The same in parallel workers.
sub compare_parallel {
	my ($kit, $begin) = @_;
	return <<"SQL";
SELECT 'C', '$kit->{name}', count(*), count(*) FILTER (WHERE sides->1 IS DISTINCT FROM sides->2), $begin, $now, jsonb_agg(sides) FILTER (WHERE sides->1 IS DISTINCT FROM sides->2) FROM
(SELECT jsonb_build_array(k, $kit->{project}, checker.own1_$kit->{name}(k)) AS sides FROM checker.keys WHERE kit = '$kit->{name}' OFFSET 0) d;
SQL
}

# The same where each side may be an error: both must be, or neither. Refusals are looked at by the judge.
sub careful {
	my ($kit, $begin, @keys) = @_;
	my $list = list_of(@keys);
	return <<"SQL";
SELECT 'C', '$kit->{name}', count(*), count(*) FILTER (WHERE differs), $begin, $now, jsonb_agg(jsonb_build_array(k, cached, own, cached_error, own_error)) FILTER (WHERE differs) FROM
(SELECT c.*, cached IS DISTINCT FROM own OR (cached_error IS NULL) <> (own_error IS NULL) AS differs FROM checker.careful('$kit->{name}', $list) c OFFSET 0) d;
SQL
}

# A look-up that cannot be answered by what this session knows already: it accepts what others have announced.
sub accept_messages { $absent++; return "SELECT to_regclass('checker.absent_$absent') IS NULL AS absent, $statement_begin AS t0 \\gset\n"; }

# Compares once; where that is an error, carefully.
sub compare_or_careful {
	my ($kit) = @_;
	my @keys = some_keys($kit);
	return careful($kit, $statement_begin, @keys) if rand() < 0.15;
	return compare($kit, $statement_begin, @keys) . "\\if :ERROR\n" . careful($kit, $statement_begin, @keys) . "\\endif\n";
}

# All keys of a kit.
sub compare_all {
	my ($kit, $begin) = @_;
	my @arguments = ($kit, $begin // $statement_begin, @{ $kit->{keys} });
	return compare(@arguments) . "\\if :ERROR\n" . careful(@arguments) . "\\endif\n";
}

# In a transaction block: after an error the rest of it is skipped by the server.
sub compare_inside { my ($kit) = @_; return accept_messages() . compare($kit, ':t0', some_keys($kit)); }

sub change { my ($kit, $what) = @_; $changes++; return "\\unset t\nSELECT $now AS t \\gset\n\\echo B|$changes|:t|$kit->{name}|$what\n"; }
sub changed { return "SELECT $now AS t \\gset\n\\echo E|$changes|:t\n"; }

sub rows { my ($kit) = @_; return join '', map { pick(@{ $kit->{rows} })->($kit) . ";\n" } 0 .. number(2); }

sub as_plpgsql { my (@statements) = @_; return join '', map { s/^SELECT/PERFORM/r . ";\n" } @statements; }

# The ways in which DDL may be run; each takes a kit, what it is called, and its statements, and returns a script.
my %ways = (
	'by itself' => sub { my ($kit, $what, @s) = @_; return change($kit, $what) . join('', map { "$_;\n" } @s) . changed() },
	'in a transaction' => sub { my ($kit, $what, @s) = @_;
		return 'BEGIN ISOLATION LEVEL ' . pick('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE') . ";\nSELECT 1 AS one \\gset\n" . join('', map { "$_;\n" } @s)
		  . (rand() < 0.4 ? compare_inside(pick($kit, pick(@kits))) : '') . (rand() < 0.3 ? rows($kit) : '') . change($kit, $what) . "COMMIT;\n" . changed() },
	'in a transaction with an older snapshot' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . compare_inside(pick(@kits)) . compare_inside(pick(@kits)) . join('', map { "$_;\n" } @s)
		  . change($kit, $what) . "COMMIT;\n" . changed() },
	'and read by the session itself' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN;\n" . join('', map { "$_;\n" } @s) . accept_messages() . compare_all($kit, ':t0') . change($kit, $what) . "COMMIT;\n" . changed() },
	'in DO' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN;\nDO \$do\$ BEGIN\n" . as_plpgsql(@s) . "END \$do\$;\n" . change($kit, $what) . "COMMIT;\n" . changed() },
	'in a function' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN;\nSELECT checker.run(ARRAY[" . join(', ', map { "\$s\$$_\$s\$" } @s) . "]);\n" . change($kit, $what) . "COMMIT;\n" . changed() },
	'in a savepoint' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN;\nSAVEPOINT a;\n" . join('', map { "$_;\n" } @s) . "RELEASE a;\n" . change($kit, $what) . "COMMIT;\n" . changed() },
	'again after a savepoint that is rolled back' => sub { my ($kit, $what, @s) = @_;
		my $statements = join('', map { "$_;\n" } @s);
		return "BEGIN;\nSAVEPOINT a;\n$statements" . (rand() < 0.5 ? compare_inside($kit) : '') . "ROLLBACK TO a;\n" . (rand() < 0.5 ? compare_inside($kit) : '')
		  . (rand() < 0.7 ? $statements : '') . change($kit, $what) . "COMMIT;\n" . changed() },
	'after an error that was caught' => sub { my ($kit, $what, @s) = @_;
		my $statements = as_plpgsql(@s);
		return "BEGIN;\nDO \$do\$ BEGIN\nBEGIN\n${statements}RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;\n${statements}END \$do\$;\n" . change($kit, $what) . "COMMIT;\n" . changed() },
	'and rolled back' => sub { my ($kit, $what, @s) = @_;
		return "BEGIN;\n" . join('', map { "$_;\n" } @s) . (rand() < 0.5 ? compare_inside($kit) : '') . "ROLLBACK;\n" },
	'as a replica' => sub { my ($kit, $what, @s) = @_;
		return "SET session_replication_role = replica;\nBEGIN;\n" . join('', map { "$_;\n" } @s) . change($kit, $what) . "COMMIT;\n" . changed() . "RESET session_replication_role;\n" },
	'without event triggers' => sub { my ($kit, $what, @s) = @_;
		my $setting = $server_version >= 17 ? 'event_triggers' : 'checker.none';
		return "SET $setting = off;\nBEGIN;\n" . join('', map { "$_;\n" } @s) . change($kit, $what) . "COMMIT;\n" . changed() . "RESET $setting;\n" },
	'in a prepared transaction' => sub { return prepared('COMMIT', @_) },
	'in a prepared transaction that is rolled back' => sub { return prepared('ROLLBACK', @_) });

sub prepared {
	my ($end, $kit, $what, @s) = @_;
	my $gid = 'checker_' . number(1e9);
	return "BEGIN;\n" . join('', map { "$_;\n" } @s) . "PREPARE TRANSACTION '$gid';\n" . (rand() < 0.5 ? compare_inside(pick(@kits)) : '')
	  . change($kit, $what) . "$end PREPARED '$gid';\n" . changed();
}

# A projection that is dropped and made again must not be lost by half of it.
sub in_some_way {
	my ($kit, $what, @statements) = @_;
	my $is_whole = grep { /drop_projection|DROP VIEW|DROP TABLE/ } @statements;
	my $way = rand() < 0.3 && !$is_whole ? 'by itself' : pick(grep { !$is_whole || $_ ne 'by itself' } ways_of());
	return in_way($way, $kit, "$what, $way", @statements);
}

sub ways_of { return sort keys %ways; }
sub in_way { my ($way, @arguments) = @_; return $ways{$way}->(@arguments); }

sub settings { return "\\set ON_ERROR_STOP off\n\\set VERBOSITY terse\nSET lock_timeout = '60ms';\nSET client_min_messages = error;\n"; }

my $header = <<'SQL';
\set ON_ERROR_STOP off
\set VERBOSITY terse
\pset tuples_only on
\pset format unaligned
SET lock_timeout = '60ms';
SET statement_timeout = '20s';
SET client_min_messages = error;
SQL

# What writes: units of DDL in random ways, rows, and readings in between, of what it has just changed and of others.
sub writer_script {
	my ($steps, @of) = @_;
	my $script = $header . sprintf "SET app.tenant = 'tenant %d';\n", number(3);
	for (1 .. $steps) {
		my $kit = pick(@of);
		if (rand() < 0.5) {
			$script .= rand() < 0.7 ? rows($kit) : "BEGIN;\n" . rows($kit) . (rand() < 0.3 ? "SAVEPOINT s;\n" . rows($kit) . "ROLLBACK TO s;\n" : '') . pick("COMMIT;\n", "COMMIT;\n", "ROLLBACK;\n");
		}
		elsif ($kit->{alone} && rand() < 0.3) {
			my ($what, $statements) = @{ pick(@{ $kit->{alone} }) };
			$script .= change($kit, $what) . join('', map { "$_;\n" } $statements->()) . changed();
		}
		else {
			my ($what, $statements) = @{ pick(units_of($kit)) };
			$script .= in_some_way($kit, $what, $statements->());
		}
		$script .= compare_or_careful($kit) for 0 .. 1;
		$script .= compare_or_careful(pick(@of));
	}
	return $script;
}

my %readings = (
	committed => [ 50, sub { return compare_or_careful(pick(@_)) } ],
	repeatable => [ 10, sub { my $kit = pick(@_); return "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . compare_inside($kit) . compare_inside(pick(@_)) . compare_inside($kit) . "COMMIT;\n" } ],
	open => [ 6, sub { my $kit = pick(@_); return "BEGIN;\n" . compare_inside($kit) . compare_inside(pick(@_)) . compare_inside($kit) . "COMMIT;\n" } ],
	serializable => [ 4, sub { my $kit = pick(@_); return 'BEGIN ISOLATION LEVEL SERIALIZABLE' . pick('', ', READ ONLY') . ";\n" . compare_inside($kit) . compare_inside($kit) . "COMMIT;\n" } ],
	parallel => [ 3, sub {
		my $force = $server_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
		my @settings = ("$force = on", 'parallel_setup_cost = 0', 'parallel_tuple_cost = 0', 'min_parallel_table_scan_size = 0');
		return join('', map { "SET $_;\n" } @settings) . compare_parallel(pick(@_), $statement_begin) . join('', map { 'RESET ' . s/ = .*//r . ";\n" } @settings) } ],
	own_rows => [ 4, sub { my $kit = pick(@_); return "BEGIN;\n" . rows($kit) . compare_inside($kit) . "SAVEPOINT s;\n" . rows($kit) . compare_inside($kit) . "ROLLBACK TO s;\n" . compare_inside($kit) . pick('COMMIT', 'ROLLBACK') . ";\n" } ]);
my @readings = map { ($_) x $readings{$_}[0] } sort keys %readings;

sub reader_script {
	my ($steps, @of) = @_;
	my $script = $header . sprintf "SET app.tenant = 'tenant %d';\n", number(3);
	for (1 .. $steps) {
		$script .= $readings{ pick(@readings) }[1]->(@of);
	}
	return $script;
}

1;
