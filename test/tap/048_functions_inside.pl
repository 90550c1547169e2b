# What runs inside what a projection runs: functions that read a table, functions whose text is read when they run, and what is
# temporary, each reached by every way there is. Whether the planner puts a function in place of its call plays no part.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('functions_inside', "autovacuum = off\n");
$node->safe_psql('postgres', 'CREATE ROLE app_owner; CREATE ROLE definer');

my $world = <<'SQL';
SET client_min_messages = error; SET check_function_bodies = off;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app CASCADE; DROP SCHEMA IF EXISTS other CASCADE;
CREATE EXTENSION rolecall;
CREATE SCHEMA app; CREATE SCHEMA other;
CREATE TABLE app.users (id bigint PRIMARY KEY, name text); INSERT INTO app.users VALUES (1, 'ada');
CREATE TABLE app.z (id bigint, n text); INSERT INTO app.z VALUES (1, 'one');
CREATE TYPE app.e AS ENUM ('a', 'b'); CREATE TYPE app.c2 AS (a int);
SQL
my $create = q(SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', watches => '{"app.users": "id"}'));

# A function of a name and a body, in the ways in which the planner does not put it in place of its call.
sub atomic { my ($name, $body, $options) = @_; return "CREATE OR REPLACE FUNCTION app.$name IMMUTABLE " . ($options // '') . " LANGUAGE sql BEGIN ATOMIC $body; END;"; }
sub quoted { my ($name, $body, $options) = @_; return "CREATE OR REPLACE FUNCTION app.$name IMMUTABLE " . ($options // '') . " LANGUAGE sql AS \$\$ $body \$\$;"; }

sub view { my ($doc, $more) = @_; return "CREATE OR REPLACE VIEW app.v AS SELECT u.id AS uid, to_jsonb($doc) AS doc FROM app.users u " . ($more // '') . ';'; }
sub begin_world { my ($more) = @_; $node->safe_psql('postgres', $world . ($more // '')); return; }
sub problems { return $node->safe_psql('postgres', 'SELECT problem FROM rolecall.check_projections()'); }

sub is_right {
	my ($what) = @_;
	is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), $node->safe_psql('postgres', q(SELECT doc FROM app.v WHERE uid = 1)), $what) for 1 .. 2;
	return;
}

# Not where the view is an error.
sub is_hit {
	my (undef, $out) = $node->psql('postgres', q(SELECT rolecall.project('p', '1'); SELECT rolecall.project('p', '1'); SELECT hits FROM rolecall.stat_cache;
		SELECT rolecall.project('p', '1'); SELECT hits FROM rolecall.stat_cache), on_error_stop => 0);
	return $out =~ /^(\d+)\n[^\n]*\n(\d+)$/m && $2 > $1;
}

# The ways from a view to app.leaf(), which returns text: what else there is, the document, and more of the query.
my $comparison = q(CREATE FUNCTION app.lt(app.c2, app.c2) RETURNS boolean IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT ($1).a < ($2).a; END;
	CREATE FUNCTION app.gt(app.c2, app.c2) RETURNS boolean IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT ($1).a > ($2).a; END;
	CREATE FUNCTION app.eq(app.c2, app.c2) RETURNS boolean IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT ($1).a = ($2).a; END;
	CREATE FUNCTION app.cmp(app.c2, app.c2) RETURNS int IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT ($1).a - ($2).a + length(app.leaf(1)) * 0; END;
	CREATE OPERATOR app.< (LEFTARG = app.c2, RIGHTARG = app.c2, FUNCTION = app.lt); CREATE OPERATOR app.> (LEFTARG = app.c2, RIGHTARG = app.c2, FUNCTION = app.gt);
	CREATE OPERATOR app.= (LEFTARG = app.c2, RIGHTARG = app.c2, FUNCTION = app.eq);
	CREATE OPERATOR CLASS app.c2_ops DEFAULT FOR TYPE app.c2 USING btree AS OPERATOR 1 app.<, OPERATOR 3 app.=, OPERATOR 5 app.>, FUNCTION 1 app.cmp(app.c2, app.c2););
my $aggregate = atomic('add(text, bigint) RETURNS text', 'SELECT $1 || app.leaf($2)');
my @ways = (
	[ 'a call', '', 'app.leaf(u.id)' ],
	[ 'a wrapper of BEGIN ATOMIC', atomic('f(i bigint) RETURNS text', 'SELECT app.leaf(i)'), 'app.f(u.id)' ],
	[ 'a wrapper that is SECURITY DEFINER', atomic('f(i bigint) RETURNS text', 'SELECT app.leaf(i)', 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'a wrapper with a setting', atomic('f(i bigint) RETURNS text', 'SELECT app.leaf(i)', q(SET work_mem = '1MB')), 'app.f(u.id)' ],
	[ 'a wrapper in quotes whose names are found by its own search_path', quoted('f(i bigint) RETURNS text', 'SELECT leaf(i)', 'SET search_path = other, app'), 'app.f(u.id)' ],
	[ 'a wrapper of a wrapper that has no search_path of its own', quoted('g(i bigint) RETURNS text', 'SELECT leaf(i)', 'STRICT') . quoted('f(i bigint) RETURNS text', 'SELECT g(i)', 'SET search_path = app'), 'app.f(u.id)' ],
	[ 'a polymorphic wrapper', quoted('f(i anyelement) RETURNS text', 'SELECT app.leaf($1::bigint)', 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'a wrapper in FROM', atomic('f(i bigint) RETURNS SETOF text', 'SELECT app.leaf(i)', 'STRICT SECURITY DEFINER'), 's.s', ', app.f(u.id) s(s)' ],
	[ 'a wrapper that returns a record', quoted('f(i bigint) RETURNS record', 'SELECT app.leaf(i), i', 'STRICT'), 's.a', ', app.f(u.id) s(a text, b bigint)' ],
	[ 'a recursive wrapper', quoted('f(i bigint) RETURNS text', 'SELECT CASE WHEN $1 > 1 THEN $1::text ELSE app.leaf($1) END') . quoted('f(i bigint) RETURNS text', 'SELECT CASE WHEN $1 > 1 THEN app.f($1 - 1) ELSE app.leaf($1) END', 'STRICT'), 'app.f(u.id)' ],
	[ 'an operator in a wrapper', 'CREATE OPERATOR app.~~~ (RIGHTARG = bigint, FUNCTION = app.leaf);' . atomic('f(i bigint) RETURNS text', 'SELECT OPERATOR(app.~~~) i'), 'app.f(u.id)' ],
	[ 'an operator', atomic('two(a bigint, b bigint) RETURNS text', 'SELECT app.leaf(b)', 'STRICT SECURITY DEFINER') . 'CREATE OPERATOR app.~~~ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = app.two);', 'u.id OPERATOR(app.~~~) u.id' ],
	[ 'a default argument in a wrapper', atomic('d(i bigint, t text DEFAULT app.leaf(1)) RETURNS text', 'SELECT t') . atomic('f(i bigint) RETURNS text', 'SELECT app.d(i)', 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'an aggregate', "$aggregate CREATE AGGREGATE app.all_of(bigint) (SFUNC = app.add, STYPE = text, INITCOND = '');", '(SELECT app.all_of(x.id) FROM app.users x)' ],
	[ 'an aggregate in a wrapper', "$aggregate CREATE AGGREGATE app.all_of(bigint) (SFUNC = app.add, STYPE = text, INITCOND = '');" . atomic('f(i bigint) RETURNS text', 'SELECT app.all_of(x) FROM generate_series(1, i) x', 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'the final function of a polymorphic aggregate', quoted('keep(anyelement, anyelement) RETURNS anyelement', 'SELECT $1', 'STRICT') . quoted('finish(anyelement) RETURNS text', 'SELECT app.leaf($1::bigint)', 'STRICT') . 'CREATE AGGREGATE app.first_of(anyelement) (SFUNC = app.keep, STYPE = anyelement, FINALFUNC = app.finish);', '(SELECT app.first_of(x.id) FROM app.users x)' ],
	[ 'a window function', "$aggregate CREATE AGGREGATE app.all_of(bigint) (SFUNC = app.add, STYPE = text, INITCOND = '');", 'w.t', 'JOIN LATERAL (SELECT app.all_of(x.id) OVER () AS t FROM app.users x) w ON true' ],
	[ 'a cast to json', atomic('j(app.e) RETURNS json', 'SELECT to_json(app.leaf(1))', 'STRICT SECURITY DEFINER') . 'CREATE CAST (app.e AS json) WITH FUNCTION app.j(app.e);', q('a'::app.e) ],
	[ 'a cast to json in a wrapper', quoted('j(app.e) RETURNS json', 'SELECT to_json(app.leaf(1))', 'STRICT') . 'CREATE CAST (app.e AS json) WITH FUNCTION app.j(app.e);' . atomic('f(i bigint) RETURNS jsonb', q(SELECT to_jsonb('a'::app.e)), 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'a cast to json of a field in a record', atomic('j(app.e) RETURNS json', 'SELECT to_json(app.leaf(1))', 'STRICT') . 'CREATE CAST (app.e AS json) WITH FUNCTION app.j(app.e);' . atomic('f(i bigint) RETURNS jsonb', q(SELECT to_jsonb(r) FROM (SELECT ARRAY['a'::app.e] AS es) r), 'STRICT'), 'app.f(u.id)' ],
	[ 'a comparison of elements', $comparison, 'ARRAY[ROW(1)::app.c2] < ARRAY[ROW(2)::app.c2]' ],
	[ 'the greatest of arrays', $comparison, 'cardinality((SELECT max(ARRAY[ROW(x.id)::app.c2]) FROM app.users x))' ],
	[ 'a sort by a range', "$comparison CREATE TYPE app.span AS RANGE (subtype = app.c2, subtype_opclass = app.c2_ops);", '(SELECT count(*) FROM (SELECT app.span(ROW(1)::app.c2, ROW(x.id + 1)::app.c2) AS s FROM app.users x ORDER BY 1) y)' ],
	[ 'a comparison of elements in a wrapper', $comparison . atomic('f(i bigint) RETURNS boolean', 'SELECT ARRAY[ROW(1)::app.c2] < ARRAY[ROW(i)::app.c2]', 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'a built-in operator in a class of its own', atomic('hash(bigint, bigint) RETURNS bigint', 'SELECT hashint8extended($1, $2) + length(app.leaf(1)) * 0', 'STRICT SECURITY DEFINER') . 'CREATE OPERATOR CLASS app.int_ops FOR TYPE bigint USING hash AS OPERATOR 1 =, FUNCTION 2 app.hash(bigint, bigint);', 'u.id = 1' ],
	[ 'the CHECK of a domain', atomic('ok(text) RETURNS boolean', 'SELECT app.leaf(1) IS NOT NULL', 'STRICT SECURITY DEFINER') . 'CREATE DOMAIN app.d AS text CHECK (app.ok(VALUE));', 'u.name::app.d' ],
	[ 'the CHECK of a domain in a wrapper', 'CREATE DOMAIN app.d AS text CHECK (app.leaf(1) IS NOT NULL);' . atomic('f(i bigint) RETURNS text', q(SELECT i::text::app.d), 'STRICT SECURITY DEFINER'), 'app.f(u.id)' ],
	[ 'the domain that a function returns', 'CREATE DOMAIN app.d AS text CHECK (app.leaf(1) IS NOT NULL); CREATE FUNCTION app.f(i bigint) RETURNS app.d IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN i; END $$;', 'app.f(u.id)' ],
	[ 'the domain in a composite type that a function returns', 'CREATE DOMAIN app.d AS text CHECK (app.leaf(1) IS NOT NULL); CREATE DOMAIN app.dd AS app.d[]; CREATE TYPE app.cd AS (a int, d app.dd); CREATE FUNCTION app.f(i bigint) RETURNS app.cd IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ DECLARE r app.cd; BEGIN r.a := i; RETURN r; END $$;', 'app.f(u.id)' ],
	[ 'the domain of a column that is made of json', 'CREATE DOMAIN app.d AS text CHECK (app.leaf(1) IS NOT NULL); CREATE TYPE app.cd AS (d app.d);' . atomic('f(i bigint) RETURNS text', q(SELECT (jsonb_populate_record(NULL::app.cd, '{"d": "x"}')).d), 'STRICT'), 'app.f(u.id)' ],
	[ 'the domain of a list of columns', 'CREATE DOMAIN app.d AS text CHECK (app.leaf(1) IS NOT NULL);' . atomic('f(i bigint) RETURNS text', q(SELECT r.d FROM jsonb_to_record('{"d": "x"}') r(d app.d)), 'STRICT'), 'app.f(u.id)' ],
	[ 'a policy that calls a wrapper', atomic('f(i bigint) RETURNS boolean', 'SELECT app.leaf(i) IS NOT NULL', 'STRICT SECURITY DEFINER') . 'GRANT USAGE ON SCHEMA app TO app_owner; ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; ALTER TABLE app.users FORCE ROW LEVEL SECURITY; CREATE POLICY p ON app.users USING (app.f(id));', 'u.name', policed => 1 ],
	[ 'an inlined wrapper around a definer', atomic('g(i bigint) RETURNS text', 'SELECT app.leaf(i)', 'SECURITY DEFINER') . atomic('f(i bigint) RETURNS text', 'SELECT app.g(i)'), 'app.f(u.id)' ],
	[ 'a wrapper that is volatile inside', atomic('f(i bigint) RETURNS text', 'SELECT app.g(i)', 'STRICT SECURITY DEFINER') =~ s/^/CREATE FUNCTION app.g(i bigint) RETURNS text VOLATILE LANGUAGE sql BEGIN ATOMIC SELECT app.leaf(i); END;/r, 'app.f(u.id)' ],
);

# ---- A function that reads a table

# The innermost one: what the server may put in place of its call, and what it may not.
my @leaves = (
	[ 'BEGIN ATOMIC', atomic('leaf(i bigint) RETURNS text', 'SELECT n FROM app.z WHERE id = i') ],
	[ 'SECURITY DEFINER', quoted('leaf(i bigint) RETURNS text', 'SELECT n FROM app.z WHERE id = i', 'STRICT SECURITY DEFINER') ],
);
my @harmless = ('harmless', atomic('leaf(i bigint) RETURNS text', q(SELECT i::text || 'x')));

sub of_owner { my (%more) = @_; return $more{policed} ? 'ALTER TABLE app.users OWNER TO app_owner; ALTER VIEW app.v OWNER TO app_owner;' : ''; }

for my $way (@ways) {
	my ($what, $setup, $doc, $more, @rest) = @$way;
	if (defined $more && $more eq 'policed') { ($more, @rest) = ('', 'policed', @rest); }
	my %more = @rest;
	my $made = $setup . view($doc, $more) . of_owner(%more);
	for my $leaf (@leaves) {
		begin_world($leaf->[1] . $made);
		like(error_of($node, $create), qr/42P17: .*\n.*function app\.leaf\(bigint\) reads a table/, "refused: $leaf->[0], by $what");
	}
	begin_world($harmless[1] . $made . $create);
	is_right("admitted where it reads none: $what");
	$node->safe_psql('postgres', $leaves[0][1]);
	like(problems(), qr/function app\.leaf\(bigint\) reads a table/, '... a problem when it reads one later');
	is_right('... and read');
	$node->safe_psql('postgres', q(UPDATE app.z SET n = 'two'));
	is_right('... as it is');
}

# The fault is noticed: a definer that is not looked into.
begin_world($leaves[0][1] . $ways[2][1] . view('app.f(u.id)'));
set_fault($node, 60);
$node->safe_psql('postgres', "$create; SELECT rolecall.project('p', '1'); UPDATE app.z SET n = 'two'");
is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1') = doc FROM app.v)), 'f', 'fault 60 is noticed');
set_fault($node, 0);

# ---- A function whose text is read when it runs

my $text = q(CREATE TABLE app.other (a int, b text); CREATE FUNCTION app.leaf(i bigint) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ DECLARE r app.other; BEGIN r.b := 'x'; RETURN to_jsonb(r)::text; END $$;);
for my $way (@ways) {
	my ($what, $setup, $doc, $more, @rest) = @$way;
	if (defined $more && $more eq 'policed') { ($more, @rest) = ('', 'policed', @rest); }
	my %more = @rest;
	begin_world($text . $setup . view($doc, $more) . of_owner(%more) . $create);
	is_right("a text, by $what");
	$node->safe_psql('postgres', 'ALTER TABLE app.other RENAME a TO c');
	is_right('... and after a change of what it names');
	# A session with a temporary schema asks the view: this shows that the function was seen, whatever the document says.
	is($node->safe_psql('postgres', q(CREATE TEMP TABLE mine (a int); SELECT rolecall.project('p', '1') IS NOT NULL; SELECT hits FROM rolecall.stat_cache; SELECT rolecall.project('p', '1') IS NOT NULL; SELECT hits FROM rolecall.stat_cache)) =~ /^t\n(\d+)\nt\n\1$/m,
		1, '... which is known to run one');
}

# ---- What is admitted

# Extensions put operators that are built in into families of theirs, beside some that are stable.
for my $case (
	[ 'citext', q(to_jsonb(array_agg(x.name::app.citext ORDER BY x.name::app.citext)) || to_jsonb(count(DISTINCT ROW(x.name::app.citext))) || to_jsonb(bool_or(x.name::app.citext OPERATOR(app.=) 'ADA'::app.citext)) || to_jsonb(max(app.replace(x.name::app.citext, 'a'::app.citext, 'b'::app.citext)))) ],
	[ 'pg_trgm', q(to_jsonb(bool_and(x.name LIKE 'a%' AND x.name ~ 'd' AND x.name = 'ada'))) ],
	[ 'btree_gin', q(to_jsonb(bool_and(x.id = 1 AND x.name < 'b'))) ],
	[ 'btree_gist', q(to_jsonb(bool_and(x.id = 1 AND x.name < 'b' AND x.id <> 2))) ],
	[ 'intarray', q(to_jsonb(bool_and(ARRAY[x.id::int] && ARRAY[1] AND ARRAY[x.id::int] OPERATOR(app.@>) ARRAY[1]))) ],
	[ 'hstore', q(to_jsonb(max((app.hstore('a', x.name))::text)) || to_jsonb(bool_or(app.hstore('a', x.name) OPERATOR(app.=) ''::app.hstore))) ],
	[ 'ltree', q(to_jsonb(array_agg(x.name::app.ltree ORDER BY x.name::app.ltree))) ])
{
	my ($extension, $doc) = @$case;
  SKIP: {
		skip "$extension is not there", 3 if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$extension'") eq '0';
		begin_world("CREATE EXTENSION $extension SCHEMA app;" . view("(SELECT $doc FROM app.users x)") . $create);
		is_right("a view with $extension");
		ok(is_hit(), '... is cached');
	}
}
begin_world(quoted('lower_name(t text) RETURNS text', 'SELECT lower(t)', 'STRICT') . quoted('pick(anyelement, anyelement) RETURNS anyelement', 'SELECT coalesce($1, $2)') . atomic('parts(t text) RETURNS SETOF text', q(SELECT x FROM unnest(string_to_array(t, 'd')) x), 'STRICT')
	. quoted('plus(anyelement, anyelement) RETURNS anyelement', 'SELECT $2', 'STRICT') . q(CREATE AGGREGATE app.last_of(anyelement) (SFUNC = app.plus, STYPE = anyelement); CREATE DOMAIN app.short AS text CHECK (length(app.lower_name(VALUE)) < 10);)
	. view(q(jsonb_build_object('l', app.lower_name(u.name), 'p', app.pick(u.name, 'x'), 'n', app.pick(u.id, 1::bigint), 's', (SELECT jsonb_agg(s) FROM app.parts(u.name) s), 'a', (SELECT app.last_of(x.name::app.short) FROM app.users x)))) . $create);
is_right('functions in SQL that read no table');
ok(is_hit(), '... are cached');

# ---- What cannot be looked at

for my $case (
	[ 'a body that names nothing there', quoted('f(i bigint) RETURNS text', 'SELECT leaf(i)', 'SET search_path = app') . 'ALTER FUNCTION app.f(bigint) SET search_path = other;', qr/the body of function app\.f\(bigint\) cannot be analyzed: function leaf\(bigint\) does not exist/ ],
	[ 'a body whose names its owner may not look up', q(CREATE FUNCTION other.hidden(i bigint) RETURNS text IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT i::text; END;) . quoted('f(i bigint) RETURNS text', 'SELECT other.hidden(i)', 'STRICT SECURITY DEFINER')
		. 'GRANT USAGE ON SCHEMA app TO definer; GRANT SELECT ON app.users TO definer; ALTER FUNCTION app.f(bigint) OWNER TO definer;', qr/the body of function app\.f\(bigint\) cannot be analyzed: permission denied for schema other/, 'ALTER VIEW app.v OWNER TO definer;' ],
	[ 'a built-in function that reads a table', atomic('f(i bigint) RETURNS text', q(SELECT query_to_xml('SELECT n FROM app.z', false, false, '')::text)), qr/it is not known what code function query_to_xml\(/ ],
	[ 'a built-in function that reads a table, in a wrapper', atomic('g(i bigint) RETURNS text', q(SELECT table_to_xml('app.z', false, false, '')::text), 'STRICT') . atomic('f(i bigint) RETURNS text', 'SELECT app.g(i)', 'SECURITY DEFINER'), qr/it is not known what code function table_to_xml\(/ ],
	[ 'a sequence', 'CREATE SEQUENCE app.s;' . atomic('f(i bigint) RETURNS text', q(SELECT nextval('app.s')::text), 'STRICT'), qr/function nextval is not immutable/ ],
	[ 'a function of the session', q(CREATE FUNCTION pg_temp.g(i bigint) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN i; END $$;) . atomic('f(i bigint) RETURNS text', 'SELECT pg_temp.g(i)'), qr/function pg_temp_\d+\.g\(bigint\) is temporary/ ])
{
	my ($what, $setup, $why, $after) = @$case;
	begin_world($harmless[1]);
	like(error_of($node, $setup . view('app.f(u.id)') . ($after // '') . $create), qr/(42P17|42501): .*\n.*$why/, "refused: $what");
}

# Where a document may be old, what a function reads plays no part.
begin_world($leaves[1][1] . $ways[2][1] . view('app.f(u.id)') . $create =~ s/watches => .*\)$/ttl => '1 hour')/r);
is_right('with a ttl a function may read a table');
begin_world($harmless[1] . quoted('f(i bigint) RETURNS text', 'SELECT leaf(i)', 'SET search_path = app') . view('app.f(u.id)') . $create);
$node->safe_psql('postgres', 'ALTER FUNCTION app.leaf(bigint) SET SCHEMA other');
like(problems(), qr/the body of function app\.f\(bigint\) cannot be analyzed/, 'what cannot be analyzed by now is a problem');
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42883: function leaf\(bigint\) does not exist/, '... and the error of the view');
$node->safe_psql('postgres', 'ALTER FUNCTION other.leaf(bigint) SET SCHEMA app');
is(problems(), '', '... until it can');
is_right('... and right');

# What a function with SECURITY DEFINER calls runs with the rights of its owner: whose that is plays no part.
begin_world($harmless[1] . atomic('f(i bigint) RETURNS text', 'SELECT app.leaf(i)', 'SECURITY DEFINER') . view('app.f(u.id)') . 'GRANT USAGE ON SCHEMA app TO PUBLIC; GRANT SELECT ON app.users TO app_owner; ALTER FUNCTION app.leaf(bigint) OWNER TO definer; ALTER VIEW app.v OWNER TO app_owner;');
is($node->safe_psql('postgres', $create), '', 'a stranger\'s function that runs as somebody else');
$node->safe_psql('postgres', 'ALTER FUNCTION app.f(bigint) SECURITY INVOKER STRICT');
like(error_of($node, q(SELECT rolecall.project('p', '1'))), qr/42501: .*\n.*function app\.leaf\(bigint\) belongs to role definer/, '... may not run as the owner of the view');

# ---- What is temporary

for my $case (
	[ 'a row type of a temporary table', 'CREATE TEMP TABLE t (a int); ALTER TABLE app.users ADD c pg_temp.t; UPDATE app.users SET c = ROW(1);', 'u', 'ALTER TABLE t RENAME a TO b' ],
	[ '... in an array', 'CREATE TEMP TABLE t (a int); ALTER TABLE app.users ADD c pg_temp.t[]; UPDATE app.users SET c = ARRAY[ROW(1)::pg_temp.t];', 'u.c', 'ALTER TABLE t ADD b int' ],
	[ '... in a composite type', 'CREATE TEMP TABLE t (a int); CREATE TYPE app.ct AS (t pg_temp.t); ALTER TABLE app.users ADD c app.ct; UPDATE app.users SET c.t = ROW(1);', 'u.c', 'ALTER TABLE t RENAME a TO b' ],
	[ '... of a temporary view', 'CREATE TEMP VIEW t AS SELECT 1 AS a; ALTER TABLE app.users ADD c pg_temp.t; UPDATE app.users SET c = ROW(1);', 'u', 'ALTER VIEW t RENAME a TO b' ],
	[ 'a temporary composite type', 'CREATE TYPE pg_temp.t AS (a int); ALTER TABLE app.users ADD c pg_temp.t; UPDATE app.users SET c = ROW(1);', 'u', 'ALTER TYPE pg_temp.t RENAME ATTRIBUTE a TO b CASCADE' ],
	[ 'a temporary domain', 'CREATE DOMAIN pg_temp.t AS text; ALTER TABLE app.users ADD c pg_temp.t;', 'u.c', q(ALTER DOMAIN pg_temp.t ADD CHECK (VALUE <> 'x')) ],
	[ 'a temporary type in the signature of a function', q(CREATE TEMP TABLE t (a int); CREATE FUNCTION app.row_of(i bigint) RETURNS pg_temp.t IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN ROW(i); END $$;
		CREATE FUNCTION app.f(r pg_temp.t) RETURNS jsonb IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN to_jsonb(r); END $$;), 'app.f(app.row_of(u.id))', 'ALTER TABLE t RENAME a TO b' ],
	[ 'a temporary type inside a function', q(CREATE TEMP TABLE t (a int);) . atomic('f(i bigint) RETURNS jsonb', 'SELECT to_jsonb(ROW(i)::pg_temp.t)', 'STRICT'), 'app.f(u.id)', 'ALTER TABLE t RENAME a TO b' ])
{
	my ($what, $setup, $doc, $change) = @$case;
	begin_world();
	my $session = session($node);
	$session->query_safe("SET client_min_messages = error; $setup");
	$session->query_safe(view($doc));
	like(error_of($node, $create), qr/42P17: .*\n.*type pg_temp_\d+\.\S+ is temporary/, "refused: $what");
	$session->query_safe($change);
	$session->query_safe("DROP VIEW app.v; ALTER TABLE app.users DROP COLUMN IF EXISTS c");
	$session->quit;
}

begin_world(view('u') . $create);
is_right('a row');
my $session = session($node);
$session->query_safe('CREATE TEMP TABLE t (a int); ALTER TABLE app.users ADD c pg_temp.t DEFAULT ROW(1)');
for my $change ('CREATE OR REPLACE VIEW app.v AS SELECT u.id AS uid, to_jsonb(u) AS doc FROM app.users u', 'ALTER TABLE t RENAME a TO b', 'ALTER TABLE t ADD c int') {
	$session->query_safe($change);
	like(problems(), qr/type pg_temp_\d+\.t is temporary/, "a row type that became one of a temporary table: a problem after $change");
	is_right('... and right');
	is($session->query_safe(q(SELECT rolecall.project('p', '1') = (SELECT doc FROM app.v))), 't', '... in its session');
}
$session->query_safe('ALTER TABLE app.users DROP COLUMN c CASCADE');
$session->quit;

# A text may name a row type that has the temporary one in it.
begin_world(q(CREATE TABLE app.r (a int); CREATE FUNCTION app.f(i bigint) RETURNS jsonb IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ DECLARE r app.r%ROWTYPE; BEGIN r.c.a := i; RETURN to_jsonb(r); END $$;));
$session = session($node);
$session->query_safe('CREATE TEMP TABLE t (a int, b int); ALTER TABLE app.r ADD c pg_temp.t');
$node->safe_psql('postgres', view('app.f(u.id)') . $create);
is_right('a text that has a temporary row type in a variable');
$session->query_safe($_) for 'ALTER TABLE t RENAME b TO c';
is_right('... and after a change of that');
is($node->safe_psql('postgres', 'SELECT invalidations FROM rolecall.stat_projection'), $session->query_safe('CREATE TEMP TABLE t2 (a int); ALTER TABLE t2 RENAME a TO b; DROP TABLE t2; SELECT invalidations FROM rolecall.stat_projection'), '... while other temporary tables invalidate nothing');
$session->query_safe('ALTER TABLE app.r DROP COLUMN c');
$session->quit;

# A policy that reads what another session has.
begin_world(view('u.name') . 'GRANT USAGE ON SCHEMA app TO app_owner; ALTER TABLE app.users OWNER TO app_owner; ALTER VIEW app.v OWNER TO app_owner;
	ALTER TABLE app.users ENABLE ROW LEVEL SECURITY; ALTER TABLE app.users FORCE ROW LEVEL SECURITY; CREATE POLICY a ON app.users USING (true);' . $create);
is_right('a policy');
$session = session($node);
$session->query_safe('CREATE TEMP TABLE t (a int); GRANT SELECT ON t TO PUBLIC; CREATE POLICY r ON app.users AS RESTRICTIVE USING (NOT EXISTS (SELECT FROM pg_temp.t))');
like($session->query_safe('SELECT problem FROM rolecall.check_projections()'), qr/^pg_temp_\d+\.t is a temporary table$/m, 'a policy that reads a temporary table is a problem in its session');
like(problems(), qr/^pg_temp_\d+\.t is a temporary table$/m, '... and in all others');
ok(!is_hit(), '... where nothing is cached');
$session->query_safe('INSERT INTO t VALUES (1)');
is($session->query_safe(q(SELECT rolecall.project('p', '1') IS NULL)), 't', '... and its session reads what it sees');
$session->query_safe('DROP POLICY r ON app.users');
is(problems(), '', '... until it is gone');
is_right('... and right');
$session->quit;

begin_world();
$session = session($node);
$session->query_safe('CREATE TEMP VIEW v AS SELECT id AS uid, to_jsonb(name) AS doc FROM app.users');
is($session->query_safe(q(DO $$ DECLARE why text := 'made'; BEGIN
	BEGIN PERFORM rolecall.create_projection('p', 'v', 'uid', 'doc', watches => '{"app.users": "id"}'); EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL; END;
	PERFORM set_config('test.why', regexp_replace(why, '_\d+', '_N'), false); END $$; SELECT current_setting('test.why'))), 'In the way: pg_temp_N.v is a temporary view.', 'a temporary view is refused');
$session->quit;

$node->stop;
done_testing();
