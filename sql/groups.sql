-- Which groups a document belongs to: read by indexes where one fits, and by plans where none does. A row of a lookup that
-- changes must reach every document that refers to it, whatever the types, and whatever indexes there are.
\set SHOW_CONTEXT never
CREATE SCHEMA app;
CREATE TABLE app.results (number serial, key text, reference text, shape text, cached bigint, fresh bigint);
CREATE FUNCTION app.value(type regtype, n int) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN type = 'uuid'::regtype THEN '00000000-0000-0000-0000-00000000000' || n
                WHEN type IN ('text', 'varchar', 'bpchar') THEN repeat('key ', n) || n
                ELSE (n - 2)::text END
$$;
CREATE FUNCTION app.hits(type regtype) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project('tried', app.value(type, n)) FROM generate_series(1, 3) n;
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) - before;
END $$;

-- Key 1 refers to 1 and 2, key 2 to 2 and 3, key 3 to 3 and 1. How many documents are cached, and, when the rows they refer to have
-- changed one after the other, how often all of them were what the view says.
CREATE PROCEDURE app.try(key_type text, reference_type text, shape text, VARIADIC statements text[] DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    cached bigint;
    fresh bigint := 0;
BEGIN
    EXECUTE format('CREATE TABLE app.lookups (id %s PRIMARY KEY, name text)', reference_type);
    EXECUTE format('CREATE TABLE app.holders (note text, key %s, ref %s)%s', key_type, reference_type,
        CASE WHEN shape ~ 'partition' THEN ' PARTITION BY HASH (key)' END);
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('INSERT INTO app.lookups SELECT app.value(%L, n)::%s, ''name '' || n FROM generate_series(1, 3) n', reference_type, reference_type);
    EXECUTE format('INSERT INTO app.%I (key, ref) SELECT app.value(%L, n)::%s, r.ref::%s FROM generate_series(1, 3) n, LATERAL (VALUES (app.value(%L, n)), (app.value(%L, n %% 3 + 1)), (NULL)) r (ref)',
        CASE WHEN to_regclass('app.child') IS NULL THEN 'holders' ELSE 'child' END, key_type, key_type, reference_type, reference_type, reference_type);
    CREATE VIEW app.tried AS
        SELECT h.key, jsonb_build_object('names', jsonb_agg(l.name ORDER BY l.name)) AS doc FROM app.holders h LEFT JOIN app.lookups l ON l.id = h.ref GROUP BY h.key;
    PERFORM rolecall.create_projection('tried', 'app.tried', 'key', 'doc', watches => '{"app.holders": "key", "app.lookups": {"lookup": "id", "referencing": {"app.holders": "ref"}}}');
    COMMIT;
    PERFORM app.hits(key_type::regtype);
    cached := app.hits(key_type::regtype);
    COMMIT;
    FOR n IN 1 .. 3 LOOP
        EXECUTE format('UPDATE app.lookups SET name = ''another '' || %s WHERE id = app.value(%L, %s)::%s', n, reference_type, n, reference_type);
        COMMIT;
        EXECUTE 'SELECT $1 + (count(*) = 3)::int FROM app.tried WHERE rolecall.project(''tried'', key::text) = doc' INTO fresh USING fresh;
        COMMIT;
    END LOOP;
    INSERT INTO app.results (key, reference, shape, cached, fresh) VALUES (key_type, reference_type, shape, cached, fresh);
    PERFORM rolecall.drop_projection('tried');
    DROP VIEW app.tried;
    DROP TABLE app.holders CASCADE;
    DROP TABLE app.lookups;
    COMMIT;
END $$;

-- Types
DO $$
DECLARE
    types text[] := '{smallint,int,bigint,uuid,text,varchar(20),char(20)}';
    type text;
BEGIN
    FOREACH type IN ARRAY types LOOP
        CALL app.try(type, 'int', 'an index', 'CREATE INDEX ON app.holders (key)');
        CALL app.try('bigint', type, 'an index', 'CREATE INDEX ON app.holders (key)');
        CALL app.try(type, type, 'none');
    END LOOP;
END $$;

-- Indexes
CALL app.try('int', 'int', 'two columns', 'CREATE INDEX ON app.holders (key DESC NULLS LAST, ref)');
CALL app.try('int', 'int', 'key is second', 'CREATE INDEX ON app.holders (ref, key)');
CALL app.try('int', 'int', 'a column was dropped', 'ALTER TABLE app.holders DROP COLUMN note', 'CREATE INDEX ON app.holders (key)');
CALL app.try('int', 'int', 'hash', 'CREATE INDEX ON app.holders USING hash (key)');
CALL app.try('int', 'int', 'an expression', 'CREATE INDEX ON app.holders ((key + 1))');
CALL app.try('int', 'int', 'partial', 'CREATE INDEX ON app.holders (key) WHERE ref < -100');
CALL app.try('int', 'int', 'partial, and whole', 'CREATE INDEX ON app.holders (key) WHERE ref < -100', 'CREATE INDEX ON app.holders (key)');
CALL app.try('text', 'text', 'other operators', 'CREATE INDEX ON app.holders (key text_pattern_ops)');
CALL app.try('text', 'text', 'other collation', 'CREATE INDEX ON app.holders (key COLLATE "C")');
CALL app.try('int', 'int', 'not valid', 'CREATE INDEX not_valid ON app.holders (key)',
    $$UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = 'app.not_valid'::regclass$$);

-- Tables
CALL app.try('int', 'int', 'partitions', 'CREATE INDEX ON app.holders (key)',
    'CREATE TABLE app.part1 PARTITION OF app.holders FOR VALUES WITH (MODULUS 2, REMAINDER 0)', 'CREATE TABLE app.part2 PARTITION OF app.holders FOR VALUES WITH (MODULUS 2, REMAINDER 1)');
CALL app.try('int', 'int', 'children', 'CREATE INDEX ON app.holders (key)', 'CREATE TABLE app.child () INHERITS (app.holders)', 'CREATE INDEX ON app.child (key)');

SELECT key, reference, shape, cached, fresh FROM app.results ORDER BY number;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
