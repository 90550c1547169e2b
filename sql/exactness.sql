-- What a projection may be: what is refused is named, and what is exact is admitted.
\set SHOW_CONTEXT never
\set QUIET on
\pset tuples_only on
\pset format unaligned
SET client_min_messages = error;
SET TimeZone = UTC;  -- as projections have it
SET DateStyle = ISO;
SET IntervalStyle = postgres;
CREATE SCHEMA ex;
CREATE TYPE ex.mood AS ENUM ('calm', 'angry');
CREATE DOMAIN ex.positive AS int CHECK (VALUE > 0);
CREATE TYPE ex.pair AS (a ex.mood, b ex.positive);
CREATE TYPE ex.span AS RANGE (subtype = numeric);
CREATE TABLE ex.t (
    id int PRIMARY KEY, name text, n numeric, at timestamptz, day date, m ex.mood, p ex.positive, c ex.pair, s ex.span, a int[], cs ex.pair[], j jsonb,
    u uuid, b bytea, ip inet, who regrole, class regclass, whos regrole[], txt tsvector, x xml, until timestamp);
INSERT INTO ex.t VALUES (1, 'one', 1.5, '2026-01-01', '2026-01-01', 'calm', 1, ROW('calm', 1), '[1,2]', '{1,2}', ARRAY[ROW('calm', 1)::ex.pair], '{"k": [1, "2"]}',
    '00000000-0000-0000-0000-000000000001', '\x01', '10.0.0.1', 10, 'pg_class', '{10}', to_tsvector('simple', 'one two'), '<a/>', '2026-01-01');
CREATE TABLE ex.other (id int PRIMARY KEY, t_id int, label text);
INSERT INTO ex.other VALUES (1, 1, 'x'), (2, 1, 'y');
CREATE TYPE ex.has_role AS (id int, r regrole);
CREATE DOMAIN ex.role_domain AS regrole;
CREATE TABLE ex.typed (id int PRIMARY KEY, h ex.has_role, d ex.role_domain);
INSERT INTO ex.typed VALUES (1, ROW(1, 10), 10);

-- Functions and what consists of them
CREATE FUNCTION ex.immutable_sql(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i + 1';
CREATE FUNCTION ex.immutable_pl(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i + 1; END';
CREATE FUNCTION ex.stable_pl(i int) RETURNS int STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i + 1; END';
CREATE FUNCTION ex.with_default(i int, now timestamptz DEFAULT now()) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN i; END';
CREATE FUNCTION ex.reads(i int) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT label FROM ex.other WHERE id = i';
CREATE FUNCTION ex.calls_reads(i int) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ex.reads(i)';
CREATE FUNCTION ex.rows_of(i int) RETURNS SETOF text IMMUTABLE LANGUAGE sql AS 'SELECT label FROM ex.other WHERE t_id = i';
CREATE FUNCTION ex.atomic(i int) RETURNS text IMMUTABLE LANGUAGE sql BEGIN ATOMIC SELECT label FROM ex.other WHERE id = i; END;
CREATE FUNCTION ex.numbers(i int) RETURNS SETOF int IMMUTABLE LANGUAGE sql AS 'SELECT g FROM generate_series(1, i) g';
CREATE FUNCTION ex.plus(a int, b int) RETURNS int STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN a + b; END';
CREATE AGGREGATE ex.stable_sum(int) (SFUNC = ex.plus, STYPE = int);
CREATE FUNCTION ex.finish(a int) RETURNS int STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN a; END';
CREATE AGGREGATE ex.stable_final(int) (SFUNC = int4pl, STYPE = int, FINALFUNC = ex.finish);
CREATE FUNCTION ex.minus(a int, b int) RETURNS int STABLE STRICT LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN a - b; END';
CREATE AGGREGATE ex.stable_moving(int) (SFUNC = int4pl, STYPE = int, MSFUNC = int4pl, MINVFUNC = ex.minus, MSTYPE = int);
CREATE AGGREGATE ex.exact_sum(int) (SFUNC = int4pl, STYPE = int);
CREATE FUNCTION ex.eq(a ex.mood, b int) RETURNS boolean STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN true; END';
CREATE OPERATOR ex.=== (LEFTARG = ex.mood, RIGHTARG = int, FUNCTION = ex.eq);
CREATE FUNCTION ex.is_fine(i int) RETURNS boolean STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN true; END';
CREATE DOMAIN ex.checked AS int CHECK (ex.is_fine(VALUE));
CREATE FUNCTION ex.record_of(i int) RETURNS record IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN ROW(i); END';
CREATE FUNCTION ex.columns_of(i int, OUT a int, OUT r regrole) IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN a := i; r := 10; END';

CREATE FUNCTION ex.try(doc text, source text DEFAULT 'ex.t', extra text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    why text;
    tables jsonb := (SELECT jsonb_object_agg(r, CASE r WHEN 'ex.other' THEN 't_id' ELSE 'id' END) FROM unnest(ARRAY['ex.t', 'ex.other', 'ex.typed']) r
                     WHERE position(r in source || doc) > 0);
BEGIN
    EXECUTE format('CREATE VIEW ex.v AS SELECT id AS uid, %s AS doc %s FROM %s', doc, extra, source);
    PERFORM rolecall.create_projection('exact', 'ex.v', 'uid', 'doc', watches => coalesce(tables, '{}'));
    IF rolecall.project('exact', '1') IS DISTINCT FROM (SELECT v.doc FROM ex.v v WHERE v.uid = 1) OR rolecall.project('exact', '1') IS NULL THEN
        RAISE EXCEPTION 'wrong: %', rolecall.project('exact', '1');
    END IF;
    PERFORM rolecall.drop_projection('exact');
    DROP VIEW ex.v;
    RETURN 'admitted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || regexp_replace(coalesce(nullif(why, ''), SQLERRM), '^In the way: the view is not exact: ', '');
END $$;

\echo == Admitted
SELECT ex.try('jsonb_build_object(''a'', a, ''cs'', cs, ''c'', c, ''p'', p, ''m'', m, ''s'', s, ''at'', at, ''n'', n, ''day'', day, ''u'', u, ''b'', b, ''ip'', ip, ''j'', j)');
SELECT ex.try('to_jsonb(t.c) || to_jsonb(t.cs[1])');
SELECT ex.try('to_jsonb(ARRAY[m]) || to_jsonb(format(''%s %s'', c, m)) || to_jsonb(array_to_string(cs, '',''))');
SELECT ex.try('to_jsonb(concat(s, cs, at))');
SELECT ex.try('to_jsonb(m::text || p::text || n || a::text)');
SELECT ex.try('to_jsonb(row_number() OVER (PARTITION BY m ORDER BY n RANGE BETWEEN 1 PRECEDING AND 2 FOLLOWING))');
SELECT ex.try('to_jsonb(sum(n) OVER w + lag(n, 1, 0.0) OVER w)', 'ex.t WINDOW w AS (PARTITION BY name ORDER BY at DESC)');
SELECT ex.try('to_jsonb(l)', '(WITH o AS (SELECT t_id, array_agg(label ORDER BY label DESC) AS l FROM ex.other GROUP BY t_id) SELECT id, l FROM ex.t JOIN o ON t_id = id) x');
SELECT ex.try('to_jsonb(path)', '(WITH RECURSIVE r(id, depth) AS (SELECT id, 1 FROM ex.t UNION ALL SELECT id, depth + 1 FROM r WHERE depth < 3) SEARCH DEPTH FIRST BY id SET path CYCLE id SET is_cycle USING cycle SELECT id, array_agg(depth) AS path FROM r GROUP BY id) x');
SELECT ex.try('to_jsonb(o.labels)', 'ex.t, LATERAL (SELECT jsonb_agg(label ORDER BY label) AS labels FROM ex.other WHERE t_id = ex.t.id) o');
SELECT ex.try('to_jsonb(k)', '(SELECT id, name AS k FROM ex.t WHERE id = 1 UNION SELECT t_id, label FROM ex.other WHERE false INTERSECT SELECT 1, ''x'' EXCEPT SELECT 2, ''y'') x');
SELECT ex.try('to_jsonb(g)', '(SELECT 1 AS id, jsonb_agg(x.*) AS g FROM (SELECT name, m, count(*), grouping(name, m) FROM ex.t GROUP BY GROUPING SETS ((name), (m), ()), CUBE (name)) x) y');
SELECT ex.try('(SELECT jsonb_agg(row_to_json(o)) FROM (SELECT label, id FROM ex.other WHERE t_id = t.id ORDER BY id) o)');
SELECT ex.try('to_jsonb(ARRAY(SELECT o FROM (SELECT label, id FROM ex.other WHERE t_id = t.id ORDER BY id) o))');
SELECT ex.try('to_jsonb(ROW(id, c, at))');
SELECT ex.try('to_jsonb(greatest(n, 2) + least(id, 1) + coalesce(nullif(n, 1), 2) + CASE m WHEN ''calm'' THEN 1 ELSE 2 END)');
SELECT ex.try('to_jsonb((id, n) < (2, 3)) || to_jsonb(n IS DISTINCT FROM 2) || to_jsonb(id = ANY (a)) || to_jsonb(id IN (SELECT id FROM ex.other))');
SELECT ex.try('to_jsonb(t) - ''who'' - ''class'' - ''whos''', '(SELECT id, name, c, at, txt, ip FROM ex.t) t');
SELECT ex.try('to_jsonb(txt @@ to_tsquery(''english'', ''one'') AND to_tsvector(''english'', name) IS NOT NULL)');
SELECT ex.try('jsonb_path_query_array(j, ''$.k[*]'') || jsonb_build_array(j #> ''{k,1}'') || to_jsonb(j[''k''][0])');
SELECT ex.try('to_jsonb(v)', 'ex.t, (VALUES (1, ''a'')) v(i, k)', ', k');
SELECT ex.try('to_jsonb(s @> 1.5) || to_jsonb(upper(s)) || to_jsonb(ex.span(1, n))');
SELECT ex.try('to_jsonb(percentile_cont(0.5) WITHIN GROUP (ORDER BY n)) || to_jsonb(string_agg(DISTINCT name, '','' ORDER BY name)) || to_jsonb(count(*) FILTER (WHERE id > 0)) || to_jsonb(mode() WITHIN GROUP (ORDER BY m))', 'ex.t GROUP BY id');
SELECT ex.try('to_jsonb(ex.immutable_sql(id) + ex.immutable_pl(id)) || to_jsonb(ARRAY(SELECT ex.numbers(3)))');
SELECT ex.try('to_jsonb(i)', '(SELECT id, array_agg(i) AS i FROM ex.t, ex.numbers(3) i GROUP BY id) x');
SELECT ex.try('to_jsonb(ex.exact_sum(o))', '(SELECT t_id AS id, id AS o FROM ex.other) x GROUP BY id');
SELECT ex.try('to_jsonb(1::ex.positive) || to_jsonb(name || ''0'') || to_jsonb(''{1,2}''::text::int[]) || to_jsonb(''calm''::text::ex.mood)');
SELECT ex.try('to_jsonb(xmlelement(name a, name)::text)');
SELECT ex.try('rows', '(SELECT 1 AS id, jsonb_agg(f) AS rows FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[''a'', ''b''])) WITH ORDINALITY f) x');
SELECT ex.try('to_jsonb(t.tableoid = ''ex.t''::regclass)');
SELECT ex.try('to_jsonb(now() < at)', extra => ', at AS valid_from, at AS valid_until');

\echo == Refused: what asks for more than rows
SELECT ex.try('to_jsonb(ex.stable_pl(id))');
SELECT ex.try('to_jsonb(ex.with_default(id))');
SELECT ex.try('to_jsonb(ex.stable_sum(id))', 'ex.t GROUP BY id');
SELECT ex.try('to_jsonb(ex.stable_final(id))', 'ex.t GROUP BY id');
SELECT ex.try('to_jsonb(ex.stable_moving(id) OVER (ROWS 1 PRECEDING))');
SELECT ex.try('to_jsonb(m OPERATOR(ex.===) 1)');
SELECT ex.try('to_jsonb(id::ex.checked)');
SELECT ex.try('to_jsonb(id)', '(SELECT id FROM ex.t WHERE m OPERATOR(ex.===) id) x');
SELECT ex.try('to_jsonb(pg_typeof(id)::text)');
SELECT ex.try('to_jsonb(current_setting(''x'', true))');
SELECT ex.try('to_jsonb(txid_current())');
SELECT ex.try('to_jsonb(pg_sleep(0)::text)');
SELECT ex.try('to_jsonb(''now''::text::timestamptz)');
SELECT ex.try('to_jsonb(timetz ''12:00+00'' AT TIME ZONE name)');
SELECT ex.try('to_jsonb(''ada''::text::regrole::oid)');
SELECT ex.try('to_jsonb(LOCALTIME)');
SELECT ex.try('to_jsonb(CURRENT_CATALOG)');
SELECT ex.try('to_jsonb(has_table_privilege(class, ''SELECT''))');
SELECT ex.try('to_jsonb(id)', '(SELECT id FROM ex.t FOR SHARE) x');
SELECT ex.try('to_jsonb(EXISTS (SELECT FROM ex.other o WHERE o.t_id = t.id FOR UPDATE))', 'ex.t t');
SELECT ex.try('to_jsonb(x.*)', '(WITH c AS (SELECT id FROM ex.t FOR KEY SHARE SKIP LOCKED) SELECT id FROM c) x');
SELECT ex.try('to_jsonb(id)', 'ex.t TABLESAMPLE SYSTEM (50)');
SELECT ex.try('to_jsonb(xt.v)', 'ex.t, XMLTABLE(''/a'' PASSING x COLUMNS v text PATH ''.'') xt');
SELECT ex.try('to_jsonb(xmin::text)');

\echo == Refused: types whose text depends on more
SELECT ex.try('to_jsonb(who)');
SELECT ex.try('jsonb_build_object(''r'', class)');
SELECT ex.try('to_jsonb(whos)');
SELECT ex.try('to_jsonb(who::text)');
SELECT ex.try('to_jsonb(concat(who))');
SELECT ex.try('to_jsonb(format(''%s'', who))');
SELECT ex.try('to_jsonb(array_to_string(whos, '',''))');
SELECT ex.try('to_jsonb(''x'' || who)');
SELECT ex.try('to_jsonb(t)', 'ex.t t');
SELECT ex.try('to_jsonb(h)', 'ex.typed');
SELECT ex.try('to_jsonb(ARRAY[h])', 'ex.typed');
SELECT ex.try('to_jsonb(d)', 'ex.typed');
SELECT ex.try('to_jsonb(ARRAY[d])', 'ex.typed');
SELECT ex.try('to_jsonb(quote_literal(who))');
SELECT ex.try('(SELECT jsonb_agg(row_to_json(o)) FROM (SELECT t.id, t.who) o)', 'ex.t t');
SELECT ex.try('to_jsonb(ARRAY(SELECT o FROM (SELECT t.id, t.who) o))', 'ex.t t');
SELECT ex.try('to_jsonb(ROW(id, who))');
SELECT ex.try('to_jsonb(x.r)', '(SELECT id, ROW(id, who) AS r FROM ex.t) x');
SELECT ex.try('to_jsonb(c)', '(WITH c AS (SELECT id, class FROM ex.t) SELECT id, c FROM c) x');
SELECT ex.try('to_jsonb(f)', 'ex.t, ex.columns_of(id) f');
SELECT ex.try('to_jsonb(ex.columns_of(id))');
SELECT ex.try('to_jsonb(ex.record_of(id))');
SELECT ex.try('to_jsonb(f)', 'ex.t, ex.record_of(id) f(r regrole)');
SELECT ex.try('to_jsonb(t.tableoid::regclass)');
SELECT ex.try('to_jsonb(max(x.a))', '(SELECT id, whos AS a FROM ex.t) x GROUP BY id');
SELECT ex.try('to_jsonb(v)', 'ex.t, (VALUES (1, 10::regrole)) v(i, r)');

\echo == Refused: functions that read
SELECT ex.try('to_jsonb(ex.reads(id))');
SELECT ex.try('to_jsonb(ex.calls_reads(id))');
SELECT ex.try('to_jsonb(ex.atomic(id))');
SELECT ex.try('to_jsonb(r)', 'ex.t, ex.rows_of(id) r');
SELECT ex.try('to_jsonb(ARRAY(SELECT ex.rows_of(id)))');

\echo == Windows
SELECT ex.try('to_jsonb(id)', extra => ', until AS valid_from, until AS valid_until');
SELECT ex.try('to_jsonb(id)', extra => ', at AS valid_until');
SELECT ex.try('to_jsonb(id)', extra => ', at AS valid_from, day AS valid_until');
SELECT ex.try('to_jsonb(id)', extra => ', NULL::timestamptz AS valid_from, at AS valid_until');

\echo == A cast to json that comes later, and one that is exact
CREATE FUNCTION ex.j(ex.mood) RETURNS json STABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN to_json(current_setting('ex.setting', true)); END $$;
CREATE CAST (ex.mood AS json) WITH FUNCTION ex.j(ex.mood);
SELECT ex.try('to_jsonb(m)');
SELECT ex.try('to_jsonb(ARRAY[c])');
CREATE OR REPLACE FUNCTION ex.j(ex.mood) RETURNS json IMMUTABLE LANGUAGE sql AS $$ SELECT '"mood"'::json $$;
SELECT ex.try('to_jsonb(m)');

\echo == One document is read before the projection is there
CREATE TABLE ex.plain (id int PRIMARY KEY, name text);
INSERT INTO ex.plain VALUES (1, 'one');
CREATE VIEW ex.failing AS SELECT id AS uid, to_jsonb(1 / (id - 1)) AS doc FROM ex.plain;
SELECT rolecall.create_projection('failing', 'ex.failing', 'uid', 'doc', watches => '{"ex.plain": "id"}');
SELECT rolecall.create_projection('failing', 'ex.failing', 'uid', 'doc', ttl => '1 h');
SELECT rolecall.create_projection('failing', 'ex.failing', 'uid', 'doc', strict => false);
CREATE FUNCTION ex.by_path(i int) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN immutable_pl(i); END $$;
CREATE VIEW ex.pathless AS SELECT id AS uid, to_jsonb(ex.by_path(id)) AS doc FROM ex.plain;
SET search_path = ex;
SELECT rolecall.create_projection('pathless', 'pathless', 'uid', 'doc', watches => '{"plain": "id"}');
CREATE VIEW twice AS SELECT 1 AS uid, to_jsonb(id) AS doc FROM plain, generate_series(1, 2);
SELECT rolecall.create_projection('twice', 'twice', 'uid', 'doc', watches => '{"plain": null}');
SELECT count(*) FROM rolecall.projections WHERE name IN ('failing', 'pathless', 'twice');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'plain'::regclass;
TRUNCATE plain;
SELECT rolecall.create_projection('failing', 'failing', 'uid', 'doc', watches => '{"plain": "id"}');
SELECT rolecall.drop_projection('failing');

\echo == Names in watches are found as the name of the view is
CREATE TABLE tag (id int PRIMARY KEY, label text);
ALTER TABLE plain ADD COLUMN "Tag id" int;
CREATE VIEW tagged AS SELECT p.id AS uid, to_jsonb(g.label) AS doc FROM plain p JOIN tag g ON g.id = p."Tag id";
SELECT rolecall.create_projection('tagged', 'tagged', 'uid', 'doc', watches => '{"plain": "id", "tag": {"lookup": "id", "referencing": {"plain": "Tag id"}}}');
SELECT relation::oid::regclass, key_column, key_number FROM rolecall.watches WHERE projection = 'tagged' ORDER BY relation::text;
SELECT r.relation, r.column_name, r.column_number FROM rolecall.watch_references r JOIN rolecall.watches w ON w.id = r.watch WHERE w.projection = 'tagged';
SELECT rolecall.unwatch('tagged', 'tag');
SELECT rolecall.watch_lookup('tagged', 'tag', 'id', '{"plain": "Tag id"}');
SELECT count(*) FROM rolecall.check_projections();
SELECT rolecall.drop_projection('tagged');
SELECT rolecall.create_projection('tagged', 'tagged', 'uid', 'doc', watches => '{"plain": "id", "ex.plain": "id"}');
SELECT rolecall.create_projection('tagged', 'tagged', 'uid', 'doc', watches => '{"nothing": "id"}');
SELECT rolecall.create_projection('tagged', 'tagged', 'uid', 'doc', watches => '[1]');
SELECT rolecall.create_projection('tagged', 'tagged', 'uid', 'doc', watches => NULL);
RESET search_path;
SELECT rolecall.create_projection('tagged', 'ex.tagged', 'uid', 'doc', watches => '{"plain": "id"}');
DROP SCHEMA ex CASCADE;
