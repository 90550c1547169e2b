# Nobody runs anything inside the extension's functions: not by having made the schema, not by being able to create in
# it, nor by overloads, operators and casts in any schema; and installing hands out nothing.
use strict;
use warnings;

use File::Basename qw(basename);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('overloads');
$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN; CREATE ROLE greedy; CREATE ROLE boss SUPERUSER LOGIN');
my $databases = 0;

# A database in which joe may create schemas, and public is open to all, as it was before PostgreSQL 15.
sub new_database {
	my ($setup) = @_;
	my $database = 'd' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $database; GRANT CREATE ON DATABASE $database TO joe");
	$node->safe_psql($database, "GRANT ALL ON SCHEMA public TO PUBLIC; $setup");
	return $database;
}

sub error_in {
	my ($database, $sql) = @_;
	my $error = '';
	$node->psql($database, $sql, stderr => \$error, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $error;
}

# ---- Who was there first -------------------------------------------------------------------------------------

my $revoke = q(CREATE FUNCTION rolecall.revoke_tokens(of_family text, of_user bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint');
for (
	[ 'a schema of somebody else', 'SET ROLE joe; CREATE SCHEMA rolecall', qr/schema rolecall belongs to role joe.*HINT:.*ALTER SCHEMA rolecall OWNER TO postgres/s ],
	[ 'with a function in it', "SET ROLE joe; CREATE SCHEMA rolecall; $revoke", qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema rolecall, and not of the extension.*HINT:.*DROP FUNCTION rolecall.revoke_tokens\(pg_catalog.text,bigint\)/s ],
	[ 'a schema in which somebody may create', 'CREATE SCHEMA rolecall; GRANT CREATE ON SCHEMA rolecall TO joe', qr/role joe may create objects in schema rolecall.*HINT:.*REVOKE CREATE ON SCHEMA rolecall FROM joe/s ],
	[ 'a schema in which everybody may create', 'CREATE SCHEMA rolecall; GRANT CREATE ON SCHEMA rolecall TO PUBLIC', qr/everybody may create objects in schema rolecall.*HINT:.*REVOKE CREATE ON SCHEMA rolecall FROM PUBLIC/s ],
	[ 'what somebody left', "CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; $revoke; RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe", qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema/ ],
	[ 'a type that somebody left', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE TYPE rolecall.t AS ENUM (); RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe', qr/type rolecall.t is in schema/ ],
	[ 'an operator that somebody left', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE OPERATOR rolecall.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_catalog.int8eq); RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe',
		qr/operator rolecall.=\(bigint,bigint\) is in schema/ ],
	[ 'the check in advance', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE FUNCTION rolecall.check_installation(OUT problem text, OUT repair text) RETURNS SETOF record LANGUAGE sql AS $$ SELECT NULL, NULL WHERE false $$', qr/42723: function "check_installation" already exists/ ],
) {
	my ($what, $setup, $expected) = @$_;
	my $database = new_database($setup);
	for my $by ('postgres', 'boss') {
		my $expects = $expected;
		my $error = error_in($database, "SET SESSION AUTHORIZATION $by; CREATE EXTENSION rolecall");
		if ($by eq 'postgres') {
			like($error, $expects, "$what: refused");
		}
		like($error, qr/ERROR:  (55000: schema "rolecall" is not safe to install into|42723)/, "$what: refused for $by");
	}
	is($node->safe_psql($database, q(SELECT count(*) FROM pg_extension WHERE extname = 'rolecall')), '0', "$what: nothing is installed");
}
# A schema of the installer's own is in order: it is what a dump makes first.
for my $setup ('', 'CREATE SCHEMA rolecall', 'CREATE SCHEMA rolecall; GRANT USAGE ON SCHEMA rolecall TO joe', 'CREATE SCHEMA rolecall AUTHORIZATION boss') {
	my $database = new_database($setup);
	$node->safe_psql($database, 'CREATE EXTENSION rolecall');
	is($node->safe_psql($database, 'SELECT * FROM rolecall.check_installation()'), '', "in order: '$setup'");
}
# At an update, and afterwards.
my $old = new_database(q(CREATE EXTENSION rolecall VERSION '0.1.0'));
for ([ 'GRANT CREATE ON SCHEMA rolecall TO joe', 'REVOKE CREATE ON SCHEMA rolecall FROM joe', qr/role joe may create/ ], [ $revoke, 'DROP FUNCTION rolecall.revoke_tokens(text, bigint)', qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema/ ],
	[ 'ALTER SCHEMA rolecall OWNER TO joe', 'ALTER SCHEMA rolecall OWNER TO postgres', qr/schema rolecall belongs to role joe/ ], [ 'ALTER FUNCTION rolecall.end_logins() OWNER TO joe', 'ALTER FUNCTION rolecall.end_logins() OWNER TO postgres', qr/function rolecall.end_logins\(\) belongs to role joe/ ]) {
	my ($break, $repair, $expected) = @$_;
	$node->safe_psql($old, $break);
	like(error_in($old, 'ALTER EXTENSION rolecall UPDATE'), qr/ERROR:  55000: schema "rolecall" is not safe to install into\nDETAIL:  In the way: [^\n]*$expected/, "$break: no update");
	$node->safe_psql($old, $repair);
}
$node->safe_psql($old, 'ALTER EXTENSION rolecall UPDATE');
is($node->safe_psql($old, 'SELECT * FROM rolecall.check_installation()'), '', 'an update, all repaired');
for my $break ('GRANT CREATE ON SCHEMA rolecall TO joe', $revoke, 'ALTER SCHEMA rolecall OWNER TO joe', 'ALTER FUNCTION rolecall.end_logins() OWNER TO joe', 'ALTER TABLE rolecall.users OWNER TO joe', 'ALTER EVENT TRIGGER rolecall_drop OWNER TO boss; ALTER ROLE boss NOSUPERUSER') {
	$node->safe_psql($old, $break);
	my $repairs = $node->safe_psql($old, q(SELECT string_agg(repair, '; ') FROM rolecall.check_installation()));
	isnt($repairs, '', "$break is named");
	$node->safe_psql($old, $repairs);
	is($node->safe_psql($old, 'SELECT * FROM rolecall.check_installation()'), '', "and repaired by $repairs");
}
$node->safe_psql($old, 'ALTER ROLE boss SUPERUSER');

# ---- Default privileges ---------------------------------------------------------------------------------------

my $generous = join '; ', map { "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO greedy WITH GRANT OPTION" } 'TABLES', 'SEQUENCES', 'FUNCTIONS', 'TYPES', 'SCHEMAS';
my $held = <<'SQL';
SELECT pg_describe_object(d.classid, d.objid, 0), a.privilege_type
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'rolecall'
CROSS JOIN LATERAL (SELECT relacl FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid UNION ALL SELECT proacl FROM pg_proc WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
    UNION ALL SELECT typacl FROM pg_type WHERE d.classid = 'pg_type'::regclass AND oid = d.objid UNION ALL SELECT fdwacl FROM pg_foreign_data_wrapper WHERE d.classid = 'pg_foreign_data_wrapper'::regclass AND oid = d.objid) o(acl)
CROSS JOIN LATERAL aclexplode(o.acl) a
WHERE d.deptype = 'e' AND a.grantee = 'greedy'::regrole
UNION ALL SELECT 'schema', a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'rolecall' AND a.grantee = 'greedy'::regrole
SQL
my $fresh = new_database("$generous; CREATE EXTENSION rolecall");
is($node->safe_psql($fresh, $held), '', 'default privileges hand out nothing');
is($node->safe_psql($fresh, q(CREATE TABLE public.t (); SELECT has_table_privilege('greedy', 'public.t', 'INSERT'))), 't', '... and are in force');
is($node->safe_psql($fresh, 'SELECT * FROM rolecall.check_installation()'), '', '... nor is anything to be repaired');
$old = new_database(q(CREATE EXTENSION rolecall VERSION '0.1.0'; GRANT USAGE ON SCHEMA rolecall TO joe; GRANT EXECUTE ON FUNCTION rolecall.me(bigint) TO joe));
$node->safe_psql($old, "$generous; ALTER EXTENSION rolecall UPDATE");
is($node->safe_psql($old, $held), '', 'nor at an update');
is($node->safe_psql($old, q(SELECT has_function_privilege('joe', 'rolecall.me(bigint)', 'EXECUTE'))), 't', 'what was granted is granted still');
$old = new_database(qq($generous; CREATE EXTENSION rolecall VERSION '0.1.0'));
isnt($node->safe_psql($old, $held), '', '0.1.0 gave what default privileges say');
like(error_in($old, 'ALTER EXTENSION rolecall UPDATE'), qr/default privileges gave role greedy [A-Z]+ on .*HINT:.*REVOKE ALL ON /s, 'an update wants it taken back');

# ---- Providers by their names ---------------------------------------------------------------------------------

my $provider = start_provider();
$provider->put_user('s1', { code => 's1', roles => ['boss'] });
my $directory = new_database('CREATE EXTENSION rolecall');
$node->safe_psql($directory, <<SQL);
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'a\@example.org', 'hr', 's1');
GRANT USAGE ON FOREIGN DATA WRAPPER rolecall TO joe;
SET ROLE joe;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
SQL
for my $call ('rolecall.sync_user_roles(1)', 'rolecall.force_sync_user_roles(1)', q(rolecall.sync_provider('hr')), q(rolecall.apply_provider_event('hr', '{"code": "s1", "roles": ["boss"]}'))) {
	like(error_in($directory, "SELECT $call"), qr/ERROR:  42501: the owner of provider "hr" may not write grants\nDETAIL:  Role "joe" lacks INSERT, UPDATE and DELETE on rolecall.user_roles, or UPDATE on rolecall.users.\nHINT:  Use ALTER SERVER/, "$call: not of joe's server");
}
is($provider->requests->{total}, 0, 'which is not even asked');
$node->safe_psql($directory, 'ALTER SERVER hr OWNER TO CURRENT_USER; SELECT rolecall.force_sync_user_roles(1)');
is($node->safe_psql($directory, q(SELECT rolecall.has_role(1, 'boss'))), 't', 'a superuser\'s is');
$node->safe_psql($directory, 'ALTER SERVER hr OWNER TO joe; GRANT INSERT, UPDATE, DELETE ON rolecall.user_roles TO joe; GRANT UPDATE ON rolecall.users TO joe; SELECT rolecall.force_sync_user_roles(1)');
is($node->safe_psql($directory, q(SELECT last_roles_sync_at > now() - interval '1 hour' FROM rolecall.sync_state WHERE user_id = 1)), 't', 'and that of who may write grants anyway');

# ---- Overloads, operators and casts ---------------------------------------------------------------------------

# In every schema that a path can have, rolecall included: whatever could win a call where an argument's type is not
# given, or an argument is left to its default; what PostgreSQL's own functions and operators are called; casts of
# types of joe's. Whatever runs leaves a mark that no rollback takes away.
my $hostile = new_database(<<'SQL');
CREATE EXTENSION rolecall;
SET search_path = pg_catalog;
SET jit = off;
GRANT CREATE, USAGE ON SCHEMA rolecall TO joe;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rolecall TO joe;
SET ROLE joe;
CREATE SCHEMA joe;
GRANT USAGE ON SCHEMA joe TO PUBLIC;
CREATE SEQUENCE joe.ran;
CREATE TABLE joe.functions (oid oid);
CREATE FUNCTION joe.run(who text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$ BEGIN PERFORM pg_catalog.nextval('joe.ran'); RAISE LOG 'hostile code: %', who; END $$;
CREATE PROCEDURE joe.put(named text, arguments text, result text) LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    EXECUTE pg_catalog.format('CREATE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN PERFORM joe.run(%L); RAISE EXCEPTION ''hostile code ran''; END $f$', named, arguments, result, named OPERATOR(pg_catalog.||) '(' OPERATOR(pg_catalog.||) arguments OPERATOR(pg_catalog.||) ')');
EXCEPTION WHEN duplicate_function OR invalid_function_definition OR feature_not_supported THEN NULL;
END $$;

-- The extension's functions: one argument, or all, of another type, and fewer arguments.
DO $$
DECLARE
    others CONSTANT text[] = ARRAY['text', 'integer', 'bigint', 'numeric', 'name', 'oid', 'regclass', 'jsonb', 'json', 'boolean', 'interval', 'timestamptz', 'uuid', 'varchar', 'double precision', 'text[]', 'anyelement', 'anynonarray'];
    f record;
    other text;
    given text[];
BEGIN
    FOR f IN SELECT p.oid, p.proname, p.pronargs, p.pronargdefaults, ARRAY(SELECT pg_catalog.format_type(a, NULL) FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY u(a, n) ORDER BY n) AS types
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e') JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'rolecall' LOOP
        FOREACH other IN ARRAY others LOOP
            FOR place IN 1 .. f.pronargs LOOP
                given := f.types;
                given[place] := other;
                CALL joe.put(pg_catalog.format('rolecall.%I', f.proname), pg_catalog.array_to_string(given, ', '), 'bigint');
            END LOOP;
            CALL joe.put(pg_catalog.format('rolecall.%I', f.proname), pg_catalog.array_to_string(pg_catalog.array_fill(other, ARRAY[f.pronargs::int]), ', '), 'bigint');
        END LOOP;
        FOR fewer IN f.pronargs - f.pronargdefaults .. f.pronargs - 1 LOOP
            CALL joe.put(pg_catalog.format('rolecall.%I', f.proname), pg_catalog.array_to_string(f.types[1:fewer], ', '), 'bigint');
        END LOOP;
        CALL joe.put(pg_catalog.format('rolecall.%I', f.proname), 'VARIADIC a text[]', 'bigint');
        CALL joe.put(pg_catalog.format('rolecall.%I', f.proname), 'VARIADIC a anyarray', 'bigint');
    END LOOP;
END $$;

-- What is called of PostgreSQL's own, by its very signature, and its operators.
DO $$
DECLARE
    f record;
    schema text;
BEGIN
    FOREACH schema IN ARRAY ARRAY['public', 'rolecall'] LOOP
        FOR f IN SELECT p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments, pg_catalog.format_type(p.prorettype, NULL) AS result FROM pg_catalog.pg_proc p
                 WHERE schema = 'public' AND p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'internal'::regtype AND NOT ('internal'::regtype = ANY (p.proargtypes)) AND NOT ('cstring'::regtype = ANY (p.proargtypes))
                   AND EXISTS (SELECT FROM pg_catalog.pg_proc r WHERE r.pronamespace = 'rolecall'::regnamespace AND r.prosrc ~ ('\m' || p.proname || '\(')) LOOP
            CALL joe.put(pg_catalog.format('%s.%I', schema, f.proname), f.arguments, f.result);
        END LOOP;
        FOR f IN SELECT o.oprname, pg_catalog.format_type(o.oprleft, NULL) AS l, pg_catalog.format_type(o.oprright, NULL) AS r, pg_catalog.format_type(o.oprresult, NULL) AS result, pg_catalog.row_number() OVER () AS n FROM pg_catalog.pg_operator o
                 WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b' AND o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '||', '->', '->>', '#>>', '@>', '+', '-', '*', '/', '~', '~~', '>>', '<<', '!~~')
                   AND ARRAY[o.oprleft, o.oprright] <@ ARRAY['text', 'bigint', 'integer', 'name', 'oid', 'jsonb', 'uuid', 'timestamptz', 'interval', 'boolean', 'regclass', '"char"', 'double precision', 'numeric', 'bytea', 'anyarray', 'anycompatible', 'anycompatiblearray', 'int2', 'xid8']::regtype[]::oid[] LOOP
            CALL joe.put(pg_catalog.format('%s.operator_%s', schema, f.n), f.l || ', ' || f.r, f.result);
            EXECUTE pg_catalog.format('CREATE OPERATOR %s.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s.operator_%s)', schema, f.oprname, f.l, f.r, schema, f.n);
        END LOOP;
    END LOOP;
END $$;
CREATE TYPE joe.t AS (a text);
CREATE FUNCTION joe.to_text(joe.t) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM joe.run('cast'); RETURN ''; END $$;
CREATE FUNCTION joe.from_text(text) RETURNS joe.t LANGUAGE plpgsql AS $$ BEGIN PERFORM joe.run('cast'); RETURN NULL; END $$;
CREATE FUNCTION joe.to_bigint(joe.t) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM joe.run('cast'); RETURN 1; END $$;
CREATE FUNCTION joe.from_bigint(bigint) RETURNS joe.t LANGUAGE plpgsql AS $$ BEGIN PERFORM joe.run('cast'); RETURN NULL; END $$;
CREATE FUNCTION joe.from_jsonb(jsonb) RETURNS joe.t LANGUAGE plpgsql AS $$ BEGIN PERFORM joe.run('cast'); RETURN NULL; END $$;
CREATE CAST (joe.t AS text) WITH FUNCTION joe.to_text(joe.t) AS IMPLICIT;
CREATE CAST (text AS joe.t) WITH FUNCTION joe.from_text(text) AS IMPLICIT;
CREATE CAST (joe.t AS bigint) WITH FUNCTION joe.to_bigint(joe.t) AS IMPLICIT;
CREATE CAST (bigint AS joe.t) WITH FUNCTION joe.from_bigint(bigint) AS IMPLICIT;
CREATE CAST (jsonb AS joe.t) WITH FUNCTION joe.from_jsonb(jsonb) AS IMPLICIT;
RESET ROLE;
SQL
cmp_ok($node->safe_psql($hostile, q(SELECT count(*) FROM pg_proc WHERE proowner = 'joe'::regrole AND pronamespace = 'rolecall'::regnamespace)), '>', 2000, 'thousands of overloads are there');
cmp_ok($node->safe_psql($hostile, q(SELECT count(*) FROM pg_operator WHERE oprowner = 'joe'::regrole)), '>', 200, 'and hundreds of operators');
sub ran { return $node->safe_psql($hostile, 'SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM joe.ran'); }

# What each function of the extension would call, in whatever branch. For SQL functions, and statements of the library,
# a twin whose dependencies PostgreSQL records; for PL/pgSQL an extension that looks into it.
$node->safe_psql($hostile, <<'SQL');
CREATE SCHEMA twins;
CREATE TABLE twins.wrong (what text, calls text);
CREATE FUNCTION twins.hostile_calls(twin oid) RETURNS SETOF text LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT d.refobjid::regprocedure::text FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid WHERE d.classid = 'pg_proc'::regclass AND d.objid = twin AND p.proowner = 'joe'::regrole
    UNION ALL
    SELECT d.refobjid::regoperator::text FROM pg_depend d JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid WHERE d.classid = 'pg_proc'::regclass AND d.objid = twin AND o.oprowner = 'joe'::regrole
$$;
-- Records what a body of SQL would call; $body is one statement or several.
CREATE PROCEDURE twins.look(what text, name text, declaration text, body text) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    twin oid;
BEGIN
    EXECUTE format('CREATE FUNCTION twins.%I%s BEGIN ATOMIC %s; END', name, declaration, body);
    SELECT p.oid INTO STRICT twin FROM pg_proc p WHERE p.pronamespace = 'twins'::regnamespace AND p.proname = name;
    INSERT INTO twins.wrong SELECT what, c FROM twins.hostile_calls(twin) c;
    EXECUTE format('DROP FUNCTION %s', twin::regprocedure);
EXCEPTION WHEN OTHERS THEN  -- ambiguous, most likely
    INSERT INTO twins.wrong VALUES (what, SQLERRM);
END $$;
CREATE PROCEDURE twins.look_at(function oid) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name CONSTANT text = (SELECT p.proname FROM pg_proc p WHERE p.oid = function);
    body CONSTANT text = (SELECT rtrim(btrim(p.prosrc, E' \n'), ';') FROM pg_proc p WHERE p.oid = function);
BEGIN
    CALL twins.look(function::regprocedure::text, name, format('(%s) RETURNS %s', pg_get_function_arguments(function), pg_get_function_result(function)), body);
END $$;
SQL
my @sql_functions = split /\n/, $node->safe_psql($hostile, q(SELECT p.oid FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e') JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'sql' WHERE p.pronamespace = 'rolecall'::regnamespace AND p.prosrc <> ''));
cmp_ok(scalar(@sql_functions), '>', 5, @sql_functions . ' functions in SQL');
sub look { my ($what, $name, $declaration, $body) = @_; $node->safe_psql($hostile, "CALL twins.look(\$w\$$what\$w\$, '$name', \$d\$$declaration\$d\$, \$b\$$body\$b\$)"); return; }
$node->safe_psql($hostile, "CALL twins.look_at($_)") for @sql_functions;

# Statements of the library: kept ones, with the types of their parameters.
my %types = (INT8OID => 'bigint', INT4OID => 'integer', TEXTOID => 'text', BOOLOID => 'boolean', UUIDOID => 'uuid', OIDOID => 'oid', TIMESTAMPTZOID => 'timestamptz', INTERVALOID => 'interval', FLOAT8OID => 'double precision', NAMEOID => 'name', JSONBOID => 'jsonb',
	TEXTARRAYOID => 'text[]', INT8ARRAYOID => 'bigint[]', TIMESTAMPTZARRAYOID => 'timestamptz[]', BOOLARRAYOID => 'boolean[]', BYTEAOID => 'bytea', XID8OID => 'xid8', INT4ARRAYOID => 'integer[]', FLOAT8ARRAYOID => 'double precision[]', JSONBARRAYOID => 'jsonb[]', BYTEAARRAYOID => 'bytea[]');
my $statements = 0;
for my $source (glob("$Rolecall::Test::root/src/*/*.cpp")) {
	my $text = slurp_file($source);
	while ($text =~ s/\bpg::Statement\s+(\w+)\s*[({]\s*((?:"(?:[^"\\]|\\.)*"\s*(?:\/\/[^\n]*\n\s*)?)+),\s*\{([^}]*)\}//) {
		my ($name, $literals, $parameters) = ($1, $2, $3);
		my $sql = join '', $literals =~ /"((?:[^"\\]|\\.)*)"/g;
		$sql =~ s/\\(["\\])/$1/g;
		my @types = map { $types{$_} // die "no type $_ in $source" } $parameters =~ /(\w+)/g;
		$statements++;
		look("$name in " . basename($source), 'twin', '(' . join(', ', @types) . ') RETURNS void', $sql);
	}
	# What is written in another way passes parameters only, each of which has its type.
	my @others = grep { !/^\s*(\$\d+(\s*,\s*\$\d+)*)?\s*$/ } $text =~ /"[^"\n]*\b(?:SELECT|FROM|PERFORM)\s+rolecall\.\w+\(([^)"]*)\)/g;
	@others = grep { !/%s/ } @others;    # a repair, which is for people to run
	is(join('; ', @others), '', 'calls in ' . basename($source)) if @others;
}
cmp_ok($statements, '>', 20, "$statements statements of the library");

# PL/pgSQL. Transition tables are temporary ones here.
SKIP: {
	skip 'no plpgsql_check here', 3 if $node->safe_psql($hostile, q(SELECT count(*) FROM pg_available_extensions WHERE name = 'plpgsql_check')) eq '0';
	$node->safe_psql($hostile, 'CREATE SCHEMA checker; CREATE EXTENSION plpgsql_check SCHEMA checker');
	$node->safe_psql($hostile, <<'SQL');
-- What would be found, if there were anything
CREATE FUNCTION twins.careless() RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF random() < 0 THEN
        RETURN rolecall.revoke_tokens(NULL, 1);
    END IF;
    PERFORM rolecall.trigger_role_sync_for_user(1::bigint);
    RETURN 1 OPERATOR(joe.+) 1;
END $$;
CREATE PROCEDURE twins.look_into(function regprocedure, relation regclass) LANGUAGE plpgsql AS $$
BEGIN
    DROP TABLE IF EXISTS pg_temp.new_rows, pg_temp.old_rows;
    IF relation <> 0 THEN
        EXECUTE pg_catalog.format('CREATE TEMP TABLE new_rows AS TABLE %s WITH NO DATA', relation);
        EXECUTE pg_catalog.format('CREATE TEMP TABLE old_rows AS TABLE %s WITH NO DATA', relation);
    END IF;
    INSERT INTO twins.wrong SELECT function::text, d.schema OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) d.name OPERATOR(pg_catalog.||) coalesce(d.params, '') FROM checker.plpgsql_show_dependency_tb(function, relation) d
    WHERE EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) d.oid AND d.type OPERATOR(pg_catalog.=) 'FUNCTION' AND p.proowner OPERATOR(pg_catalog.=) 'joe'::regrole::oid)
       OR EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oid OPERATOR(pg_catalog.=) d.oid AND d.type OPERATOR(pg_catalog.=) 'OPERATOR' AND o.oprowner OPERATOR(pg_catalog.=) 'joe'::regrole::oid);
    -- It stops where something is ambiguous.
    INSERT INTO twins.wrong SELECT function::text, c.message FROM checker.plpgsql_check_function_tb(function, relation, fatal_errors => false) c WHERE c.level OPERATOR(pg_catalog.=) 'error';
EXCEPTION WHEN OTHERS THEN
    INSERT INTO twins.wrong VALUES (function::text, SQLERRM);
END $$;
SQL
	$node->safe_psql($hostile, q(CALL twins.look_into('twins.careless()', 0)));
	like($node->safe_psql($hostile, q(SELECT string_agg(calls, ' ') FROM twins.wrong WHERE what LIKE '%careless%')), qr/rolecall.revoke_tokens|not unique/, 'a careless call would be found');
	$node->safe_psql($hostile, q(DELETE FROM twins.wrong WHERE what LIKE '%careless%'));
	my @pl = split /\n/, $node->safe_psql($hostile, <<'SQL');
SELECT DISTINCT p.oid::regprocedure, coalesce(t.tgrelid, 0)::regclass FROM pg_proc p JOIN pg_depend d ON (d.classid, d.objid, d.deptype) = ('pg_proc'::regclass, p.oid, 'e') JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
LEFT JOIN pg_trigger t ON t.tgfoid = p.oid WHERE p.pronamespace = 'rolecall'::regnamespace
SQL
	cmp_ok(scalar(@pl), '>', 30, @pl . ' functions in PL/pgSQL');
	for (@pl) {
		my ($function, $relation) = split /\|/;
		$node->safe_psql($hostile, "CALL twins.look_into('$function', " . ($relation eq '-' ? '0' : "'$relation'") . ')');
	}
	pass('all were looked into');
}
is($node->safe_psql($hostile, q(SELECT what || ' calls ' || calls FROM twins.wrong ORDER BY 1)), '', 'no function, operator or statement of the extension calls anything of joe\'s');

# And run, by a superuser and others, with joe's schemas first in the path.
is(ran(), '0', 'nothing of it ran yet');
my @work = (
	q(INSERT INTO rolecall.tenants (slug, name) VALUES ('t', 'T')), q(INSERT INTO rolecall.roles (name) VALUES ('member'), ('admin')), q(INSERT INTO rolecall.units (institutional_id, name) VALUES ('u1', 'one')),
	q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1::bigint, 'a@example.org', 'hr', 's1'), (2::bigint, 'b@example.org', NULL, NULL)),
	q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (1::bigint, 'member')), q(INSERT INTO rolecall.user_units VALUES (1::bigint, 1::bigint, 'member')),
	"CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}')",
	q(SELECT rolecall.me(1::bigint), rolecall.me('1'::text), rolecall.me_json(1::bigint), rolecall.has_role(1::bigint, 'member'::text), rolecall.has_role(1::bigint, 'member'::text, 'x'::text, 'institutional'::text), rolecall.auth_projection(1::bigint), rolecall.require_user(1::bigint)),
	q(SELECT rolecall.me_many(ARRAY[1, 2]::bigint[]), rolecall.me_by_email('a@example.org'::text, NULL::uuid), rolecall.project('me'::name, '1'::text), rolecall.project_json('me'::name, '1'::text), rolecall.project_many('me'::name, '{1}'::text[]), rolecall.user_id('x'::text)),
	q(SELECT rolecall.sync_user_roles(2::bigint, '{"roles": ["admin"]}'::jsonb, true::boolean), rolecall.sync_user_units(2::bigint, '[]'::jsonb), rolecall.touch_user(1::bigint), rolecall.trigger_role_sync_for_user(1::bigint, false::boolean)),
	q(SELECT rolecall.force_sync_user_roles(1::bigint)), q(SELECT rolecall.sync_user_roles(1::bigint)), q(SELECT rolecall.apply_provider_event('hr'::text, '{"code": "s1", "roles": []}'::jsonb)),
	q(SELECT rolecall.refresh((rolecall.issue_refresh_token(1::bigint, '1 hour'::interval)).token)), q(SELECT rolecall.revoke_refresh_token((rolecall.issue_refresh_token(1::bigint, '1 hour'::interval)).token)), q(SELECT rolecall.revoke_refresh_tokens(1::bigint)),
	q(SELECT rolecall.validate_and_consume_oauth_state(rolecall.create_oauth_state('p'::text, 1::bigint, '1 minute'::interval, NULL::text, NULL::text, NULL::text), 'p'::text)), q(SELECT rolecall.consume_oauth_state(rolecall.create_oauth_state('p'::text, 1::bigint, '1 minute'::interval, NULL::text, NULL::text, NULL::text), 'p'::text)),
	q(SELECT rolecall.cleanup_expired_oauth_states(1::bigint), rolecall.cleanup_expired_refresh_tokens(1::bigint), rolecall.trim_role_changes(pg_catalog.now(), 1::bigint)),
	q(CREATE SCHEMA app), q(CREATE TABLE app.people (id bigint PRIMARY KEY, team bigint)), q(CREATE TABLE app.teams (id bigint PRIMARY KEY)), q(ALTER TABLE app.people ADD FOREIGN KEY (team) REFERENCES app.teams), q(CREATE VIEW app.person AS SELECT id AS uid, pg_catalog.jsonb_build_object('id', id, 'team', team) AS doc FROM app.people),
	q(SELECT rolecall.create_projection('people'::name, 'app.person'::regclass, 'uid'::name, 'doc'::name, NULL::interval, true::boolean, '{"app.people": "id", "app.teams": null}'::jsonb)), q(SELECT rolecall.unwatch('people'::name, 'app.teams'::regclass, NULL::name)),
	q(SELECT rolecall.watch_lookup('people'::name, 'app.teams'::regclass, 'id'::name, NULL::jsonb)), q(SELECT rolecall.check_projections(), rolecall.repair_projection('people'::name), rolecall.reload('people'::name), rolecall.cancel_reload('people'::name), rolecall.invalidate('people'::name, '1'::text), rolecall.cache_entry('people'::name, '1'::text)),
	q(INSERT INTO app.people VALUES (1, NULL)), q(SELECT rolecall.project('people'::name, '1'::text)), q(ALTER TABLE app.people ADD more int), q(ALTER TABLE app.people DROP more), q(DROP TABLE app.teams CASCADE), q(SELECT rolecall.drop_projection('people'::name)),
	(map { "TABLE rolecall.$_" } 'stat_cache', 'stat_projection', 'stat_progress', 'stat_provider', 'stat_sync', 'sync_metrics', 'me_view', 'user_profile', 'user_full_view'), q(SELECT rolecall.check_installation()), q(SELECT rolecall.resume_provider('hr'::text)),
	q(SET rolecall.notify_changes = on; DELETE FROM rolecall.user_roles), q(UPDATE rolecall.users SET is_active = false), q(UPDATE rolecall.users SET institutional_id = 's2'), q(TRUNCATE rolecall.user_roles), q(DELETE FROM rolecall.users));
# The path of whoever calls: joe's functions are in front of PostgreSQL's. What is not of the extension says what it means.
for my $statement (@work) {
	my $error = error_in($hostile, "SET search_path = rolecall, public, pg_catalog; $statement");
	unlike($error, qr/ERROR|server closed/, "runs: " . substr($statement, 0, 100));
}
is(ran(), '0', 'nothing of joe\'s ran') or diag($node->safe_psql($hostile, 'SELECT 1'), join("\n", grep { /hostile code/ } split /\n/, slurp_file($node->logfile)));

# The same in processes of the server's: a database's owner says what their path is.
$node->safe_psql($hostile, q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (3::bigint, 'c@example.org', 'hr', 's1')));
$node->safe_psql('postgres', "ALTER DATABASE $hostile OWNER TO joe; SET ROLE joe; ALTER DATABASE $hostile SET search_path = rolecall, public, pg_catalog");
$node->safe_psql('postgres', 'ALTER SYSTEM SET rolecall.worker = on; ALTER SYSTEM SET rolecall.warm_on_start = on');
$node->restart;
my $plain = 'SET search_path = pg_catalog;';
$node->poll_query_until($hostile, 'SELECT last_roles_sync_at IS NOT NULL FROM rolecall.sync_state WHERE user_id OPERATOR(pg_catalog.=) 3') or die 'the worker did not sync';
$node->safe_psql($hostile, "$plain SELECT rolecall.reload('me'::name)");
$node->poll_query_until($hostile, q(SELECT phase OPERATOR(pg_catalog.=) 'done'::text FROM rolecall.stat_progress WHERE projection OPERATOR(pg_catalog.=) 'me'::name)) or die 'nothing was loaded';
my $token = $node->safe_psql($hostile, "$plain SET rolecall.refresh_grace = '0s'; SELECT (rolecall.issue_refresh_token(3::bigint, '1 hour'::interval)).token");
like(error_in($hostile, "SET rolecall.refresh_grace = '0s'; $plain SELECT rolecall.refresh('$token'::text); SELECT rolecall.refresh('$token'::text)"), qr/RC306/, 'a token that is used again revokes its family, in another process');
is($node->safe_psql($hostile, "$plain SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM joe.ran"), '0', 'nothing of joe\'s ran in the worker, the loader and the revoker');

$node->stop;
done_testing();
