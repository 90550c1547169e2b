# What a view's query does not name runs as the view's owner as well: what the planner evaluates of indexes, statistics,
# constraints and partition keys, what operator classes consist of, and what values of types are made by. A projection is
# refused where any of it belongs to a role with fewer rights; where that comes about later it is a lasting problem, and an
# error for every reader. The code says in the log that it ran, as whom.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('planned_code', "autovacuum = off\nconstraint_exclusion = on\n");

# "owner" may have the view; "lesser" has not its rights.
$node->safe_psql('postgres', 'CREATE ROLE owner; CREATE ROLE lesser LOGIN');

# The functions of app belong to OWNER, as whose the view is made; those of evil to lesser. evil.t belongs to lesser too.
my $world = <<'SQL';
SET client_min_messages = error;
DROP EXTENSION IF EXISTS rolecall CASCADE;
DROP SCHEMA IF EXISTS app, evil CASCADE;
CREATE EXTENSION rolecall;
CREATE SCHEMA app; CREATE SCHEMA evil AUTHORIZATION lesser;
GRANT ALL ON SCHEMA app, evil TO PUBLIC;
SET ROLE lesser;
CREATE FUNCTION evil.run(anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'evil % as %', 'code ran', current_user; RETURN $1; END $$;
CREATE FUNCTION evil.one(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN evil.run(i); END';
CREATE FUNCTION evil.compare(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN evil.run(btint4cmp(a, b)); END';
CREATE FUNCTION evil.difference(a int, b int) RETURNS double precision IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN evil.run(a::double precision - b); END';
CREATE DOMAIN evil.checked AS int CHECK (evil.one(VALUE) > 0);
CREATE TABLE evil.t (id int PRIMARY KEY, d evil.checked, name text); INSERT INTO evil.t VALUES (1, 1, 'one');
GRANT SELECT ON evil.t TO PUBLIC;
RESET ROLE;
SET ROLE OWNER;
CREATE FUNCTION app.run(anyelement) RETURNS anyelement IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE LOG 'own % as %', 'code ran', current_user; RETURN $1; END $$;
CREATE FUNCTION app.one(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN app.run(i); END';
CREATE FUNCTION app.compare(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN app.run(btint4cmp(a, b)); END';
CREATE FUNCTION app.difference(a int, b int) RETURNS double precision IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN app.run(a::double precision - b); END';
CREATE DOMAIN app.checked AS int CHECK (app.one(VALUE) > 0);
RESET ROLE;
SQL

sub log_position { return -s $node->logfile; }
# What ran as somebody else than its author.
sub evil_since { my ($position) = @_; return slurp_file($node->logfile, $position) =~ /(evil code ran as (?!lesser)\w+)/ ? $1 : ''; }
# Code of the view's owner, likewise.
sub own_since { my ($position, $owner) = @_; return slurp_file($node->logfile, $position) =~ /(own code ran as (?!$owner\b)\w+)/ ? $1 : ''; }

sub build {
	my ($owner, @statements) = @_;
	my $sql = join("\n", $world, @statements);
	$sql =~ s/\bOWNER\b(?! TO)/$owner/g;
	return $node->safe_psql('postgres', $sql);
}

# Statements that make the view and its projection, as $owner's.
sub statements {
	my ($owner, $query, $options) = @_;
	return "CREATE VIEW app.v AS $query; ALTER VIEW app.v OWNER TO $owner; SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', $options)";
}

sub refused {
	my ($owner, $made, $found, $what) = @_;
	my $position = log_position();
	my $error = error_of($node, $made);
	like($error, qr/ERROR:  42501: projection "p" would run code with more rights than its owner has\n/, "refused: $what");
	like($error, qr/DETAIL:  In the way: [^\n]*\Q$found\E/, '... and named');
	is(evil_since($position), '', '... and nothing of it ran');
	return;
}

# After a change that makes a projection unsafe which was in order.
sub refused_later {
	my ($change, $found, $what) = @_;
	my $session = session($node);
	$session->query_safe(q(SELECT rolecall.project('p', '1'))) for 1 .. 2;
	is($node->safe_psql('postgres', 'SELECT p.* FROM rolecall.check_projections() p WHERE projection = $$p$$'), '', "in order before: $what");
	$node->safe_psql('postgres', $change);
	my $position = log_position();
	like(error_of($node, q(SELECT rolecall.project('p', '2'))), qr/ERROR:  42501: projection "p" would run code.*\nDETAIL:  In the way: [^\n]*\Q$found\E/, "later: $what: reads raise an error");
	$session->query(q(SELECT rolecall.project('p', '3')));
	like($session->{stderr}, qr/would run code with more rights/, '... in a session that knew it before, too');
	like($node->safe_psql('postgres', 'SELECT problem FROM rolecall.check_projections()'), qr/\Q$found\E/, '... a problem');
	is($node->safe_psql('postgres', q(SELECT bool_or(lasting) FROM rolecall.projection_problems('p'))), 't', '... that lasts');
	is(evil_since($position), '', '... and nothing of it ran');
	$session->quit;
	return;
}

# ---- What is made of SCHEMA's functions, beside a table app.t of the view's owner

my $query = 'SELECT id AS uid, to_jsonb(name) AS doc FROM app.t';
my $watches = q(watches => '{"app.t": "id"}');
my $table = "CREATE TABLE app.t (id int PRIMARY KEY, name text); ALTER TABLE app.t OWNER TO OWNER; INSERT INTO app.t VALUES (1, 'one');";
my $parent = 'CREATE TABLE app.t (id int, name text) PARTITION BY LIST ((SCHEMA.one(id) + SCHEMA.one(1))); ALTER TABLE app.t OWNER TO OWNER; '
  . "CREATE TABLE app.k PARTITION OF app.t DEFAULT; ALTER TABLE app.k OWNER TO OWNER; INSERT INTO app.t VALUES (1, 'one');";
my $btree = 'CREATE OPERATOR CLASS app.ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 SCHEMA.compare(int, int);';

my @carriers = (
	[ 'an index', $table, 'CREATE INDEX ON app.t ((SCHEMA.one(1)));', 'one(integer)' ],
	[ 'an index by a column and an expression', $table, 'CREATE INDEX ON app.t (name, (id + SCHEMA.one(1)));', 'one(integer)' ],
	[ 'an expression of a column only', $table, 'CREATE INDEX ON app.t ((SCHEMA.one(id)));', 'one(integer)' ],
	[ 'the condition of an index', $table, 'CREATE INDEX ON app.t (name) WHERE SCHEMA.one(1) > 0;', 'one(integer)' ],
	[ 'an exclusion constraint', $table, 'ALTER TABLE app.t ADD EXCLUDE USING btree ((SCHEMA.one(id)) WITH =);', 'one(integer)' ],
	[ 'statistics', $table, 'CREATE STATISTICS app.s ON (SCHEMA.one(1)), id FROM app.t;', 'one(integer)' ],
	[ 'a constraint', $table, 'ALTER TABLE app.t ADD CHECK (SCHEMA.one(1) > 0);', 'one(integer)' ],
	[ 'the default of an argument in a constraint', $table, 'CREATE FUNCTION app.two(a int, b int DEFAULT SCHEMA.one(1)) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT a <= b $$;
		ALTER FUNCTION app.two(int, int) OWNER TO OWNER; ALTER TABLE app.t ADD CHECK (app.two(1));', 'one(integer)' ],
	[ 'a function in SQL in an index', $table, 'CREATE FUNCTION app.inner_sql(i int) RETURNS int IMMUTABLE LANGUAGE sql AS $$ SELECT SCHEMA.one(1) $$;
		ALTER FUNCTION app.inner_sql(int) OWNER TO OWNER; CREATE INDEX ON app.t ((app.inner_sql(id)));', 'one(integer)' ],
	[ q(a child's constraint), $table, 'CREATE TABLE app.k (CHECK (SCHEMA.one(1) > 0)) INHERITS (app.t); ALTER TABLE app.k OWNER TO OWNER;', 'one(integer)' ],
	[ q(a child's index), $table, 'CREATE TABLE app.k () INHERITS (app.t); ALTER TABLE app.k OWNER TO OWNER; CREATE INDEX ON app.k ((SCHEMA.one(1)));', 'one(integer)' ],
	[ q(the index of a child's child), $table, 'CREATE TABLE app.k () INHERITS (app.t); ALTER TABLE app.k OWNER TO OWNER;
		CREATE TABLE app.kk () INHERITS (app.k); ALTER TABLE app.kk OWNER TO OWNER; CREATE INDEX ON app.kk ((SCHEMA.one(1)));', 'one(integer)' ],
	[ 'a partition key', '', $parent, 'one(integer)' ],
	[ 'the key of the table of which it is a partition', '', $parent, 'one(integer)', query => 'SELECT id AS uid, to_jsonb(name) AS doc FROM app.k', watches => q(watches => '{"app.k": "id"}') ],
	[ 'an operator class of an index', $table, "$btree CREATE INDEX ON app.t (id app.ops);", 'compare(integer,integer)' ],
	[ 'an operator class of a partition key', '', "$btree CREATE TABLE app.t (id int, name text) PARTITION BY RANGE (id app.ops); ALTER TABLE app.t OWNER TO OWNER;
		CREATE TABLE app.k PARTITION OF app.t DEFAULT; ALTER TABLE app.k OWNER TO OWNER; INSERT INTO app.t VALUES (1, 'one');", 'compare(integer,integer)' ],
	[ 'an operator class with built-in operators', $table, $btree, 'compare(integer,integer)', query => 'SELECT a.id AS uid, to_jsonb(b.name) AS doc FROM app.t a JOIN app.t b USING (id)' ],
	[ 'a range, which the planner estimates', $table, 'CREATE TYPE app.r AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = SCHEMA.difference); ALTER TYPE app.r OWNER TO OWNER; ALTER TABLE app.t ADD r app.r;',
		'difference(integer,integer)', query => q(SELECT id AS uid, to_jsonb(name) AS doc FROM app.t WHERE r && app.r(1, 2) OR r IS NULL) ]);

for my $owner (qw(postgres owner)) {
	for my $carrier (@carriers) {
		my ($what, $before, $made, $found, %more) = @$carrier;
		my $projection = statements($owner, $more{query} // $query, $more{watches} // $watches);
		my $name = "$what, under $owner";

		build($owner, $before, $made =~ s/SCHEMA/evil/gr);
		refused($owner, $projection, "function evil.$found", $name);

		# Code of the owner's is in order, until it is another's.
		build($owner, $before, $made =~ s/SCHEMA/app/gr, $projection);
		my $position = log_position();
		is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), '"one"', "admitted with code of the view's owner: $name");
		is(own_since($position, $owner), '', '... which runs as nobody else');
		my ($function, $arguments) = $found =~ /^(\w+)\((.*)\)/;
		my ($result, $body) = $node->safe_psql('postgres', "SELECT pg_get_function_result(oid), replace(prosrc, 'app.run', 'evil.run') FROM pg_proc WHERE oid = 'app.$found'::regprocedure") =~ /(.*)\|(.*)/;
		my $names = $function eq 'one' ? 'i int' : 'a int, b int';
		refused_later("ALTER FUNCTION app.$found OWNER TO lesser; SET ROLE lesser; CREATE OR REPLACE FUNCTION app.$function($names) RETURNS $result IMMUTABLE LANGUAGE plpgsql AS '$body'", "function app.$found", $name);

		# The owner brings code of another's in.
		next if $before eq '' or exists $more{query};
		build($owner, $before, $projection);
		refused_later($made =~ s/SCHEMA/evil/gr =~ s/\bOWNER\b(?! TO)/$owner/gr, "function evil.$found", "it is made now: $name");
	}
}

# Built-in functions, and those of superusers, in all of these places.
for my $owner (qw(postgres owner)) {
	build($owner, <<'SQL', statements($owner, $query, $watches));
CREATE FUNCTION app.of_admin(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN i; END';
CREATE TABLE app.t (id int, name text, at timestamptz, CHECK (length(name) < 100), CHECK (app.of_admin(1) > 0)) PARTITION BY RANGE (abs(id), app.of_admin(id));
CREATE TABLE app.k PARTITION OF app.t DEFAULT; INSERT INTO app.t VALUES (1, 'one');
ALTER TABLE app.t OWNER TO OWNER; ALTER TABLE app.k OWNER TO OWNER;
CREATE INDEX ON app.t (lower(name)) WHERE at > '2020-01-01 00:00 UTC'; CREATE INDEX ON app.k (app.of_admin(id)); CREATE INDEX ON app.t USING gin (string_to_array(name, ','));
CREATE STATISTICS app.s ON (upper(name)), (app.of_admin(id)) FROM app.t;
SQL
	is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), '"one"', "admitted: built-in functions and a superuser's, under $owner");
	is($node->safe_psql('postgres', 'SELECT * FROM rolecall.check_projections()'), '', '... without a problem');
}

# ---- A new partition is watched with the rights of the extension's owner, whose table it may not be

build('owner', 'CREATE TABLE app.t (id int, name text) PARTITION BY LIST (id); ALTER TABLE app.t OWNER TO OWNER;', statements('owner', $query, $watches));
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION rolecall.watch_row() TO owner');    # the server asks for it, to give the partition its parent's trigger
my $position = log_position();
$node->safe_psql('postgres', <<'SQL');
SET ROLE owner;
CREATE TABLE app.sub (id int, name text) PARTITION BY LIST ((app.one(id) + app.one(1)));
CREATE TABLE app.leaf PARTITION OF app.sub DEFAULT;
ALTER TABLE app.t ATTACH PARTITION app.sub FOR VALUES IN (1);
INSERT INTO app.t VALUES (1, 'one');
SQL
is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), '"one"', 'a new partition');
is($node->safe_psql('postgres', 'SELECT * FROM rolecall.check_projections()'), '', '... is watched');
is(own_since($position, 'owner'), '', '... and code of its owner ran as nobody else');

# ---- What reads which groups a key belongs to does so as the table's owner

my $members = <<'SQL';
CREATE TABLE app.t (id int, role_id int, name text); INSERT INTO app.t VALUES (1, 1, 'one');
CREATE TABLE app.roles (id int PRIMARY KEY, name text); INSERT INTO app.roles VALUES (1, 'reader');
GRANT SELECT ON app.t, app.roles TO owner;
SQL
my $of_members = statements('owner', 'SELECT t.id AS uid, to_jsonb(r.name) AS doc FROM app.t LEFT JOIN app.roles r ON r.id = t.role_id',
	q(watches => '{"app.t": "id", "app.roles": {"lookup": "id", "referencing": {"app.t": "role_id"}}}'));
build('owner', $members, 'CREATE INDEX ON app.t ((app.one(1)));');
$position = log_position();
like(error_of($node, $of_members), qr/42501: projection "p" would run code[^\n]*\nDETAIL:  In the way: function app.one\(integer\), [^\n]* does not have the rights of role postgres/, 'groups: the code of the view\'s owner does not run as the owner of a table');
is(own_since($position, 'owner'), '', '... and did not');
build('owner', $members, $of_members);
is($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), '"reader"', 'groups: admitted without it');
refused_later('CREATE INDEX ON app.t ((app.one(1)))', 'function app.one(integer)', 'groups');

# ---- Types of which a function makes values: their domains are asked

my $owners = 'CREATE TABLE app.t (id int PRIMARY KEY, name text); ALTER TABLE app.t OWNER TO OWNER; INSERT INTO app.t VALUES (1, \'one\'); SET ROLE OWNER; '
  . 'CREATE TYPE app.c AS (a SCHEMA.checked); CREATE TYPE app.many AS (a SCHEMA.checked[]); CREATE TYPE app.deep AS (c app.c);'
  . 'CREATE FUNCTION app.of_domain(i int) RETURNS SCHEMA.checked LANGUAGE plpgsql AS $$ BEGIN RETURN i; END $$;'
  . 'CREATE FUNCTION app.of_rows(i int) RETURNS TABLE (a SCHEMA.checked) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE format(\'SELECT %L::SCHEMA.checked\', i); END $$;'
  . 'CREATE FUNCTION app.of_composite(i int) RETURNS app.c LANGUAGE plpgsql AS $$ DECLARE c app.c; BEGIN c.a := i; RETURN c; END $$; RESET ROLE;';
my $lasting = q(watches => '{"app.t": "id"}', ttl => '1 hour');
my $json = q(jsonb_build_object('a', t.id));
for my $made (
	[ "to_jsonb(r.a) AS doc FROM app.t, jsonb_to_record($json) AS r(a SCHEMA.checked)", '{"a": 1}' ],
	[ "to_jsonb(r.a) AS doc FROM app.t, json_to_recordset(json_build_array($json)) AS r(a SCHEMA.checked)" ],
	[ "to_jsonb(r.a) AS doc FROM app.t, jsonb_to_record(jsonb_build_object('a', ARRAY[1])) AS r(a SCHEMA.checked[])" ],
	[ "to_jsonb(r.a) AS doc FROM app.t, ROWS FROM (jsonb_to_record($json) AS (a SCHEMA.checked), generate_series(1, 1)) AS r(a, b)" ],
	[ "to_jsonb(jsonb_populate_record(NULL::app.c, $json)) AS doc FROM app.t" ],
	[ "to_jsonb(jsonb_populate_record(NULL::app.deep, jsonb_build_object('c', $json))) AS doc FROM app.t" ],
	[ "to_jsonb(jsonb_populate_record(NULL::app.many, jsonb_build_object('a', ARRAY[1]))) AS doc FROM app.t" ],
	[ "to_jsonb(r) AS doc FROM app.t, json_populate_recordset(NULL::app.c, json_build_array($json)) r" ],
	[ "to_jsonb((xpath('/a/text()', x.x))[1]::text) AS doc FROM app.t, XMLTABLE('/a' PASSING xmlelement(NAME a, t.id) COLUMNS x xml PATH '.', d SCHEMA.checked PATH '.') x" ],
	[ 'to_jsonb(app.of_domain(t.id)) AS doc FROM app.t' ],
	[ 'to_jsonb(r.a) AS doc FROM app.t, app.of_rows(t.id) r' ],
	[ 'to_jsonb(app.of_composite(t.id)) AS doc FROM app.t' ])
{
	my ($columns) = @$made;
	for my $owner (qw(postgres owner)) {
		my $made = statements($owner, "SELECT t.id AS uid, $columns", $lasting);
		build($owner, $owners =~ s/SCHEMA/evil/gr);
		refused($owner, $made =~ s/SCHEMA/evil/gr, 'evil.', "with a ttl, under $owner: $columns");
		build($owner, $owners =~ s/SCHEMA/app/gr, $made =~ s/SCHEMA/app/gr);
		like($node->safe_psql('postgres', q(SELECT rolecall.project('p', '1'))), qr/1/, "admitted with the owner's, under $owner");
		next if $columns =~ /of_|XMLTABLE/;
		refused_later('ALTER DOMAIN app.checked OWNER TO lesser', 'domain app.checked', "with a ttl, under $owner");
	}
}

# A record says what it consists of when it is there.
build('owner', $owners =~ s/SCHEMA/app/gr);
refused('owner', statements('owner', 'SELECT t.id AS uid, to_jsonb(jsonb_populate_record(ROW(e.d), \'{"f1": 1}\')) AS doc FROM app.t JOIN evil.t e USING (id)', $lasting), 'evil.', 'a record like one with a column of a domain');

# Functions that are given a query, or the number of a type.
for my $call (q(record_in('(1)', 'app.c'::regtype, -1)), q(array_in('{1}', 'evil.checked'::regtype, -1)), q(domain_in('1', 'evil.checked'::regtype, -1)),
	q(query_to_xml('SELECT evil.one(1)', true, true, '')), q(table_to_xml('evil.t', true, true, '')), q((SELECT count(*) FROM ts_stat('SELECT to_tsvector(evil.one(1)::text)'))),
	q(ts_rewrite('a', 'SELECT ''a''::tsquery, evil.one(1)::text::tsquery')), q(satisfies_hash_partition('app.t'::regclass, 1, 0, 1)), q(pg_get_partition_constraintdef('app.t'::regclass)))
{
	my $position = log_position();
	like(error_of($node, 'BEGIN; DROP VIEW IF EXISTS app.v; ' . statements('owner', "SELECT t.id AS uid, jsonb_build_object('a', $call) AS doc FROM app.t", $lasting)),
		qr/42501: projection "p" would run code[^\n]*\nDETAIL:  In the way: it is not known what code function \w+\(/, "refused: $call");
	is(evil_since($position), '', '... and nothing of it ran');
}

# What passes values on makes none: the domain is asked nothing. Nor is one that does not come up.
build('owner', $table);
for my $case (
	[ 'to_jsonb(d)', '' ], [ 'jsonb_build_object(\'d\', d, \'all\', (SELECT array_agg(e.d) FROM evil.t e))', '' ], [ 'to_jsonb((SELECT max(e.d) FROM evil.t e))', '' ], [ 'to_jsonb(ROW(d, name))', '' ],
	[ 'to_jsonb(array_append(ARRAY[d], d))', '' ], [ 'to_jsonb(t)', '' ],
	[ 'jsonb_build_object(\'a\', now(), \'b\', random(), \'c\', current_setting(\'work_mem\'), \'d\', d, \'e\', age(now()))', q(, ttl => '1 hour') ],
	[ '(SELECT to_jsonb(r) FROM jsonb_to_record(to_jsonb(t)) AS r(id int, name text, d text))', q(, ttl => '1 hour') ],
	[ 'to_jsonb(quote_literal(d))', q(, ttl => '1 hour') ], [ '(SELECT jsonb_agg(to_jsonb(a)) FROM pg_stat_activity a WHERE a.pid = t.id)', q(, ttl => '1 hour') ])
{
	my ($doc, $ttl) = @$case;
	is($node->psql('postgres', 'BEGIN; ' . statements('owner', "SELECT id AS uid, $doc AS doc FROM evil.t", q(watches => '{"evil.t": "id"}') . $ttl)
			  . q(; SELECT rolecall.project('p', '1'); SELECT 1 / count(*) FROM rolecall.projections WHERE name = 'p'; ROLLBACK), on_error_stop => 1), 0, "admitted: $doc" . ($ttl ? ', with a ttl' : ''));
}

$node->stop;

done_testing();
