-- Who may do what: nothing without a grant, and no more than was granted.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT * FROM no_plan();

INSERT INTO rolecall.roles (name) VALUES ('reader');
INSERT INTO rolecall.users (id, email) VALUES (9001, 'a@example.org');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'reader');
CREATE ROLE tap_nobody;
CREATE ROLE tap_reader;
CREATE ROLE tap_syncer;
CREATE ROLE tap_monitor IN ROLE pg_monitor;
-- pgTAP's own functions are in public, its temporary tables are the superuser's.
GRANT USAGE ON SCHEMA public TO PUBLIC;
DO $$ DECLARE t regclass; BEGIN
    FOR t IN SELECT oid FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'S') LOOP
        EXECUTE format('GRANT ALL ON %s TO PUBLIC', t);
    END LOOP;
END $$;

CREATE FUNCTION public.denied(who name, query text, why text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    result := throws_ok(query, '42501', NULL, format('%s: %s', who, why));
    RESET ROLE;
    RETURN result;
END $$;
CREATE FUNCTION public.allowed(who name, query text, why text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    result := lives_ok(query, format('%s: %s', who, why));
    RESET ROLE;
    RETURN result;
END $$;

-- Nobody: not even the schema; with it, no function and no table.
SELECT denied('tap_nobody', 'SELECT rolecall.me(9001)', 'no use of the schema');
GRANT USAGE ON SCHEMA rolecall TO tap_nobody, tap_reader, tap_syncer;
SELECT ok(NOT has_function_privilege('tap_nobody', p.oid, 'EXECUTE'), 'tap_nobody: function ' || p.oid::regprocedure)
FROM (SELECT oid FROM pg_proc WHERE pronamespace = 'rolecall'::regnamespace ORDER BY oid::regprocedure::text OFFSET 0) p;
SELECT denied('tap_nobody', 'SELECT rolecall.me(9001)', 'me()');
SELECT denied('tap_nobody', $$SELECT rolecall.has_role('9001', 'reader')$$, 'has_role()');
SELECT denied('tap_nobody', $$SELECT rolecall.sync_user_roles(9001, '{"roles": []}')$$, 'sync_user_roles()');
SELECT denied('tap_nobody', format('TABLE %s', c.oid::regclass), 'relation ' || c.oid::regclass)
FROM (SELECT oid FROM pg_class WHERE relnamespace = 'rolecall'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname OFFSET 0) c;

-- A reader: the reads, with no right on any table.
GRANT EXECUTE ON FUNCTION rolecall.me(bigint), rolecall.has_role(bigint, text), rolecall.has_role(bigint, text, text, text),
    rolecall.auth_projection(bigint), rolecall.project(name, text) TO tap_reader;
SELECT allowed('tap_reader', 'SELECT rolecall.me(9001)', 'me(), not cached');
SELECT allowed('tap_reader', 'SELECT rolecall.me(9001)', 'me(), cached');
SELECT allowed('tap_reader', $$SELECT rolecall.has_role(9001, 'reader'), rolecall.auth_projection(9001)$$, 'role checks');
SELECT denied('tap_reader', $$SELECT rolecall.project('me', '9001')$$, 'project() needs SELECT on the view');
SELECT denied('tap_reader', 'SELECT * FROM rolecall.me_view', 'not the view itself');
SELECT denied('tap_reader', 'SELECT rolecall.sync_user_roles(9001)', 'no sync');
SELECT denied('tap_reader', $$SELECT rolecall.sync_user_roles(9001, '{"roles": []}')$$, 'no write access');
GRANT SELECT ON rolecall.me_view TO tap_reader;
SELECT allowed('tap_reader', $$SELECT rolecall.project('me', '9001')$$, 'project() with SELECT on the view');

-- A syncer: asks the provider, and cannot say what it answered.
GRANT EXECUTE ON FUNCTION rolecall.sync_user_roles(bigint), rolecall.force_sync_user_roles(bigint) TO tap_syncer;
SELECT allowed('tap_syncer', 'SELECT rolecall.sync_user_roles(123456)', 'sync');
SELECT denied('tap_syncer', $$SELECT rolecall.sync_user_roles(9001, '{"roles": ["admin"]}')$$, 'no roles of its own making');
SELECT denied('tap_syncer', 'SELECT rolecall.me(9001)', 'no reads');
GRANT EXECUTE ON FUNCTION rolecall.sync_user_roles(bigint, jsonb, boolean) TO tap_syncer;
SELECT allowed('tap_syncer', $$SELECT rolecall.sync_user_roles(9001, '{"roles": ["admin"]}')$$, 'with the grant: writes without any right on tables');
SELECT denied('tap_syncer', $$INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'admin')$$, 'but not directly');

-- A monitor: statistics, no documents.
SELECT allowed('tap_monitor', 'SELECT * FROM rolecall.stat_cache', 'statistics');
SELECT denied('tap_monitor', 'SELECT rolecall.me(9001)', 'no documents');

-- The definer's rights end with the call: a hostile search_path, operators and temporary tables gain nothing.
CREATE SCHEMA hostile;
GRANT USAGE, CREATE ON SCHEMA hostile TO tap_reader;
GRANT TEMPORARY ON DATABASE :"DBNAME" TO tap_reader;
SET LOCAL ROLE tap_reader;
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION hostile.coalesce_roles(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION hostile.equal(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR hostile.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = hostile.equal);
CREATE TEMP TABLE users (id bigint, email text);
CREATE TEMP TABLE projections (name name, id bigint, view regclass, key_column name, doc_column name);
SET LOCAL search_path = hostile, pg_temp, pg_catalog, public;
SELECT lives_ok('SELECT rolecall.me(9001), rolecall.me(9002), rolecall.me(9003)', 'a hostile search_path gains nothing');
RESET ROLE;
RESET search_path;
SELECT is(rolecall.me(9001) ->> 'email', 'a@example.org', 'and poisons nobody');

SELECT * FROM finish();
ROLLBACK;
