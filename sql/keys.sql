-- Keys of text, varchar and char(n), which fit each other; and text that may be JSON.
\set VERBOSITY terse
CREATE SCHEMA keys;
CREATE TABLE keys.users (id char(36) PRIMARY KEY, name text);
CREATE TABLE keys.notes (user_id varchar(128), note text);
CREATE INDEX ON keys.notes ((user_id::bpchar));
CREATE TABLE keys.grants (user_id text, role varchar(20));
CREATE TABLE keys.roles (role char(20) PRIMARY KEY, title text);
INSERT INTO keys.users VALUES ('b0000000-0000-0000-0000-000000000001', 'ada'), ('short', 'bob');
INSERT INTO keys.notes VALUES ('short', 'one'), ('short  ', 'two'), ('b0000000-0000-0000-0000-000000000001', 'three');
INSERT INTO keys.grants VALUES ('short', 'reader'), ('short ', 'writer '), ('b0000000-0000-0000-0000-000000000001', 'reader');
INSERT INTO keys.roles VALUES ('reader', 'Reader'), ('writer', 'Writer');
-- Joined as char(n), where trailing blanks do not count.
CREATE VIEW keys.v AS
SELECT u.id AS uid, jsonb_build_object('name', u.name,
    'notes', (SELECT jsonb_agg(n.note ORDER BY n.note) FROM keys.notes n WHERE n.user_id::bpchar = u.id),
    'roles', (SELECT coalesce(jsonb_agg(r.role::text ORDER BY r.role), '[]') FROM keys.grants g JOIN keys.roles r ON r.role = g.role::bpchar WHERE g.user_id::bpchar = u.id),
    'titles', (SELECT jsonb_agg(r.title ORDER BY r.title) FROM keys.grants g JOIN keys.roles r ON r.role = g.role::bpchar WHERE g.user_id::bpchar = u.id)) AS doc
FROM keys.users u;
SELECT rolecall.create_projection('me', 'keys.v', 'uid', 'doc', watches => '{
    "keys.users": "id", "keys.notes": "user_id", "keys.grants": "user_id",
    "keys.roles": {"lookup": "role", "referencing": {"keys.grants": "role"}}}');
-- What the cache answers, and how many answers differ from the view: 0.
CREATE FUNCTION keys.wrong() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM keys.v WHERE rolecall.me(uid::text) IS DISTINCT FROM doc $$;
SELECT keys.wrong(), rolecall.me('short'), (rolecall.cache_entry('me', 'short')).cached;
SELECT rolecall.has_role('b0000000-0000-0000-0000-000000000001'::uuid, 'reader'), rolecall.me('b0000000-0000-0000-0000-000000000001'::uuid) ->> 'name',
       rolecall.me('b0000000-0000-0000-0000-000000000002'::uuid), rolecall.me('B0000000-0000-0000-0000-000000000001') IS NULL AS texts_are_texts;
SELECT uid, doc ->> 'name' AS name FROM rolecall.me_many('{b0000000-0000-0000-0000-000000000001}'::uuid[]);
SELECT id FROM rolecall.require_user('b0000000-0000-0000-0000-000000000001'::uuid);
SELECT rolecall.me(1);
-- By key: text and varchar, with trailing blanks and without.
UPDATE keys.notes SET note = 'zwei' WHERE note = 'two';
SELECT keys.wrong(), rolecall.me('short') -> 'notes' AS notes;
INSERT INTO keys.grants VALUES ('b0000000-0000-0000-0000-000000000001   ', 'writer');
SELECT keys.wrong(), rolecall.has_role('b0000000-0000-0000-0000-000000000001'::uuid, 'writer');
-- By reference: the row that refers has trailing blanks in its key and in what it refers to.
UPDATE keys.roles SET title = 'Author' WHERE role = 'writer';
SELECT keys.wrong(), rolecall.me('short') -> 'titles' AS titles;
-- The same after all documents were loaded at once.
SELECT rolecall.reload('me');
DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
    EXIT WHEN (SELECT phase FROM rolecall.stat_progress WHERE projection = 'me') = 'done';
    PERFORM pg_sleep(0.01);
END LOOP; END $$;
SELECT p.phase, p.documents_loaded FROM rolecall.stat_progress p WHERE p.projection = 'me';
UPDATE keys.roles SET title = 'Scribe' WHERE role = 'writer';
SELECT keys.wrong(), rolecall.me('short') -> 'titles' AS titles;
SELECT rolecall.drop_projection('me');
-- Keys that are texts: each has its own document, and char(n) rows belong to the one without blanks.
CREATE TABLE keys.t (id text PRIMARY KEY, name text);
INSERT INTO keys.t VALUES ('a', 'without'), ('a ', 'with');
CREATE TABLE keys.c (id char(5), role varchar(20));
CREATE INDEX ON keys.c (id);
INSERT INTO keys.c VALUES ('a', 'reader');
CREATE VIEW keys.tv AS SELECT t.id AS uid, jsonb_build_object('name', t.name,
    'titles', (SELECT jsonb_agg(r.title) FROM keys.c c JOIN keys.roles r ON r.role = c.role::bpchar WHERE c.id::text = t.id)) AS doc FROM keys.t t;
SELECT rolecall.create_projection('texts', 'keys.tv', 'uid', 'doc', watches => '{
    "keys.t": "id", "keys.c": "id", "keys.roles": {"lookup": "role", "referencing": {"keys.c": "role"}}}');
SELECT rolecall.project('texts', 'a'), rolecall.project('texts', 'a ');
UPDATE keys.t SET name = name || '!';
UPDATE keys.roles SET title = 'Lector' WHERE role = 'reader';
SELECT rolecall.project('texts', 'a'), rolecall.project('texts', 'a ');
SELECT rolecall.drop_projection('texts');
DROP SCHEMA keys CASCADE;

-- ---- try_jsonb
SELECT rolecall.try_jsonb('{"a": [1, "x", null, true]}'), rolecall.try_jsonb('1'), rolecall.try_jsonb(NULL) IS NULL AS strict;
SELECT t.value, rolecall.try_jsonb(t.value) IS NULL AS refused
FROM unnest(ARRAY['', '{', 'x', '{"a": 1} b', '{"a": "\u0000"}', '{"a": "\ud800"}', '[1e200000]', '[NaN]', E'["a\tb"]', '[1,]', '{a: 1}', '["\x"]']) t(value);
-- What the type itself says is the measure.
DO $$
DECLARE
    v text;
    expected jsonb;
BEGIN
    FOREACH v IN ARRAY ARRAY['{}', '[]', ' [1e400] ', '"\u00e9"', '"\ud83d\ude00"', '-0.0', '[[[[]]]]', '{"a": {"a": 1}, "a": 2}', 'nul', '"', '[1 2]', '{"a" 1}'] LOOP
        BEGIN
            expected := v::jsonb;
        EXCEPTION WHEN OTHERS THEN
            expected := NULL;
        END;
        IF rolecall.try_jsonb(v) IS DISTINCT FROM expected THEN
            RAISE EXCEPTION 'try_jsonb(%) is %, not %', v, rolecall.try_jsonb(v), expected;
        END IF;
    END LOOP;
END $$;
-- Nesting has a bound that no setting moves.
SELECT n, rolecall.try_jsonb(repeat('[', n) || repeat(']', n)) IS NULL AS refused FROM unnest(ARRAY[1, 1000, 1001, 1000000]) n;
SELECT rolecall.try_jsonb('["' || repeat('[', 2000) || '\"[["]') IS NOT NULL AS braces_in_strings;
SELECT provolatile, proparallel, proisstrict FROM pg_proc WHERE oid = 'rolecall.try_jsonb(text)'::regprocedure;
