# Every function of the library, called in every way that SQL has: with NULLs and hostile values of each type, declared
# with other arguments and results (which is a superuser's to do), as a trigger of each timing, as an event trigger, in
# aggregates, windows, parallel workers, indexes, and by the extended protocol. A wrong use is an error with an SQLSTATE
# of its own; none is an internal error, and the server stays up. scripts/check runs this on a server with assertions too.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('calls', "restart_after_crash = off\nmax_worker_processes = 20\n");
create_extension($node);
my $version = $node->safe_psql('postgres', q(SELECT current_setting('server_version_num')::int));
note('assertions: ' . $node->safe_psql('postgres', 'SHOW debug_assertions'));

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA odd;
CREATE ROLE caller;
GRANT USAGE ON SCHEMA rolecall, odd TO caller;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rolecall TO caller;
CREATE TABLE odd.results (what text, statement text, state text, message text);
GRANT INSERT ON odd.results TO caller;
-- What a statement comes to: '00000', or the error's SQLSTATE.
CREATE PROCEDURE odd.attempt(what text, statement text) LANGUAGE plpgsql AS $$
DECLARE
    state text = '00000';
    message text;
BEGIN
    BEGIN
        EXECUTE statement;
        IF statement !~ '^CREATE (FUNCTION|PROCEDURE) [^;]*$' THEN
            RAISE EXCEPTION USING ERRCODE = 'ZZ001';  -- nothing stays of it
        END IF;
    EXCEPTION WHEN OTHERS THEN
        state := CASE SQLSTATE WHEN 'ZZ001' THEN '00000' ELSE SQLSTATE END;
        message := SQLERRM;
    END;
    INSERT INTO odd.results VALUES (what, left(statement, 500), state, message);
END $$;
GRANT ALL ON PROCEDURE odd.attempt(text, text) TO caller;
SQL

# Runs statements of one kind, and looks at what they came to: $allowed names the SQLSTATEs that there may be.
sub attempt_all {
	my ($what, $allowed, @statements) = @_;
	my $script = "SET client_min_messages = error;\n";
	$script .= "CALL odd.attempt(\$w\$$what\$w\$, \$attempt\$$_\$attempt\$);\n" for @statements;
	my $error = '';
	my $code = $node->psql('postgres', $script, stderr => \$error, extra_params => [ '-v', 'ON_ERROR_STOP=0' ]);
	is($code, 0, "$what: the session lives") or diag(substr($error, -2000));
	BAIL_OUT("the server is down after: $what") if $node->psql('postgres', 'SELECT 1') != 0;
	my $wrong = $node->safe_psql('postgres', "SELECT state || ' ' || message || ' <= ' || statement FROM odd.results WHERE what = \$w\$$what\$w\$ AND state <> ALL ('{00000,$allowed}') ORDER BY state, statement LIMIT 20");
	is($wrong, '', "$what: nothing but $allowed");
	is($node->safe_psql('postgres', "SELECT count(*) FROM odd.results WHERE what = \$w\$$what\$w\$"), scalar(@statements), "$what: " . @statements . ' statements');
	return;
}

# What statements are about.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE odd.plain (id bigint, doc text, j jsonb);
CREATE TABLE odd.without_id (dropped int, a int, key uuid DEFAULT gen_random_uuid());
ALTER TABLE odd.without_id DROP dropped;
CREATE TABLE odd.text_id (id text, a numeric);
CREATE TABLE odd.parted (id bigint, a int) PARTITION BY LIST (id);
CREATE TABLE odd.part PARTITION OF odd.parted DEFAULT;
CREATE VIEW odd.seen AS SELECT * FROM odd.plain;
SQL

# ---- The values of each type --------------------------------------------------------------------------------

my @json = ('null', 'true', '1', '-0.0', '1e400', '""', '"sub"', '[]', '{}', '[[]]', '[{}]', '[null]', '{"sub": null}', '{"sub": 1}', '{"sub": []}', '{"sub": {"sub": "1"}}',
	'{"roles": null}', '{"roles": {}}', '{"roles": [null, 1, [], {}, "", "a@b", {"role": 1}, {"role": "x", "on": []}]}', '{"roles": [{"role": "x", "on": {"a": 1}}]}',
	'{"roles": [{"role": "x", "on": {"a": "b", "c": "d"}}]}', '{"code": 1, "roles": []}', '["AAA\u0001AAA\u0001", "abc", "XXXXXXXXXsub"]', '{"": ""}', '[[[[[[[[[[]]]]]]]]]]');
my $deep = q((repeat('[', 3000) || repeat(']', 3000)));
my $wide = q((SELECT '{' || string_agg(format('"k%s": %s', g, g), ',') || '}' FROM generate_series(1, 20000) g));
my %values = (
	regclass => [ q('odd.seen'), q('odd.plain'), '0', '1', '4294967295', q('pg_class'), q('rolecall.users'), q('rolecall.me_view'), q('rolecall.users_id_seq') ],
	interval => [ q('1 hour'), q('0'), q('-1 second'), q('178000000 years'), q('1 month -30 days') ],
	'timestamp with time zone' => [ 'now()', q('infinity'), q('-infinity'), q('4714-11-24 BC') ],
	bigint => [ '1', '0', '-1', '9223372036854775807', '(-9223372036854775808)' ],
	boolean => [ 'true', 'false' ],
	oid => [ '0', '1', '1417', '1418', '4294967295' ],
	uuid => [ q('00000000-0000-0000-0000-000000000000'), q('ffffffff-ffff-ffff-ffff-ffffffffffff') ],
	name => [ q('me'), q(''), q('nobody'), q(repeat('x', 63)), q(repeat('x', 1000)), q(E'\u00e9\n') ],
	text => [ q('1'), q(''), q('me'), q('x'), q(repeat('x', 63)), q(repeat('x', 4097)), q(repeat('x', 1048576)), q(repeat('9', 400)), q(E'\x01\n\u00e9'), q('{}'),
		'(SELECT t FROM odd.stored WHERE n = 1)', '(SELECT t FROM odd.stored WHERE n = 2)', '(SELECT t FROM odd.stored WHERE n = 3)' ],
	jsonb => [ (map { "'$_'" } @json), "$deep", "$wide", q(to_jsonb(repeat('x', 1048576))), q((SELECT t::jsonb FROM odd.stored WHERE n = 4)) ],
	'bigint[]' => [ q('{1}'), q('{}'), q('{NULL}'), q('{1,NULL,0,-1}'), q('{{1,2},{3,NULL}}'), q('[5:6]={1,2}'), q('{{{1}},{{2}}}'), 'array_fill(1::bigint, ARRAY[20000])' ],
	'uuid[]' => [ q('{}'), q('{NULL}'), q('{{00000000-0000-0000-0000-000000000000}}'), q('{00000000-0000-0000-0000-000000000000}') ],
	'text[]' => [ q('{}'), q('{NULL}'), q('{1}'), q('{a=b,c=,=,"",a=b}'), q('{{a=b,c=d},{e=f,NULL}}'), q('[5:6]={a=1,b}'), q(ARRAY[repeat('x', 1048576)]), q(ARRAY['base_url=' || repeat('x', 1048576)]),
		q(array_fill('a=b'::text, ARRAY[20000])) ],
);
# Values as tables have them: with a short header, compressed, and kept elsewhere.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE odd.stored (n int, t text);
INSERT INTO odd.stored VALUES (1, 'short'), (2, repeat('compressed ', 5000)), (4, '{"roles": [' || repeat('"x", ', 20000) || '"y"]}');
ALTER TABLE odd.stored ALTER t SET STORAGE EXTERNAL;
INSERT INTO odd.stored VALUES (3, repeat('elsewhere ', 50000));
GRANT SELECT ON odd.stored TO caller;
SQL

my @functions;
for (split /\n/, $node->safe_psql('postgres', <<'SQL')) {
SELECT p.proname, p.prosrc, p.proretset, p.prorettype::regtype, coalesce(array_to_string(ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(a, n) ORDER BY n), ','), '')
FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e') JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'rolecall'
WHERE p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') ORDER BY p.oid::regprocedure::text
SQL
	my ($name, $symbol, $set, $result, $arguments) = split /\|/, $_, -1;
	push @functions, { name => $name, symbol => $symbol, set => $set eq 't', result => $result, arguments => [ split /,/, $arguments ] };
}
cmp_ok(scalar(@functions), '>', 40, @functions . ' functions in C');
my @callable = grep { $_->{result} !~ /trigger/ } @functions;

# Calls with each hostile value in each place; the others are ordinary.
sub calls {
	my ($prefix, $function, $all) = @_;
	my @types = @{ $function->{arguments} };
	die "no values of type $_" for grep { !$values{$_} } @types;
	my @plain = map { "$values{$_}[0]::$_" } @types;
	my @calls = ("$prefix(" . join(', ', @plain) . ')');
	for my $place (0 .. $#types) {
		for my $value ($all ? @{ $values{ $types[$place] } } : (), 'NULL') {
			my @given = @plain;
			$given[$place] = "$value\::$types[$place]";
			push @calls, "$prefix(" . join(', ', @given) . ')';
		}
	}
	return @calls;
}

# Wrong text for a key or JSON, a user or projection that is not there, what a sync refuses, and what is no option.
my $refusals = '22P02,22P05,22003,22004,22008,22023,42601,42602,42703,42704,42710,42804,42809,42P01,42P17,54000,54001,55000,HV00D,HV00J,RC001,RC002';
for my $function (@callable) {
	my @calls = calls("rolecall.$function->{name}", $function, 1);
	attempt_all("$function->{name}(" . join(', ', @{ $function->{arguments} }) . ')', $refusals, map { ("SELECT $_", "SELECT * FROM $_") } @calls);
}
attempt_all('as a role that may call everything, and nothing else', "$refusals,42501",
	map { ("SET LOCAL ROLE caller; SELECT $_; RESET ROLE") } map { (calls("rolecall.$_->{name}", $_, 0))[0] } @callable);

# ---- The identity of the session ----------------------------------------------------------------------------

my @identities;
for my $setting ((map { "'$_'" } @json), $deep, $wide, q('{'), q('x'), q('{"sub": "' || repeat('x', 1048576) || '"}'), q('{"sub": "1", "sub": ["2"]}'), q('{"sub": "\u0000"}'), q('{"sub": "\ud800"}'), q('[1, 2, "sub"]'), q('{"sub":')) {
	push @identities, map { "SELECT set_config('request.jwt.claims', $setting, true); SELECT $_" } 'length(rolecall.current_uid())', 'rolecall.me()', q(rolecall.has_role('member'));
}
for my $setting (q(''), q('x'), q(repeat('9', 100)), q(repeat('x', 1048576)), q(E'\x01')) {
	push @identities, map { "SELECT set_config('rolecall.uid', $setting, true); SELECT $_" } 'length(rolecall.current_uid())', 'rolecall.me()', q(rolecall.has_role('member'));
}
attempt_all('the identity of the session', $refusals, @identities);
like(error_of($node, q(SET request.jwt.claims = '["AAA\u0001AAA\u0001","abc","XXXXXXXXXsub"]'; SELECT length(rolecall.current_uid()))), qr/ERROR:  22023: invalid request.jwt.claims\nDETAIL:  Claims must be an object/,
	'claims that are no object are an error');

# ---- Other declarations: a superuser's to make --------------------------------------------------------------

my %symbols = map { $_->{symbol} => $_ } @functions;
my $n = 0;
my %odd_values = (text => q('x'::text), bigint => '1::bigint', jsonb => q('[]'::jsonb), 'int[]' => q('{1}'::int[]), name => q('me'::name), boolean => 'true', float8 => '1::float8', bytea => q('\x00'::bytea), record => 'ROW(1, 2)');
my @results = ('text', 'bigint', 'jsonb', 'void', 'boolean', 'record', 'SETOF record', 'SETOF text', 'TABLE (a text, b text)', 'rolecall.issued_token', 'trigger', 'event_trigger', 'SETOF rolecall.users');
for my $symbol (sort keys %symbols) {
	my $function = $symbols{$symbol};
	my @types = @{ $function->{arguments} };
	my $result = ($function->{set} ? 'SETOF ' : '') . $function->{result};
	my @declared;    # [ types, result, attributes ]
	for my $place (0 .. $#types) {
		for my $type (sort keys %odd_values) {
			my @other = @types;
			$other[$place] = $type;
			push @declared, [ \@other, $result, 'STRICT' ];
		}
	}
	push @declared, [ [ @types[ 0 .. $_ - 1 ] ], $result, '' ] for 0 .. $#types;
	push @declared, [ [ @types, ('bigint') x $_ ], $result, '' ] for 1 .. 3;
	push @declared, [ [ ('text') x $_ ], $result, '' ] for 0 .. 5;
	push @declared, [ \@types, $_, 'STRICT' ] for @results;
	push @declared, [ \@types, $result, 'CALLED ON NULL INPUT' ], [ \@types, $result, 'IMMUTABLE PARALLEL SAFE' ], [ \@types, $result, 'SECURITY DEFINER SET search_path = odd' ];
	push @declared, [ \@types, $result, 'WINDOW' ] unless $result =~ /SETOF/;
	my @statements;
	for (@declared) {
		my ($arguments, $returns, $attributes) = @$_;
		my $name = 'odd.f' . ++$n;
		push @statements, "CREATE FUNCTION $name(" . join(', ', @$arguments) . ") RETURNS $returns LANGUAGE c $attributes AS 'rolecall', '$symbol'";
		my @given = map { my $type = $_; $odd_values{$type} // "$values{$type}[0]::$type" } @$arguments;
		my $over = $attributes eq 'WINDOW' ? ' OVER ()' : '';
		push @statements, "SELECT $name(" . join(', ', @given) . ")$over", "SELECT $name(" . join(', ', map { "NULL::$_" } @$arguments) . ")$over";
		push @statements, "SELECT * FROM $name(" . join(', ', @given) . ')' unless $over;
		push @statements, map { "SELECT * FROM $name(" . join(', ', @given) . ") AS t($_)" } 'a int', 'a bigint, b text, c text, d text', 'a text, b jsonb', 'a bigint, b bigint, c bigint, d bigint, e bigint, f boolean, g text, h text'
		  if $returns =~ /^(SETOF )?record$/;
	}
	push @statements, "CREATE PROCEDURE odd.p" . ++$n . '(' . join(', ', @types) . ") LANGUAGE c AS 'rolecall', '$symbol'";
	push @statements, "CALL odd.p$n(" . join(', ', map { "$values{$_}[0]::$_" } @types) . ')', "CALL odd.p$n(" . join(', ', map { "NULL::$_" } @types) . ')';
	attempt_all("$symbol, declared in other ways", "$refusals,42P13,42804,0A000,42601,42883,39P01,39P03,42809,42P16", @statements);
}

# What a call of another kind than declared comes to; and strictness that is taken away afterwards.
$node->safe_psql('postgres', q(CREATE FUNCTION odd.short(uid bigint) RETURNS boolean LANGUAGE c AS 'rolecall', 'rolecall_has_role_bigint'; CREATE FUNCTION odd.other(uid bigint, role bigint) RETURNS boolean LANGUAGE c AS 'rolecall', 'rolecall_has_role_bigint'));
like(error_of($node, 'SELECT odd.short(1)'), qr/ERROR:  42P13: function odd.short\(bigint\) is not declared as its library has it\nHINT:  Use the functions that CREATE EXTENSION rolecall makes/, 'too few arguments');
like(error_of($node, 'SELECT odd.other(1, 1)'), qr/ERROR:  42P13: function odd.other\(bigint,bigint\)/, 'arguments of other types');
like(error_of($node, q(SELECT rolecall.has_role(1, 'member'); BEGIN; ALTER FUNCTION rolecall.has_role(bigint, text) CALLED ON NULL INPUT; SELECT rolecall.has_role(1, NULL))), qr/ERROR:  22004: an argument of function rolecall.has_role\(bigint,text\) is NULL/,
	'NULL, where a function is strict no more');
like(error_of($node, 'SELECT rolecall.watch_row()'), qr/ERROR:  39P01: function rolecall.watch_row\(\) can only be called as a trigger/, 'a trigger function that is called');

# ---- Triggers -----------------------------------------------------------------------------------------------

my %writes = (
	plain => [ q(INSERT INTO odd.plain VALUES (1, 'x', '{}'), (NULL, NULL, NULL)), q(UPDATE odd.plain SET id = id + 1, doc = NULL), 'DELETE FROM odd.plain', 'TRUNCATE odd.plain' ],
	without_id => [ 'INSERT INTO odd.without_id (a) VALUES (1)', 'UPDATE odd.without_id SET a = 2', 'DELETE FROM odd.without_id', 'TRUNCATE odd.without_id' ],
	text_id => [ q(INSERT INTO odd.text_id VALUES ('x', 1), (repeat('x', 100000), 2)), 'UPDATE odd.text_id SET id = a::text', 'DELETE FROM odd.text_id', 'TRUNCATE odd.text_id' ],
	parted => [ 'INSERT INTO odd.parted VALUES (1, 1)', 'UPDATE odd.parted SET id = id + 1', 'DELETE FROM odd.parted', 'TRUNCATE odd.parted' ],
	seen => [ q(INSERT INTO odd.seen VALUES (1, 'x', '{}')), 'UPDATE odd.seen SET id = 2', 'DELETE FROM odd.seen', 'DELETE FROM odd.seen WHERE false' ],
);
my @lists = ('', q('1'), q('1', 'id'), q('1', 'nosuch'), q('1', 'id', '2'), q('1', 'doc', '2'), q('x', 'y'), q('', '', ''), q('99999999999999999999', 'id'), q('-1', 'id', '-2', '3', '4'), q('1', 'id', 'garbage'), q('1', 'ctid'), q('0', 'j'), q('1.5'));
for my $function (grep { $_->{result} eq 'trigger' } @functions) {
	for my $table (sort keys %writes) {
		my @statements;
		for my $arguments ($table eq 'plain' ? @lists : @lists[ 0 .. 4 ]) {
			for my $timing ('BEFORE', 'AFTER', 'INSTEAD OF') {
				for my $level ('ROW', 'STATEMENT') {
					for my $event ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'INSERT OR UPDATE OR DELETE') {
						next if ($timing eq 'INSTEAD OF') ne ($table eq 'seen') || ($event eq 'TRUNCATE' && $level eq 'ROW') || ($timing eq 'INSTEAD OF' && $level eq 'STATEMENT');
						my $create = "CREATE TRIGGER t $timing $event ON odd.$table FOR EACH $level EXECUTE FUNCTION rolecall.$function->{name}($arguments)";
						push @statements, map { "$create; $_; DROP TRIGGER t ON odd.$table" } ($event =~ / OR / ? join('; ', @{ $writes{$table} }[ 0 .. 2 ]) : @{ $writes{$table} }[ 0 .. 3 ]);
					}
				}
			}
		}
		if ($table eq 'plain') {
			for my $arguments (@lists) {
				push @statements, "CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON odd.plain DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rolecall.$function->{name}($arguments); "
				  . join('; ', @{ $writes{plain} }[ 0 .. 2 ]) . '; SET CONSTRAINTS ALL IMMEDIATE; DROP TRIGGER t ON odd.plain';
				push @statements, map {
					"CREATE TRIGGER t AFTER UPDATE ON odd.plain REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH $_ EXECUTE FUNCTION rolecall.$function->{name}($arguments); INSERT INTO odd.plain VALUES (1); UPDATE odd.plain SET doc = 'y'; DROP TRIGGER t ON odd.plain"
				} 'ROW', 'STATEMENT';
			}
		}
		attempt_all("$function->{name} as a trigger on $table", '39P01,0A000,42P17', @statements);
	}
}
like(error_of($node, q(CREATE TRIGGER c AFTER INSERT ON odd.plain FOR EACH STATEMENT EXECUTE FUNCTION rolecall.watch_row('1', 'id'); INSERT INTO odd.plain VALUES (1))),
	qr/ERROR:  39P01: trigger "c" must be fired AFTER ... FOR EACH ROW/, 'a statement trigger where rows are meant');
like(error_of($node, q(DROP TRIGGER c ON odd.plain; CREATE TRIGGER c BEFORE INSERT ON odd.plain FOR EACH ROW EXECUTE FUNCTION rolecall.watch_row('1', 'id'); INSERT INTO odd.plain VALUES (1))),
	qr/ERROR:  39P01: trigger "c" must be fired AFTER ... FOR EACH ROW/, 'a trigger before the row');
like(error_of($node, q(DROP TRIGGER c ON odd.plain; CREATE TRIGGER c AFTER INSERT ON odd.plain FOR EACH ROW EXECUTE FUNCTION rolecall.watch_row('x', 'id'); INSERT INTO odd.plain VALUES (1))),
	qr/ERROR:  39P01: argument 1 of trigger "c" must be an id/, 'an argument that is no id');
like(error_of($node, q(DROP TRIGGER c ON odd.plain; CREATE TRIGGER c AFTER DELETE ON odd.without_id FOR EACH ROW EXECUTE FUNCTION rolecall.projection_dropped(); INSERT INTO odd.without_id VALUES (1); DELETE FROM odd.without_id)),
	qr/ERROR:  39P01: trigger "c" is on a table without a column "id" of type bigint/, 'a table that has no such column');

# A watch that somebody defers is none.
my $watch = $node->safe_psql('postgres', q(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'rolecall.users'::regclass AND tgfoid = 'rolecall.watch_row()'::regprocedure AND tgname !~ 'lookup'));
my ($watch_name) = $watch =~ /^CREATE TRIGGER (\S+) /;
(my $deferred = $watch) =~ s/^CREATE TRIGGER (.*) FOR EACH ROW/CREATE CONSTRAINT TRIGGER $1 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW/;
$node->safe_psql('postgres', "DROP TRIGGER $watch_name ON rolecall.users; $deferred; ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER $watch_name");
isnt($node->safe_psql('postgres', q(SELECT problem FROM rolecall.check_projections() WHERE relation = 'rolecall.users'::regclass)), '', 'a deferred watch is named');
is($node->safe_psql('postgres', "SELECT rolecall.me(1) IS NULL; SELECT rolecall.me(1) IS NULL; BEGIN; UPDATE rolecall.users SET display_name = 'deferred' WHERE id = 1; SELECT rolecall.me(1) ->> 'display_name'; ROLLBACK"), "f\nf\ndeferred", '... and nothing is read from before one\'s own write');
$node->safe_psql('postgres', q(SELECT rolecall.repair_projection('me')));
is($node->safe_psql('postgres', 'SELECT * FROM rolecall.check_projections()'), '', '... and repaired');

# Every symbol as a trigger's or an event trigger's function.
my @disguised;
for my $symbol (sort keys %symbols) {
	push @disguised, "CREATE FUNCTION odd.disguised() RETURNS trigger LANGUAGE c AS 'rolecall', '$symbol'; CREATE TRIGGER t AFTER INSERT ON odd.plain FOR EACH $_ EXECUTE FUNCTION odd.disguised('1', 'id'); INSERT INTO odd.plain VALUES (1); DROP FUNCTION odd.disguised CASCADE" for 'ROW', 'STATEMENT';
	push @disguised, "CREATE FUNCTION odd.disguised() RETURNS event_trigger LANGUAGE c AS 'rolecall', '$symbol'; CREATE EVENT TRIGGER odd_event ON $_ EXECUTE FUNCTION odd.disguised(); CREATE TABLE odd.passing (a int); ALTER TABLE odd.passing ALTER a TYPE bigint; DROP TABLE odd.passing; DROP FUNCTION odd.disguised CASCADE"
	  for 'ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite';
}
attempt_all('every symbol as a trigger, and as an event trigger', '42P13,39P01,39P03', @disguised);

# ---- Event triggers -----------------------------------------------------------------------------------------

my @ddl = ('CREATE TABLE odd.made (a int)', 'ALTER TABLE odd.plain ADD more int DEFAULT random()', 'ALTER TABLE odd.nowhere ADD x int', 'ALTER TABLE IF EXISTS odd.nowhere ADD x int', 'ALTER INDEX IF EXISTS odd.nowhere RENAME TO x',
	'ALTER VIEW odd.seen RENAME TO seen2', 'CREATE FUNCTION odd.one() RETURNS int LANGUAGE sql AS $sql$ SELECT 1 $sql$', 'DROP TABLE odd.text_id', 'DROP SCHEMA IF EXISTS nowhere', q(COMMENT ON TABLE odd.plain IS 'x'), 'GRANT SELECT ON odd.plain TO caller',
	'CREATE TEMP TABLE passing (a int)', 'ALTER TABLE odd.parted DETACH PARTITION odd.part', 'CREATE TABLE odd.as_made AS SELECT 1 AS a', 'CREATE EXTENSION IF NOT EXISTS plpgsql', 'REFRESH MATERIALIZED VIEW odd.nowhere', 'ALTER TABLE rolecall.users ADD extra int',
	'DROP VIEW rolecall.user_full_view', 'CREATE SCHEMA made CREATE TABLE t (a int) CREATE VIEW v AS SELECT * FROM t', 'IMPORT FOREIGN SCHEMA x FROM SERVER y INTO odd', 'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO caller', q(SECURITY LABEL ON TABLE odd.plain IS 'x'));
for my $function (grep { $_->{result} eq 'event_trigger' } @functions) {
	for my $event ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite') {
		attempt_all("$function->{name}() on $event", '42P01,3F000,42704,22023,42P07,39P03,2BP01,0A000', map { "CREATE EVENT TRIGGER odd_event ON $event EXECUTE FUNCTION rolecall.$function->{name}(); $_" } @ddl);
	}
	next if $version < 170000;
	$node->safe_psql('postgres', "CREATE DATABASE logins_$function->{name}");
	$node->safe_psql("logins_$function->{name}", "CREATE EXTENSION rolecall; CREATE EVENT TRIGGER odd_event ON login EXECUTE FUNCTION rolecall.$function->{name}(); ALTER EVENT TRIGGER odd_event ENABLE ALWAYS");
	is($node->psql("logins_$function->{name}", 'SELECT 1'), 0, "$function->{name}() on login");
}

# ---- Places that a call can stand in -------------------------------------------------------------------------

my @reads = map { (calls("rolecall.$_->{name}", $_, 0))[0] } grep { $_->{name} !~ /sync|revoke|reload|apply|provider_validator/ } @callable;
my @places;
for my $call (@reads) {
	push @places, "SELECT $call, $call FROM generate_series(1, 3)", "SELECT * FROM $call, LATERAL (SELECT $call) l LIMIT 1", "SELECT * FROM ROWS FROM ($call, generate_series(1, 2)) WITH ORDINALITY", "SELECT count(*) FROM generate_series(1, 3) WHERE $call IS NOT NULL",
	  "SELECT ($call) IS NULL ORDER BY 1", "SELECT CASE WHEN random() < 2 THEN ($call)::text END", "SELECT array_agg(x) FROM (SELECT ($call)::text AS x) s", "CREATE VIEW odd.passing AS SELECT ($call)::text AS a; SELECT * FROM odd.passing; DROP VIEW odd.passing",
	  "CREATE MATERIALIZED VIEW odd.kept AS SELECT ($call)::text AS a; REFRESH MATERIALIZED VIEW odd.kept; DROP MATERIALIZED VIEW odd.kept", "CREATE TABLE odd.defaulted (a int, b text DEFAULT ($call)::text); INSERT INTO odd.defaulted VALUES (1); DROP TABLE odd.defaulted",
	  "CREATE TABLE odd.checked (a int CHECK (($call) IS NULL OR true)); INSERT INTO odd.checked VALUES (1); DROP TABLE odd.checked", "DECLARE c CURSOR FOR SELECT $call", "CREATE INDEX ON odd.plain ((($call)::text))", "SELECT row_number() OVER (ORDER BY ($call)::text)",
	  "DO \$do\$ DECLARE r record; BEGIN FOR r IN SELECT $call LOOP BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN PERFORM $call; END; END LOOP; END \$do\$";
}
attempt_all('places that a call can stand in', "$refusals,42809,42846,42P17,0A000,39P03,42P16,42703,42883,21000", @places);

# Aggregates, by their transition and final functions.
attempt_all('support functions of aggregates', '22P02,42P13,42804', 
	q(CREATE AGGREGATE odd.final(text) (sfunc = textcat, stype = text, finalfunc = rolecall.me); INSERT INTO odd.plain VALUES (1); SELECT odd.final(id::text) FROM (VALUES (1), (2)) v(id); SELECT odd.final(NULL::text); SELECT odd.final('x') FROM odd.plain WHERE false),
	q(CREATE AGGREGATE odd.step(text) (sfunc = rolecall.has_role, stype = text)),
	q(CREATE FUNCTION odd.step_function(jsonb, bigint) RETURNS jsonb LANGUAGE c AS 'rolecall', 'rolecall_me_bigint'; CREATE AGGREGATE odd.other_step(bigint) (sfunc = odd.step_function, stype = jsonb); SELECT odd.other_step(g) FROM generate_series(1, 3) g));

# Redeclared as immutable: in an index, built by a parallel worker too, and in a generated column.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION odd.immutable_me(bigint) RETURNS jsonb LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'rolecall', 'rolecall_me_bigint';
CREATE FUNCTION odd.immutable_has(bigint, text) RETURNS boolean LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'rolecall', 'rolecall_has_role_bigint';
CREATE TABLE odd.many AS SELECT g AS id FROM generate_series(1, 20000) g;
ALTER TABLE odd.many SET (parallel_workers = 2);
SQL
my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_maintenance_workers = 2;';
is($node->safe_psql('postgres', "$parallel CREATE INDEX ON odd.many (odd.immutable_has(id, 'member')); ANALYZE odd.many; SELECT count(*) FROM odd.many WHERE odd.immutable_has(id, 'member'); SELECT count(odd.immutable_me(id)) FROM odd.many"), "0\n20", 'in an index expression');
is($node->psql('postgres', 'ALTER TABLE odd.many ADD made jsonb GENERATED ALWAYS AS (odd.immutable_me(id)) STORED'), 0, 'in a generated column');
like($node->safe_psql('postgres', "$parallel EXPLAIN SELECT count(rolecall.me(id)) FROM odd.many"), qr/Parallel Seq Scan/, 'a parallel plan');
is($node->safe_psql('postgres', "$parallel SELECT count(rolecall.me(id)), count(rolecall.me_json(id)), sum(rolecall.has_role(id, 'member')::int), count(rolecall.me(id::text)), count((rolecall.auth_projection(id)).email) FROM odd.many"), '20|20|0|20|20', 'in parallel workers');
my $force = $version >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
attempt_all('in a parallel worker, whatever the function says', "$refusals,25000,0A000,39P03", map { ("SET LOCAL $force = on; SELECT $_", "SET LOCAL $force = on; SELECT * FROM $_") } @reads);

# Transactions of every kind, and those that have failed.
for my $kind ('ISOLATION LEVEL SERIALIZABLE', 'ISOLATION LEVEL REPEATABLE READ', 'READ ONLY', 'ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE') {
	my $script = join '', map { "BEGIN TRANSACTION $kind; SELECT $_; SELECT 1 / 0; SELECT $_; ROLLBACK; BEGIN TRANSACTION $kind; SAVEPOINT s; SELECT $_; ROLLBACK TO s; SELECT $_; COMMIT;\n" } map { (calls("rolecall.$_->{name}", $_, 0))[0] } @callable;
	my $error = '';
	$node->psql('postgres', $script, stderr => \$error, extra_params => [ '-v', 'ON_ERROR_STOP=0', '-v', 'VERBOSITY=sqlstate' ]);
	my %states = map { $_ => 1 } $error =~ /ERROR:  (\w{5})/g;
	ok($states{'22012'} && $states{'25P02'}, "$kind: errors happened");
	delete @states{ qw(22012 25P02 25006 0A000), split(/,/, $refusals) };
	is(join(' ', sort keys %states), '', "$kind: and no others");
}

# By the extended protocol, with parameters.
my $script = "$PostgreSQL::Test::Utils::tmp_check/calls.sql";
open(my $file, '>', $script) or die $!;
print $file "\\set uid random(1, 25)\n";
print $file "SELECT rolecall.me(:uid), rolecall.me_json(:uid), rolecall.has_role(:uid, 'member'), rolecall.has_role(:uid, 'member', 'x'), rolecall.auth_projection(:uid), rolecall.me(:uid\::text), rolecall.project('me', :uid\::text), rolecall.me_by_email('x' || :uid);\n";
print $file "SELECT * FROM rolecall.me_many(ARRAY[:uid\::bigint, NULL]), rolecall.project_many('me', ARRAY[:uid\::text]), rolecall.cache_entry('me', :uid\::text), rolecall.projection_statistics(ARRAY[:uid\::bigint]), rolecall.change_context(:uid);\n";
print $file "SELECT rolecall.trigger_role_sync_for_user(:uid), rolecall.random_token(), rolecall.current_uid(), rolecall.me();\n";
close($file);
for my $mode ('simple', 'extended', 'prepared') {
	$node->command_ok([ 'pgbench', '-n', '-M', $mode, '-t', 100, '-c', 2, '-f', $script, $node->connstr('postgres') ], "by the protocol, $mode");
}

is($node->safe_psql('postgres', "SELECT count(*) FROM odd.results WHERE state LIKE 'XX%'"), '0', 'no internal error');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM odd.results WHERE state = '00000'"), '>', 1000, 'and much that went well');
is($node->psql('postgres', q(SELECT rolecall.me(1))), 0, 'the server is up');
$node->stop;

done_testing();
