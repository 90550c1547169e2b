# Kits whose code changes: functions and what they call, operators, aggregates, types, casts, text search, views in views.
package Code;

use strict;
use warnings;

use World;

my @numbers = map { "$_" } 1 .. 12;
my @texts = map { "k$_" } 1 .. 12;

# --- Functions that functions call, operators, support functions of aggregates, defaults of arguments. A session's own
# answer must not depend on what it did before: an object that comes new and takes a name in a kept plan is tested elsewhere.
sub text_function {
	my ($name, $arguments, $body, $more) = @_;
	return "CREATE OR REPLACE FUNCTION $name($arguments) RETURNS text IMMUTABLE LANGUAGE plpgsql " . ($more // 'SET search_path = pg_catalog, pg_temp') . " AS \$\$ BEGIN RETURN $body; END \$\$";
}
my %functions = (
	h => sub { text_function('fn.h', 't text', "t || ' h$_[0]'") },
	other => sub { text_function('fn.other', 't text', "t || ' other$_[0]'") },
	g => sub { text_function('fn.g', 't text', "fn.h(t) || ' g$_[0]'") },
	f => sub { text_function('fn.f', 't text', "fn.g(t) || ' f$_[0]'") },
	path => sub { text_function('fn.path', 't text', "inside(t) || ' path$_[0]'", 'SET search_path = fn_first, fn, pg_catalog, pg_temp') },
	inside => sub { text_function('fn.inside', 't text', "t || ' inside$_[0]'") },
	default => sub { text_function('fn.by_default', "i int, t text DEFAULT 'default$_[0]'", 'i || t') },
	step => sub { text_function('fn.step', 's text, t text', "s || t || '$_[0]'") },
	final => sub { text_function('fn.final', 's text', "s || ' final$_[0]'") },
	equal => sub { "CREATE OR REPLACE FUNCTION fn.equal(a text, b text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN length(a) % 2 = $_[0] % 2; END \$\$" },
	shaped => sub { "CREATE OR REPLACE FUNCTION fn.shaped(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ DECLARE r fn.shape; BEGIN r.a := t; r.b := '$_[0]'; RETURN to_jsonb(r)::text; END \$\$" },
	inlined => sub { "CREATE OR REPLACE FUNCTION fn.inlined(i int) RETURNS text IMMUTABLE LANGUAGE sql AS \$\$ SELECT 'inlined$_[0]' \$\$" },
	deep => sub { "CREATE OR REPLACE FUNCTION fn.deep(i int) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'deep$_[0]'" },
	definer => sub { "CREATE OR REPLACE FUNCTION fn.definer(i int) RETURNS text IMMUTABLE STRICT SECURITY DEFINER LANGUAGE sql RETURN fn.deep(i) || ' definer$_[0]'" });
my $atomic = sub { "CREATE OR REPLACE FUNCTION fn.atomic(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN fn.h(t) || ' atomic$_[0]'" };
my $aggregate = sub { 'CREATE OR REPLACE AGGREGATE fn.joined(text) (SFUNC = fn.' . pick('step', 'step', 'step2') . ", STYPE = text, FINALFUNC = fn.final, INITCOND = '$_[0]')" };
kit(
	name => 'fn', key => 'int', keys => \@numbers, watches => '{"fn.users": "id"}', tables => { 'fn.users' => 'id' },
	setup => join(";\n",
		'DROP SCHEMA IF EXISTS fn_first CASCADE; CREATE SCHEMA fn_first',
		'CREATE TABLE fn.users (id int PRIMARY KEY, name text NOT NULL)', 'CREATE TABLE fn.names (id int PRIMARY KEY, name text)',
		'CREATE TABLE fn.shape (a text, b text)', q(INSERT INTO fn.users SELECT g, 'user' FROM generate_series(1, 12) g), q(INSERT INTO fn.names SELECT g, 'name' FROM generate_series(1, 12) g),
		map({ $functions{$_}->(0) } sort keys %functions), text_function('fn.step2', 's text, t text', q(t || s)), $atomic->(0),
		'CREATE OPERATOR fn.=== (FUNCTION = fn.equal, LEFTARG = text, RIGHTARG = text)',
		q(CREATE AGGREGATE fn.joined(text) (SFUNC = fn.step, STYPE = text, FINALFUNC = fn.final, INITCOND = '')), ''),
	view => q(CREATE VIEW fn.v AS SELECT u.id AS uid, jsonb_build_object('f', fn.f(u.name), 'constant', fn.f('constant'), 'path', fn.path(u.name), 'shaped', fn.shaped(u.name), 'atomic', fn.atomic(u.name),
		'inlined', fn.inlined(u.id), 'definer', fn.definer(u.id), 'default', fn.by_default(u.id), 'operator', u.name OPERATOR(fn.===) 'user',
		'aggregate', (SELECT fn.joined(o.name) FROM fn.users o WHERE o.id = u.id)) AS doc FROM fn.users u),
	rows => [
		sub { sprintf q(UPDATE fn.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE fn.names SET name = 'name %d'), number(1000) },
		sub { sprintf q(INSERT INTO fn.users VALUES (%d, 'new') ON CONFLICT (id) DO UPDATE SET name = 'conflict %d'), one_of(@_), number(1000) },
		sub { sprintf q(DELETE FROM fn.users WHERE id = %d AND name ~ '9$'), one_of(@_) },
	],
	ddl => [
		map({ my $function = $_; [ "function $function is replaced", sub { $functions{$function}->(1 + number(1000)) } ] } sort keys %functions),
		[ 'SQL function with a body is replaced', sub { $atomic->(number(1000)) } ],
		[ 'aggregate is replaced', sub { $aggregate->(number(1000)) } ],
		[ 'aggregate and its function', sub { ($functions{step}->(number(1000)), $aggregate->(number(1000))) } ],
		[ 'functions change names', sub { ('ALTER FUNCTION fn.h(text) RENAME TO x', 'ALTER FUNCTION fn.other(text) RENAME TO h', 'ALTER FUNCTION fn.x(text) RENAME TO other') } ],
		[ 'function is dropped and made', sub { ('DROP FUNCTION IF EXISTS fn.other(text)', $functions{other}->(number(1000))) } ],
		[ 'columns of a row type that a function names', sub { ('ALTER TABLE fn.shape RENAME a TO x', 'ALTER TABLE fn.shape RENAME b TO a', 'ALTER TABLE fn.shape RENAME x TO b') } ],
		[ 'a column more of it', sub { 'ALTER TABLE fn.shape ADD COLUMN c' . number(100000) . ' int' } ],
		[ 'called function is dropped', sub { 'DROP FUNCTION fn.inside(text)' } ],
		[ 'called function comes back', sub { $functions{inside}->(number(1000)) } ],
		[ 'a setting of a function', sub { 'ALTER FUNCTION fn.path(text) SET search_path = ' . pick('fn, fn_first, pg_catalog, pg_temp', 'fn_first, fn, pg_catalog, pg_temp') } ],
		[ 'function moves to another schema', sub { ('ALTER FUNCTION fn.inside(text) SET SCHEMA fn_first') } ],
		[ 'schema has another name', sub { ('ALTER SCHEMA fn_first RENAME TO fn_x', 'CREATE SCHEMA fn_first') } ],
		[ '... and its own', sub { ('DROP SCHEMA fn_first', 'ALTER SCHEMA fn_x RENAME TO fn_first') } ],
		[ 'function reads a table', sub { (q(CREATE OR REPLACE FUNCTION fn.inlined(i int) RETURNS text STABLE LANGUAGE sql AS $$ SELECT name FROM fn.names WHERE id = i $$), sprintf q(UPDATE fn.names SET name = 'name %d'), number(1000)) } ],
		[ 'function inside reads a table', sub { (q(CREATE OR REPLACE FUNCTION fn.deep(i int) RETURNS text IMMUTABLE LANGUAGE sql RETURN (SELECT name FROM fn.names WHERE id = i)), sprintf q(UPDATE fn.names SET name = 'name %d'), number(1000)) } ],
		[ 'function is volatile', sub { ('ALTER FUNCTION fn.g(text) ' . pick(qw(VOLATILE STABLE IMMUTABLE)), 'ALTER FUNCTION fn.f(text) ' . pick(qw(STABLE IMMUTABLE IMMUTABLE))) } ],
		[ 'operator changes function', sub { ('ALTER OPERATOR fn.=== (text, text) SET (RESTRICT = eqsel)') } ],
		[ 'strictness', sub { 'ALTER FUNCTION fn.by_default(int, text) ' . pick('STRICT', 'CALLED ON NULL INPUT') } ],
		[ 'cost', sub { 'ALTER FUNCTION fn.f(text) COST ' . (1 + number(100)) } ],
		[ 'security definer', sub { 'ALTER FUNCTION fn.g(text) SECURITY ' . pick('DEFINER', 'INVOKER') } ],
	]);

# --- Functions with a body that is read when they are made.
my $body = sub { "CREATE OR REPLACE FUNCTION at.f(i int) RETURNS text IMMUTABLE LANGUAGE sql RETURN 'f$_[0]' || i" };
kit(
	name => 'at', key => 'int', keys => \@numbers, watches => '{"at.users": "id"}', tables => { 'at.users' => 'id' },
	setup => join(";\n",
		'CREATE TABLE at.users (id int PRIMARY KEY, name text NOT NULL)', 'CREATE TABLE at.names (id int PRIMARY KEY, name text)',
		q(INSERT INTO at.users SELECT g, 'user' FROM generate_series(1, 12) g), q(INSERT INTO at.names SELECT g, 'name' FROM generate_series(1, 12) g), $body->(0), ''),
	view => q(CREATE VIEW at.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'f', at.f(u.id)) AS doc FROM at.users u),
	rows => [
		sub { sprintf q(UPDATE at.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE at.names SET name = 'name %d'), number(1000) },
	],
	ddl => [
		[ 'function is replaced', sub { $body->(number(1000)) } ],
		[ 'function reads a table', sub { ('CREATE OR REPLACE FUNCTION at.f(i int) RETURNS text STABLE LANGUAGE sql BEGIN ATOMIC SELECT name FROM at.names WHERE id = i; END', sprintf q(UPDATE at.names SET name = 'name %d'), number(1000)) } ],
		[ 'function is not immutable', sub { 'ALTER FUNCTION at.f(int) ' . pick(qw(VOLATILE STABLE IMMUTABLE)) } ],
	]);

# --- Enums, arrays of them and domains over them.
kit(
	name => 'en', key => 'int', keys => \@numbers, watches => '{"en.users": "id"}', tables => { 'en.users' => 'id' },
	setup => <<'SQL',
CREATE TYPE en.mood AS ENUM ('calm', 'angry');
CREATE DOMAIN en.often AS en.mood DEFAULT 'calm';
CREATE DOMAIN en.many AS en.mood[];
CREATE TABLE en.users (id int PRIMARY KEY, name text, mood en.mood DEFAULT 'calm', often en.often, moods en.mood[], many en.many);
INSERT INTO en.users (id, name, moods, many) SELECT g, 'user', enum_range(NULL::en.mood), enum_range(NULL::en.mood) FROM generate_series(1, 12) g;
SQL
	view => q(CREATE VIEW en.v AS SELECT id AS uid, jsonb_build_object('name', name, 'mood', mood, 'often', often, 'moods', moods, 'many', many, 'text', mood::text, 'format', format('%s', moods)) AS doc FROM en.users),
	rows => [
		sub { sprintf q(UPDATE en.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE en.users SET mood = (enum_range(NULL::en.mood))[%d] WHERE id = %d), 1 + number(2), one_of(@_) },
		sub { sprintf q(INSERT INTO en.users (id, name) VALUES (%d, 'new') ON CONFLICT DO NOTHING), one_of(@_) },
	],
	ddl => [
		[ 'a label has another name', sub { sprintf q(DO $l$ BEGIN EXECUTE (SELECT format('ALTER TYPE en.mood RENAME VALUE %%L TO %%L', (enum_range(NULL::en.mood))[1], 'calm%d')); END $l$), number(100000) } ],
		[ 'a label more', sub { sprintf q(ALTER TYPE en.mood ADD VALUE IF NOT EXISTS 'more %d'), number(20) } ],
		[ 'a constraint of a domain', sub { (q(ALTER DOMAIN en.often ADD CONSTRAINT checked CHECK (value IS NOT NULL) NOT VALID), 'ALTER DOMAIN en.often DROP CONSTRAINT checked') } ],
		[ 'type has another name', sub { ('ALTER TYPE en.mood RENAME TO temper', 'ALTER TYPE en.temper RENAME TO mood') } ],
		[ 'a default of a domain', sub { q(ALTER DOMAIN en.often DROP DEFAULT) } ],
	]);

# --- Composite types, arrays of them, and rows of tables.
kit(
	name => 'co', key => 'int', keys => \@numbers, watches => '{"co.users": "id"}', tables => { 'co.users' => 'id' },
	setup => <<'SQL',
CREATE TYPE co.inner_type AS (street text, number int);
CREATE TYPE co.outer_type AS (address co.inner_type, list co.inner_type[]);
CREATE DOMAIN co.home AS co.inner_type;
CREATE TABLE co.place (city text, zip text);
CREATE TYPE co.wrapped AS (places co.place[]);
CREATE DOMAIN co.wrapping AS co.wrapped;
CREATE TABLE co.users (id int PRIMARY KEY, name text, a co.inner_type, o co.outer_type, h co.home, w co.wrapping DEFAULT ROW(ARRAY[ROW('city', 'zip')::co.place])::co.wrapped);
INSERT INTO co.users (id, name, a, o, h) SELECT g, 'user', ROW('s', 1)::co.inner_type, ROW(ROW('t', 2)::co.inner_type, ARRAY[ROW('u', 3)::co.inner_type])::co.outer_type, ROW('h', 4)::co.inner_type FROM generate_series(1, 12) g;
SQL
	view => q(CREATE VIEW co.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'a', u.a, 'o', u.o, 'h', u.h, 'w', u.w, 'row', row_to_json(u)) AS doc FROM co.users u),
	rows => [
		sub { sprintf q(UPDATE co.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE co.users SET a = ROW('street', %d) WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO co.users (id, name) VALUES (%d, 'new') ON CONFLICT DO NOTHING), one_of(@_) },
	],
	ddl => [
		[ 'an attribute has another name', sub { 'ALTER TYPE co.inner_type RENAME ATTRIBUTE street TO road CASCADE' } ],
		[ '... and its own', sub { 'ALTER TYPE co.inner_type RENAME ATTRIBUTE road TO street CASCADE' } ],
		[ 'attributes change names', sub { ('ALTER TYPE co.inner_type RENAME ATTRIBUTE street TO x', 'ALTER TYPE co.inner_type RENAME ATTRIBUTE number TO street', 'ALTER TYPE co.inner_type RENAME ATTRIBUTE x TO number') } ],
		[ 'attribute of the outer type', sub { ('ALTER TYPE co.outer_type RENAME ATTRIBUTE list TO ' . "list" . number(1000)) } ],
		[ 'an attribute more', sub { 'ALTER TYPE co.inner_type ADD ATTRIBUTE more int CASCADE' } ],
		[ 'an attribute less', sub { 'ALTER TYPE co.inner_type DROP ATTRIBUTE IF EXISTS more CASCADE' } ],
		[ 'columns of a row type inside other types', sub { ('ALTER TABLE co.place RENAME city TO x', 'ALTER TABLE co.place RENAME zip TO city', 'ALTER TABLE co.place RENAME x TO zip') } ],
		[ 'a column more of a row type inside other types', sub { 'ALTER TABLE co.place ADD COLUMN c' . number(100000) . ' int' } ],
		[ 'a column of the row', sub { ('ALTER TABLE co.users RENAME name TO x', 'ALTER TABLE co.users RENAME h TO name', 'ALTER TABLE co.users RENAME x TO h') } ],
		[ 'a type has another name', sub { ('ALTER TYPE co.inner_type RENAME TO x', 'ALTER TYPE co.x RENAME TO inner_type') } ],
	]);

# --- Casts to json that come and go; ranges; text keys.
my $to_json = sub { "CREATE OR REPLACE FUNCTION ca.j(m ca.mood) RETURNS json IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN to_json(ca.label() || '$_[0]'); END \$\$" };
my $label = sub { "CREATE OR REPLACE FUNCTION ca.label() RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN 'label$_[0]'; END \$\$" };
kit(
	name => 'ca', key => 'varchar(8)', keys => \@texts, watches => '{"ca.users": "id"}', tables => { 'ca.users' => 'id' },
	setup => join(";\n", q(CREATE TYPE ca.mood AS ENUM ('calm', 'angry')), 'CREATE DOMAIN ca.often AS ca.mood', 'CREATE TYPE ca.pair AS (m ca.mood, n int)',
		'CREATE TABLE ca.users (id varchar(8) PRIMARY KEY, name text, m ca.mood, ms ca.mood[], often ca.often, pair ca.pair)',
		q(INSERT INTO ca.users SELECT 'k' || g, 'user', 'calm', '{calm,angry}', 'angry', ROW('calm', 1)::ca.pair FROM generate_series(1, 12) g), $label->(0), $to_json->(0), ''),
	view => q(CREATE VIEW ca.v AS SELECT id AS uid, jsonb_build_object('name', name, 'm', m, 'ms', ms, 'often', often, 'pair', pair, 'to', to_jsonb(m), 'array', jsonb_build_array(m)) AS doc FROM ca.users),
	rows => [
		sub { sprintf q(UPDATE ca.users SET name = 'user %d' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE ca.users SET m = '%s' WHERE id = '%s'), pick(qw(calm angry)), one_of(@_) },
		sub { sprintf q(INSERT INTO ca.users VALUES ('%s', 'new') ON CONFLICT DO NOTHING), one_of(@_) },
	],
	ddl => [
		[ 'a cast to json comes', sub { 'CREATE CAST (ca.mood AS json) WITH FUNCTION ca.j(ca.mood)' } ],
		[ 'a cast to json goes', sub { 'DROP CAST IF EXISTS (ca.mood AS json)' } ],
		[ 'a cast to json of an array comes', sub { ('CREATE OR REPLACE FUNCTION ca.ja(m ca.mood[]) RETURNS json IMMUTABLE LANGUAGE sql RETURN to_json(cardinality(m))', 'CREATE CAST (ca.mood[] AS json) WITH FUNCTION ca.ja(ca.mood[])') } ],
		[ '... and goes', sub { 'DROP CAST IF EXISTS (ca.mood[] AS json)' } ],
		[ 'the function of a cast is replaced', sub { $to_json->(number(1000)) } ],
		[ 'what it calls is replaced', sub { $label->(number(1000)) } ],
		[ 'a label has another name', sub { sprintf q(DO $l$ BEGIN EXECUTE (SELECT format('ALTER TYPE ca.mood RENAME VALUE %%L TO %%L', (enum_range(NULL::ca.mood))[2], 'angry%d')); END $l$), number(100000) } ],
		[ 'an attribute has another name', sub { 'ALTER TYPE ca.pair RENAME ATTRIBUTE n TO n' . number(1000) } ],
		[ 'a cast to text comes and goes', sub { ('CREATE OR REPLACE FUNCTION ca.t(m ca.mood) RETURNS text IMMUTABLE LANGUAGE sql RETURN ca.label()', 'CREATE CAST (ca.mood AS text) WITH FUNCTION ca.t(ca.mood)', 'DROP CAST (ca.mood AS text)') } ],
	]);

# --- Views in views, with uuid keys made by a function of the server.
my $uuid = q(('00000000-0000-0000-0000-' || lpad(id::text, 12, '0'))::uuid);
my %views = (
	inner_view => sub { "CREATE OR REPLACE VIEW vw.inner_view AS SELECT id, name || ' inner$_[0]' AS name FROM vw.users" },
	other_view => sub { "CREATE OR REPLACE VIEW vw.other_view AS SELECT id, name || ' other$_[0]' AS name FROM vw.users" },
	middle => sub { "CREATE OR REPLACE VIEW vw.middle AS SELECT id, name || ' middle$_[0]' AS name FROM vw.inner_view" },
	v => sub { "CREATE OR REPLACE VIEW vw.v AS SELECT id AS uid, jsonb_build_object('name', name, 'v', $_[0]) AS doc, jsonb_build_object('other', name) AS doc2 FROM vw.middle" });
kit(
	name => 'vw', key => 'uuid', keys => [ map { sprintf '00000000-0000-0000-0000-%012d', $_ } 1 .. 12 ], watches => '{"vw.users": "id"}', tables => { 'vw.users' => 'id' },
	setup => join(";\n", 'CREATE TABLE vw.users (id uuid PRIMARY KEY, name text)', q(INSERT INTO vw.users SELECT lpad(g::text, 32, '0')::uuid, 'user' FROM generate_series(1, 12) g),
		map({ $views{$_}->(0) } qw(inner_view other_view middle)), ''),
	view => $views{v}->(0),
	rows => [
		sub { sprintf q(UPDATE vw.users SET name = 'user %d' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO vw.users VALUES ('%s', 'new') ON CONFLICT (id) DO UPDATE SET name = 'conflict %d'), one_of(@_), number(1000) },
		sub { sprintf q(DELETE FROM vw.users WHERE id = '%s' AND name ~ '[89]$'), one_of(@_) },
	],
	ddl => [
		map({ my $view = $_; [ "view $view is replaced", sub { $views{$view}->(number(1000)) } ] } sort keys %views),
		[ 'views change names', sub { ('ALTER VIEW vw.inner_view RENAME TO x', 'ALTER VIEW vw.other_view RENAME TO inner_view', 'ALTER VIEW vw.x RENAME TO other_view', $views{middle}->(number(1000))) } ],
		[ 'columns of the view change names', sub { ('ALTER VIEW vw.v RENAME doc TO x', 'ALTER VIEW vw.v RENAME doc2 TO doc', 'ALTER VIEW vw.v RENAME x TO doc2') } ],
		[ 'document has another name', sub { 'ALTER VIEW vw.v RENAME doc TO document' } ],
		[ '... and its own', sub { 'ALTER VIEW vw.v RENAME document TO doc' } ],
		[ 'security barrier', sub { 'ALTER VIEW vw.inner_view SET (security_barrier = ' . pick('on', 'off') . ')' } ],
		[ 'security invoker', sub { 'ALTER VIEW vw.middle SET (security_invoker = ' . pick('on', 'off') . ')' } ],
		[ 'rule of a view', sub { ('CREATE OR REPLACE RULE nothing AS ON DELETE TO vw.inner_view DO INSTEAD NOTHING') } ],
		[ 'a view reads a table without a watch', sub { ('CREATE TABLE IF NOT EXISTS vw.names (name text)', q(CREATE OR REPLACE VIEW vw.inner_view AS SELECT id, name || (SELECT min(n.name) FROM vw.names n) AS name FROM vw.users),
			sprintf(q(INSERT INTO vw.names VALUES ('name %d')), number(1000))) } ],
		[ 'a view locks rows', sub { 'CREATE OR REPLACE VIEW vw.inner_view AS SELECT id, name FROM vw.users FOR SHARE' } ],
	]);

# --- Text search, whose configurations and dictionaries are catalogs.
kit(
	name => 'ts', key => 'text', keys => \@texts, watches => '{"ts.users": "id"}', tables => { 'ts.users' => 'id' },
	setup => <<'SQL',
CREATE TEXT SEARCH DICTIONARY ts.stem (TEMPLATE = snowball, LANGUAGE = english);
CREATE TEXT SEARCH CONFIGURATION ts.config (COPY = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION ts.other (COPY = pg_catalog.english);
CREATE TABLE ts.users (id text PRIMARY KEY, name text);
INSERT INTO ts.users SELECT 'k' || g, 'the running users' FROM generate_series(1, 12) g;
SQL
	view => q(CREATE VIEW ts.v AS SELECT id AS uid, jsonb_build_object('name', name, 'words', to_tsvector('ts.config', name)::text) AS doc FROM ts.users),
	rows => [
		sub { sprintf q(UPDATE ts.users SET name = 'the runner runs %d miles' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO ts.users VALUES ('%s', 'new ones') ON CONFLICT DO NOTHING), one_of(@_) },
	],
	ddl => [
		[ 'mapping', sub { 'ALTER TEXT SEARCH CONFIGURATION ts.config ALTER MAPPING FOR asciiword WITH ' . pick('pg_catalog.simple', 'pg_catalog.english_stem', 'ts.stem') } ],
		[ 'options of a dictionary', sub { 'ALTER TEXT SEARCH DICTIONARY ts.stem (' . pick('StopWords = english', 'StopWords', 'Language = german', 'Language = english') . ')' } ],
		[ 'configurations change names', sub { ('ALTER TEXT SEARCH CONFIGURATION ts.config RENAME TO x', 'ALTER TEXT SEARCH CONFIGURATION ts.other RENAME TO config', 'ALTER TEXT SEARCH CONFIGURATION ts.x RENAME TO other') } ],
	]);

1;
