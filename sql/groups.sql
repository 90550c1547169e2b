-- Which groups a document belongs to: read by indexes where one fits, and by plans where none does. A row of a lookup that
-- changes must reach every document that refers to it, whatever the types, and whatever indexes there are.
\set SHOW_CONTEXT never
CREATE SCHEMA grouped;
CREATE TABLE grouped.results (number serial, key text, reference text, shape text, cached bigint, fresh bigint);
CREATE FUNCTION grouped.value(type regtype, n int) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN type = 'uuid'::regtype THEN '00000000-0000-0000-0000-00000000000' || n
                WHEN type IN ('text', 'varchar', 'bpchar') THEN repeat('key ', n) || n
                ELSE (n - 2)::text END
$$;
CREATE FUNCTION grouped.hits(type regtype) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project('tried', grouped.value(type, n)) FROM generate_series(1, 3) n;
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) - before;
END $$;

-- Key 1 refers to 1 and 2, key 2 to 2 and 3, key 3 to 3 and 1. How many documents are cached, and, when the rows they refer to have
-- changed one after the other, how often all of them were what the view says.
CREATE PROCEDURE grouped.try(key_type text, reference_type text, shape text, VARIADIC statements text[] DEFAULT '{}') LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    cached bigint;
    fresh bigint := 0;
BEGIN
    EXECUTE format('CREATE TABLE grouped.lookups (id %s PRIMARY KEY, name text)', reference_type);
    EXECUTE format('CREATE TABLE grouped.holders (note text, key %s, ref %s)%s', key_type, reference_type,
        CASE WHEN shape ~ 'partition' THEN ' PARTITION BY HASH (key)' END);
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('INSERT INTO grouped.lookups SELECT grouped.value(%L, n)::%s, ''name '' || n FROM generate_series(1, 3) n', reference_type, reference_type);
    EXECUTE format('INSERT INTO grouped.%I (key, ref) SELECT grouped.value(%L, n)::%s, r.ref::%s FROM generate_series(1, 3) n, LATERAL (VALUES (grouped.value(%L, n)), (grouped.value(%L, n %% 3 + 1)), (NULL)) r (ref)',
        CASE WHEN to_regclass('grouped.child') IS NULL THEN 'holders' ELSE 'child' END, key_type, key_type, reference_type, reference_type, reference_type);
    CREATE VIEW grouped.tried AS
        SELECT h.key, jsonb_build_object('names', jsonb_agg(l.name ORDER BY l.name)) AS doc FROM grouped.holders h LEFT JOIN grouped.lookups l ON l.id = h.ref GROUP BY h.key;
    PERFORM rolecall.create_projection('tried', 'grouped.tried', 'key', 'doc', watches => '{"grouped.holders": "key", "grouped.lookups": {"lookup": "id", "referencing": {"grouped.holders": "ref"}}}');
    COMMIT;
    PERFORM grouped.hits(key_type::regtype);
    cached := grouped.hits(key_type::regtype);
    COMMIT;
    FOR n IN 1 .. 3 LOOP
        EXECUTE format('UPDATE grouped.lookups SET name = ''another '' || %s WHERE id = grouped.value(%L, %s)::%s', n, reference_type, n, reference_type);
        COMMIT;
        EXECUTE 'SELECT $1 + (count(*) = 3)::int FROM grouped.tried WHERE rolecall.project(''tried'', key::text) = doc' INTO fresh USING fresh;
        COMMIT;
    END LOOP;
    INSERT INTO grouped.results (key, reference, shape, cached, fresh) VALUES (key_type, reference_type, shape, cached, fresh);
    PERFORM rolecall.drop_projection('tried');
    DROP VIEW grouped.tried;
    DROP TABLE grouped.holders CASCADE;
    DROP TABLE grouped.lookups;
    COMMIT;
END $$;

-- Types
DO $$
DECLARE
    types text[] := '{smallint,int,bigint,uuid,text,varchar(20),char(20)}';
    type text;
BEGIN
    FOREACH type IN ARRAY types LOOP
        CALL grouped.try(type, 'int', 'an index', 'CREATE INDEX ON grouped.holders (key)');
        CALL grouped.try('bigint', type, 'an index', 'CREATE INDEX ON grouped.holders (key)');
    END LOOP;
END $$;

-- Indexes
CALL grouped.try('text', 'uuid', 'none');
CALL grouped.try('int', 'int', 'two columns', 'CREATE INDEX ON grouped.holders (key DESC NULLS LAST, ref)');
CALL grouped.try('int', 'int', 'key is second', 'CREATE INDEX ON grouped.holders (ref, key)');
CALL grouped.try('int', 'int', 'a column was dropped', 'ALTER TABLE grouped.holders DROP COLUMN note', 'CREATE INDEX ON grouped.holders (key)');
CALL grouped.try('int', 'int', 'hash', 'CREATE INDEX ON grouped.holders USING hash (key)');
CALL grouped.try('int', 'int', 'an expression', 'CREATE INDEX ON grouped.holders ((key + 1))');
CALL grouped.try('int', 'int', 'partial', 'CREATE INDEX ON grouped.holders (key) WHERE ref < -100');
CALL grouped.try('int', 'int', 'partial, and whole', 'CREATE INDEX ON grouped.holders (key) WHERE ref < -100', 'CREATE INDEX ON grouped.holders (key)');
CALL grouped.try('text', 'text', 'other operators', 'CREATE INDEX ON grouped.holders (key text_pattern_ops)');
CALL grouped.try('text', 'text', 'other collation', 'CREATE INDEX ON grouped.holders (key COLLATE "C")');
CALL grouped.try('int', 'int', 'not valid', 'CREATE INDEX not_valid ON grouped.holders (key)',
    $$UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = 'grouped.not_valid'::regclass$$);

-- Tables
CALL grouped.try('int', 'int', 'partitions', 'CREATE INDEX ON grouped.holders (key)',
    'CREATE TABLE grouped.part1 PARTITION OF grouped.holders FOR VALUES WITH (MODULUS 2, REMAINDER 0)', 'CREATE TABLE grouped.part2 PARTITION OF grouped.holders FOR VALUES WITH (MODULUS 2, REMAINDER 1)');
CALL grouped.try('int', 'int', 'children', 'CREATE INDEX ON grouped.holders (key)', 'CREATE TABLE grouped.child () INHERITS (grouped.holders)', 'CREATE INDEX ON grouped.child (key)');

SELECT key, reference, shape, cached, fresh FROM grouped.results ORDER BY number;

-- References that come later: a foreign key of a table that is watched by key counts as soon as it is there. Each time the row that a
-- document refers to changes, when that document has been cached.
CREATE TABLE grouped.users (id bigint PRIMARY KEY);
INSERT INTO grouped.users VALUES (1);
CREATE TABLE grouped.roles (id int PRIMARY KEY, name text);
INSERT INTO grouped.roles VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five');
CREATE TABLE grouped.held (user_id bigint, id int, kind int NOT NULL) PARTITION BY LIST (kind);
CREATE TABLE grouped.held_1 PARTITION OF grouped.held FOR VALUES IN (1);
ALTER TABLE grouped.held ADD FOREIGN KEY (id) REFERENCES grouped.roles;
INSERT INTO grouped.held VALUES (1, 1, 1);
CREATE VIEW grouped.later AS SELECT u.id AS uid, (SELECT jsonb_agg(r.name ORDER BY r.name) FROM grouped.held h JOIN grouped.roles r ON r.id = h.id WHERE h.user_id = u.id) AS doc FROM grouped.users u;
SELECT rolecall.create_projection('later', 'grouped.later', 'uid', 'doc', watches => '{"grouped.users": "id", "grouped.held": "user_id", "grouped.roles": {"lookup": "id"}}');
CREATE FUNCTION grouped.view_by(condition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW grouped.later AS SELECT u.id AS uid, (SELECT jsonb_agg(r.name ORDER BY r.name) FROM grouped.held h JOIN grouped.roles r ON ' || condition || ' WHERE h.user_id = u.id) AS doc FROM grouped.users u';
END $$;
-- The document is cached, then the row changes: what was cached, what is read, what the view says.
CREATE PROCEDURE grouped.change(role int, INOUT was jsonb DEFAULT NULL, INOUT cached boolean DEFAULT NULL, INOUT now jsonb DEFAULT NULL, INOUT own jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rolecall.project('later', '1');
    COMMIT;
    was := rolecall.project('later', '1');
    cached := (SELECT e.cached AND e.reason IS NULL FROM rolecall.cache_entry('later', '1') e);
    COMMIT;
    UPDATE grouped.roles r SET name = r.name || '!' WHERE r.id = role;
    COMMIT;
    now := rolecall.project('later', '1');
    EXECUTE 'SELECT doc FROM grouped.later WHERE uid = 1' INTO own;
END $$;
CALL grouped.change(1);
-- with a column, and then a view by it
ALTER TABLE grouped.held ADD second int REFERENCES grouped.roles DEFAULT 2;
SELECT grouped.view_by('r.id = h.second');
CALL grouped.change(2);
-- with the view, in one transaction
BEGIN;
ALTER TABLE grouped.held ADD third int DEFAULT 3;
SELECT grouped.view_by('r.id IN (h.second, h.third)');
ALTER TABLE grouped.held ADD FOREIGN KEY (third) REFERENCES grouped.roles;
COMMIT;
CALL grouped.change(3);
-- of a partition, of more than one column
ALTER TABLE grouped.roles ADD kind int NOT NULL DEFAULT 1, ADD UNIQUE (kind, id);
ALTER TABLE grouped.held ADD fourth int DEFAULT 4;
ALTER TABLE grouped.held_1 ADD FOREIGN KEY (kind, fourth) REFERENCES grouped.roles (kind, id);
SELECT grouped.view_by('r.id = h.fourth');
CALL grouped.change(4);
-- of a partition that is attached with it
CREATE TABLE grouped.held_2 (LIKE grouped.held);
ALTER TABLE grouped.held ADD fifth int;
ALTER TABLE grouped.held_2 ADD fifth int REFERENCES grouped.roles DEFAULT 5;
INSERT INTO grouped.held_2 (user_id, id, kind) VALUES (1, 1, 2);
SELECT grouped.view_by('r.id = h.fifth');
ALTER TABLE grouped.held ATTACH PARTITION grouped.held_2 FOR VALUES IN (2);
CALL grouped.change(5);
-- The one that was there in the beginning counts without it, too.
ALTER TABLE grouped.held DROP CONSTRAINT held_id_fkey;
SELECT grouped.view_by('r.id = h.id');
CALL grouped.change(1);
-- What only a child has is not among the parent's columns.
CREATE TABLE grouped.parent (user_id bigint);
CREATE TABLE grouped.only () INHERITS (grouped.parent);
INSERT INTO grouped.only VALUES (1);
SELECT rolecall.watch('later', 'grouped.parent', 'user_id');
ALTER TABLE grouped.only ADD own int REFERENCES grouped.roles DEFAULT 2;
SELECT problem, repair FROM rolecall.check_projections() WHERE projection = 'later';
SELECT rolecall.watch('later', 'grouped.only', 'user_id');
SELECT problem, repair FROM rolecall.check_projections() WHERE projection = 'later';
CREATE OR REPLACE VIEW grouped.later AS SELECT u.id AS uid, (SELECT jsonb_agg(r.name ORDER BY r.name) FROM grouped.only h JOIN grouped.roles r ON r.id = h.own WHERE h.user_id = u.id) AS doc FROM grouped.users u;
CALL grouped.change(2);
SELECT rolecall.drop_projection('later');

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA grouped CASCADE;
