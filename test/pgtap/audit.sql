-- The audit: every way in which a grant can come or go leaves its row.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = error;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(31);

CREATE ROLE tap_admin;
GRANT USAGE ON SCHEMA rolecall TO tap_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON rolecall.user_roles TO tap_admin;
CREATE SERVER tap_hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, g || '@example.org', 'tap_hr', g FROM generate_series(9001, 9005) g;

-- What was written down since the last look.
CREATE TEMP TABLE looked AS SELECT coalesce(max(id), 0) AS last FROM rolecall.role_changes;
CREATE FUNCTION pg_temp.news() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SELECT string_agg(concat_ws(' ', user_id, CASE change WHEN 'added' THEN '+' ELSE '-' END || role || '@' || scope_kind || ':' || scope_id || '/' || source,
                                CASE WHEN changed_by <> session_user THEN 'by ' || changed_by END, cause, provider, request_id), E'\n' ORDER BY id)
    INTO result FROM rolecall.role_changes, looked WHERE id > last;
    UPDATE looked SET last = (SELECT coalesce(max(id), 0) FROM rolecall.role_changes);
    RETURN coalesce(result, '');
END $$;

INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'reader');
SELECT is(pg_temp.news(), '9001 +reader@global:/local sql', 'INSERT');
SELECT ok((SELECT changed_at BETWEEN now() AND clock_timestamp() AND changed_by = session_user FROM rolecall.role_changes ORDER BY id DESC LIMIT 1), 'when, and by whom');
INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id) SELECT 9002, 'reader', 'institutional', g FROM generate_series(1, 2) g;
SELECT is(pg_temp.news(), E'9002 +reader@institutional:1/local sql\n9002 +reader@institutional:2/local sql', 'many at once');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'reader') ON CONFLICT DO NOTHING;
SELECT is(pg_temp.news(), '', 'INSERT that did nothing');
UPDATE rolecall.user_roles SET role = 'editor' WHERE user_id = 9001;
SELECT is(pg_temp.news(), E'9001 -reader@global:/local sql\n9001 +editor@global:/local sql', 'UPDATE');
UPDATE rolecall.user_roles SET granted_at = granted_at WHERE user_id = 9001;
SELECT is(pg_temp.news(), '', 'UPDATE that changed no grant');
UPDATE rolecall.user_roles SET expires_at = now() + interval '1 day' WHERE user_id = 9001;
SELECT is(pg_temp.news(), E'9001 -editor@global:/local sql\n9001 +editor@global:/local sql', 'another expiry is another grant');
UPDATE rolecall.roles SET name = 'writer' WHERE name = 'editor';
SELECT is(pg_temp.news(), E'9001 -editor@global:/local sql\n9001 +writer@global:/local sql', 'a role that is renamed');
DELETE FROM rolecall.user_roles WHERE user_id = 9001;
SELECT is(pg_temp.news(), '9001 -writer@global:/local sql', 'DELETE');
DELETE FROM rolecall.users WHERE id = 9002;
SELECT is(pg_temp.news(), E'9002 -reader@institutional:1/local sql\n9002 -reader@institutional:2/local sql', 'a user who is deleted');
MERGE INTO rolecall.user_roles g USING (VALUES (9003, 'reader')) v(u, r) ON g.user_id = v.u WHEN NOT MATCHED THEN INSERT (user_id, role) VALUES (v.u, v.r);
SELECT is(pg_temp.news(), '9003 +reader@global:/local sql', 'MERGE');
SET LOCAL ROLE tap_admin;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9004, 'reader');
RESET ROLE;
SELECT is(pg_temp.news(), '9004 +reader@global:/local sql', 'by somebody with the right to write grants, and no right to the audit: the session''s user counts');
SAVEPOINT s;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9005, 'reader');
ROLLBACK TO s;
SELECT is(pg_temp.news(), '', 'what was rolled back did not happen');

-- Syncs
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": ["reader", "writer@institutional:a"]}'); END $do$;
SELECT is(pg_temp.news(), E'9005 +reader@global:/provider given tap_hr\n9005 +writer@institutional:a/provider given tap_hr', 'roles given in SQL');
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": ["reader", "writer@institutional:a"]}', true); END $do$;
SELECT is(pg_temp.news(), '', 'a sync that changed nothing');
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": ["reader"]}', true); END $do$;
SELECT is(pg_temp.news(), '9005 -writer@institutional:a/provider given tap_hr', 'only the difference');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9005, 'reader');
SELECT is(pg_temp.news(), '9005 +reader@global:/local sql', 'after a sync, SQL is SQL again');
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": [1]}', true); EXCEPTION WHEN OTHERS THEN NULL; END $do$;
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON rolecall.user_roles FOR EACH ROW WHEN (NEW.source = 'provider') EXECUTE FUNCTION pg_temp.refuse();
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": ["writer"]}', true); EXCEPTION WHEN OTHERS THEN NULL; END $do$;
DROP TRIGGER refuse ON rolecall.user_roles;
DELETE FROM rolecall.user_roles WHERE user_id = 9005 AND source = 'local';
SELECT is(pg_temp.news(), '9005 -reader@global:/local sql', 'likewise after one that failed');

-- Request ids
SET LOCAL rolecall.request_id = 'req-7';
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9005, 'writer');
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9005, '{"roles": []}', true); END $do$;
SELECT is(pg_temp.news(), E'9005 +writer@global:/local sql req-7\n9005 -reader@global:/provider given tap_hr req-7', 'rolecall.request_id');
SELECT throws_ok('SET LOCAL rolecall.request_id = ''a b''', '22023', NULL, 'a request id with a space');
SELECT throws_ok('SET LOCAL rolecall.request_id = E''a\r\nX-Evil: 1''', '22023', NULL, 'a request id that would be another header');
SELECT throws_ok(format('SET LOCAL rolecall.request_id = %L', repeat('x', 129)), '22023', NULL, 'a long request id');
RESET rolecall.request_id;

-- Everything at once
TRUNCATE rolecall.user_roles;
SELECT is(pg_temp.news(), E'9003 -reader@global:/local sql\n9004 -reader@global:/local sql\n9005 -writer@global:/local sql', 'TRUNCATE');
COPY rolecall.user_roles (user_id, role) FROM stdin;
9003	reader
\.
SELECT is(pg_temp.news(), '9003 +reader@global:/local sql', 'COPY');

-- A restore brings its own. It is known by all that pg_dump's scripts set.
SET LOCAL check_function_bodies = off;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9004, 'reader');
DELETE FROM rolecall.user_roles WHERE user_id = 9004;
SELECT is(pg_temp.news(), E'9004 +reader@global:/local sql\n9004 -reader@global:/local sql', 'one sign is none');
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL xmloption = content;
SET LOCAL client_min_messages = warning;
SET LOCAL row_security = off;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9004, 'reader');
TRUNCATE rolecall.user_roles;
SELECT is(pg_temp.news(), '', 'what a dump''s script does is not recorded');
SET LOCAL SESSION AUTHORIZATION tap_admin;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9004, 'reader');
RESET SESSION AUTHORIZATION;
SELECT is(pg_temp.news(), '9004 +reader@global:/local by tap_admin sql', 'but that setting silences only who may switch triggers off');
RESET check_function_bodies;
RESET row_security;

-- Trimming
UPDATE rolecall.role_changes SET changed_at = now() - interval '100 days' WHERE user_id = 9005;
SELECT is(rolecall.trim_role_changes(now() - interval '90 days', 2), 2::bigint, 'trimmed, at most so many');
SELECT ok(rolecall.trim_role_changes(now() - interval '90 days') > 0, 'trimmed, all');
SELECT ok(NOT EXISTS (SELECT FROM rolecall.role_changes WHERE user_id = 9005), 'and gone');
SELECT ok(EXISTS (SELECT FROM rolecall.role_changes WHERE user_id = 9003), 'but no younger ones');

SELECT * FROM finish();
ROLLBACK;
