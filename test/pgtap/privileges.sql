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

-- ... and the others that answer: many, by e-mail, any projection.
SELECT denied('tap_reader', 'SELECT rolecall.me_many(ARRAY[9001])', 'me_many() is granted by itself');
SELECT denied('tap_reader', $$SELECT rolecall.me_by_email('a@example.org')$$, 'me_by_email() is granted by itself');
SELECT denied('tap_reader', $$SELECT * FROM rolecall.project_many('me', '{9001}')$$, 'project_many() is granted by itself');
SELECT denied('tap_reader', 'SELECT rolecall.me()', 'me() without uid is granted by itself');
GRANT EXECUTE ON FUNCTION rolecall.me_many(bigint[]), rolecall.me_by_email(text, uuid), rolecall.project_many(name, text[]) TO tap_reader;
SELECT allowed('tap_reader', $$SELECT rolecall.me_many(ARRAY[9001]), rolecall.me_by_email('a@example.org')$$, 'me_many(), me_by_email()');
SELECT allowed('tap_reader', $$SELECT * FROM rolecall.project_many('me', '{9001}')$$, 'project_many() with SELECT on the view');
SELECT denied('tap_reader', 'SELECT rolecall.me_many(ARRAY[''9001'']::text[])', 'not the overload that was not granted');
REVOKE SELECT ON rolecall.me_view FROM tap_reader;
SELECT denied('tap_reader', $$SELECT * FROM rolecall.project_many('me', '{9001}')$$, 'project_many() needs SELECT on the view');
SELECT denied('tap_reader', $$SELECT * FROM rolecall.project_many('me', '{}')$$, '... for no key too');
SELECT denied('tap_reader', $$SELECT rolecall.project('me', '123456')$$, '... and for an unknown one');

-- "me" of an application's own: its view is the one that counts.
CREATE SCHEMA tap_app;
CREATE TABLE tap_app.people (id bigint PRIMARY KEY, doc jsonb NOT NULL);
INSERT INTO tap_app.people VALUES (1, '{"email": "app@example.org", "roles": ["boss"]}');
CREATE VIEW tap_app.people_view AS SELECT id AS uid, doc FROM tap_app.people;
GRANT USAGE ON SCHEMA tap_app TO tap_reader;
SELECT rolecall.create_projection('me', 'tap_app.people_view', 'uid', 'doc', watches => '{"tap_app.people": "id"}');
GRANT SELECT ON rolecall.me_view TO tap_reader;
SELECT denied('tap_reader', $$SELECT rolecall.project('me', '1')$$, 'project() of "me" needs SELECT on the view of the application');
REVOKE SELECT ON rolecall.me_view FROM tap_reader;
GRANT SELECT ON tap_app.people_view TO tap_reader;
SELECT allowed('tap_reader', $$SELECT rolecall.project('me', '1')$$, '... and on that only');
REVOKE SELECT ON tap_app.people_view FROM tap_reader;
SELECT is((SELECT rolecall.me(1) ->> 'email'), 'app@example.org', 'me() is about it');
SELECT allowed('tap_reader', 'SELECT rolecall.me(1)', 'me() needs EXECUTE only');
SELECT rolecall.drop_projection('me');

-- A web role: the user whom the session names, and nobody else. It can name anybody, if it can run statements.
CREATE ROLE tap_web;
GRANT USAGE ON SCHEMA rolecall TO tap_web;
GRANT EXECUTE ON FUNCTION rolecall.me(), rolecall.has_role(text), rolecall.current_uid() TO tap_web;
SET LOCAL request.jwt.claims = '{"sub": "9001"}';
SELECT allowed('tap_web', 'SELECT rolecall.me(), rolecall.current_uid()', 'me()');
SET LOCAL ROLE tap_web;
SELECT is(rolecall.me() ->> 'email', 'a@example.org', 'me() of the session''s user');
SELECT ok(rolecall.has_role('reader') AND NOT rolecall.has_role('writer'), 'has_role(role) of the session''s user');
RESET ROLE;
SELECT denied('tap_web', q, 'not ' || q) FROM unnest(ARRAY['SELECT rolecall.me(9001)', 'SELECT rolecall.me(''9001'')',
    'SELECT rolecall.has_role(9001, ''reader'')', 'SELECT rolecall.has_role(''9001'', ''reader'')', 'SELECT rolecall.auth_projection(9001)',
    'SELECT rolecall.require_user(9001)', 'SELECT rolecall.me_many(ARRAY[9001])', 'SELECT rolecall.me_by_email(''a@example.org'')',
    'SELECT rolecall.me_json(9001)', 'SELECT rolecall.project_json(''me'', ''9001'')', 'SELECT rolecall.project(''me'', ''9001'')', 'SELECT rolecall.user_id(''x'')', 'TABLE rolecall.me_view']) q;
SET LOCAL ROLE tap_web;
SET LOCAL rolecall.uid = '9002';
SELECT is(rolecall.current_uid(), '9002', 'whoever runs statements can name another');
RESET ROLE;
SET LOCAL rolecall.uid = '';
SET LOCAL request.jwt.claims = '';

-- Administration: EXECUTE alone gives nothing where something would be written or shown.
CREATE ROLE tap_operator;
GRANT USAGE ON SCHEMA rolecall, tap_app TO tap_operator;
SELECT denied('tap_operator', q, 'without EXECUTE: ' || q) FROM unnest(ARRAY[
    'SELECT rolecall.reload(''me'')', 'SELECT rolecall.cancel_reload(''me'')', 'SELECT rolecall.cancel_load(1)', 'SELECT rolecall.invalidate(''me'', ''1'')', 'SELECT rolecall.cache_entry(''me'', ''1'')',
    'SELECT rolecall.check_projections()', 'SELECT rolecall.projection_problems(''me'')']) q;
SELECT rolecall.create_projection('people', 'tap_app.people_view', 'uid', 'doc', watches => '{"tap_app.people": "id"}');
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rolecall TO tap_operator;
SELECT denied('tap_operator', q, 'with EXECUTE on everything, and no right on tables: ' || q) FROM unnest(ARRAY[
    'SELECT rolecall.create_projection(''mine'', ''tap_app.people_view'', ''uid'', ''doc'')',
    'SELECT rolecall.create_projection(''mine'', ''tap_app.people_view'', ''uid'', ''doc'', ttl => ''1 hour'')',
    'SELECT rolecall.drop_projection(''people'')', 'SELECT rolecall.repair_projection(''people'')',
    'SELECT rolecall.watch(''people'', ''tap_app.people'', ''id'')', 'SELECT rolecall.watch_lookup(''people'', ''tap_app.people'')',
    'SELECT rolecall.unwatch(''people'', ''tap_app.people'')', 'SELECT rolecall.check_projections()',
    'SELECT rolecall.put_watch_triggers(1)', 'SELECT rolecall.add_watch(''people'', ''tap_app.people'', false, ''id'')',
    'SELECT rolecall.application_projection(''people'')', 'SELECT rolecall.watch_member(1259)',
    'SELECT rolecall.project(''people'', ''1'')', 'SELECT rolecall.project_json(''people'', ''1'')', 'SELECT rolecall.project_many(''people'', ''{1}'')',
    'INSERT INTO rolecall.projections (name, view, key_column, doc_column) VALUES (''mine'', ''tap_app.people_view'', ''uid'', ''doc'')',
    'UPDATE rolecall.projections SET view = ''tap_app.people_view''', 'DELETE FROM rolecall.watches', 'DELETE FROM rolecall.watch_references',
    'TRUNCATE rolecall.projections CASCADE']) q;
SELECT denied('tap_operator', format('SELECT rolecall.drop_watch_triggers(%s, ''tap_app.people'')', id), 'nor the triggers of a watch')
FROM rolecall.projections WHERE name = 'people';
SELECT is((SELECT count(*)::int FROM pg_trigger WHERE tgrelid = 'tap_app.people'::regclass), 2, 'they are all there');
-- What EXECUTE does give: reading anew, which changes no answer, and looking at the cache, which shows no document.
SELECT allowed('tap_operator', q, q) FROM unnest(ARRAY['SELECT rolecall.reload(''people'')', 'SELECT rolecall.invalidate(''people'', ''1'')',
    'SELECT rolecall.cache_entry(''people'', ''1'')', 'SELECT rolecall.projection_problems(''people'')']) q;
SELECT is(rolecall.project('people', '1') ->> 'email', 'app@example.org', '... and changes nothing');
GRANT SELECT ON rolecall.projections, rolecall.watches TO tap_operator;
SELECT allowed('tap_operator', 'SELECT rolecall.cancel_reload(''people'')', 'cancel_reload() with SELECT on projections');
SELECT allowed('tap_operator', 'SELECT rolecall.check_projections()', 'check_projections() with SELECT on projections');
SELECT denied('tap_operator', 'SELECT rolecall.create_projection(''mine'', ''tap_app.people_view'', ''uid'', ''doc'')', '... which is not the right to write them');
SELECT denied('tap_operator', 'SELECT rolecall.repair_projection(''people'')', '... nor to put triggers on tables');

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
SELECT allowed('tap_monitor', 'SELECT * FROM rolecall.stat_progress', 'how far loads are');
SELECT denied('tap_monitor', 'SELECT rolecall.me(9001)', 'no documents');

-- The view's owner reads, and nobody with more rights: what it may not see, a document does not show.
CREATE ROLE tap_owner;
GRANT USAGE ON SCHEMA tap_app TO tap_owner;
CREATE VIEW tap_app.stolen AS SELECT id AS uid, doc FROM tap_app.people;
ALTER VIEW tap_app.stolen OWNER TO tap_owner;
GRANT SELECT ON tap_app.stolen TO tap_reader;
SELECT throws_ok($$SELECT rolecall.create_projection('stolen', 'tap_app.stolen', 'uid', 'doc', watches => '{"tap_app.people": "id"}')$$,
    '42501', 'documents of view tap_app.stolen cannot be read', 'a view whose owner may not read is refused');
GRANT SELECT ON tap_app.people TO tap_owner;
SELECT rolecall.create_projection('stolen', 'tap_app.stolen', 'uid', 'doc', watches => '{"tap_app.people": "id"}');
REVOKE SELECT ON tap_app.people FROM tap_owner;
SELECT denied('tap_reader', $$SELECT rolecall.project('stolen', '1')$$, 'the owner of the view may not read the table');
SELECT throws_ok($$SELECT rolecall.project('stolen', '1')$$, '42501', NULL, 'not for a superuser either');

-- Functions in views run as the view's owner, security-restricted.
CREATE FUNCTION tap_app.run(what text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN EXECUTE what; RETURN current_user; END $$;
CREATE FUNCTION tap_app.nosy(what text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN to_jsonb(tap_app.run(what)); END $$;
CREATE VIEW tap_app.nosy_view AS SELECT id AS uid, tap_app.nosy(coalesce(doc ->> 'do', 'SELECT')) AS doc FROM tap_app.people;
GRANT SELECT ON tap_app.people TO tap_owner;
ALTER VIEW tap_app.nosy_view OWNER TO tap_owner;
INSERT INTO tap_app.people VALUES (2, '{"do": "SELECT"}'), (3, '{"do": "RESET ROLE"}'), (4, '{"do": "CREATE TEMP TABLE mine ()"}'),
    (5, '{"do": "CREATE TABLE tap_app.mine ()"}'), (6, '{"do": "SET SESSION AUTHORIZATION DEFAULT"}');
SELECT rolecall.create_projection('nosy', 'tap_app.nosy_view', 'uid', 'doc', watches => '{"tap_app.people": "id"}');
SELECT is(rolecall.project('nosy', '2'), '"tap_owner"', 'a function in a view runs as the view''s owner');
SELECT throws_ok($$SELECT rolecall.project('nosy', '3')$$, '42501', NULL, '... who cannot become another');
SELECT throws_ok($$SELECT rolecall.project('nosy', '6')$$, '42501', NULL, '... in no way');
SELECT throws_ok($$SELECT rolecall.project('nosy', '4')$$, '42501', NULL, '... nor leave a temporary table behind');
SELECT throws_ok($$SELECT rolecall.project('nosy', '5')$$, '42501', NULL, '... nor do what the owner may not');
SELECT is(current_user, session_user, 'and the caller is who it was');

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
CREATE FUNCTION hostile.uuid_equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.uuid_equal);
CREATE FUNCTION hostile.text_equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.text_equal);
CREATE FUNCTION hostile.name_equal(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE TEMP TABLE people (id bigint, doc jsonb);
CREATE TEMP TABLE people_view (uid bigint, doc jsonb);
CREATE TEMP TABLE watches (projection name, id bigint, relation regclass);
CREATE TEMP TABLE projections (name name, id bigint, view regclass, key_column name, doc_column name);
-- (Not in pgTAP's own functions, which this would break.)
\o /dev/null
SET LOCAL search_path = hostile, pg_temp, pg_catalog, public;
SELECT rolecall.me(9001), rolecall.me(9002), rolecall.me(9003);
SELECT rolecall.me_many('{9001, 9004}'::bigint[]), rolecall.me_by_email('a@example.org'), rolecall.me_by_email('b@example.org', '00000000-0000-0000-0000-000000000001');
SELECT rolecall.has_role(9005, 'reader'), rolecall.auth_projection(9006);
RESET search_path;
RESET ROLE;
\o
SELECT pass('a hostile search_path gains nothing');
GRANT SELECT ON tap_app.people_view TO tap_reader;
SET LOCAL ROLE tap_reader;
SET LOCAL search_path = hostile, pg_temp, pg_catalog, public;
SELECT rolecall.project('people', '1') AS doc \gset
RESET search_path;
RESET ROLE;
SELECT is(:'doc'::jsonb ->> 'email', 'app@example.org', '... for an application''s own view and tables, whose names temporary tables have');
-- The same in schema public, for a superuser who administers.
\o /dev/null
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.text_equal);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = hostile.name_equal);
SET LOCAL search_path = public, pg_temp, pg_catalog;
SELECT rolecall.repair_projection('people'), rolecall.check_projections(), rolecall.reload('people'), rolecall.invalidate('people', '1'), rolecall.cache_entry('people', '1');
SELECT rolecall.unwatch('people', 'tap_app.people'), rolecall.watch('people', 'tap_app.people', 'id'), rolecall.drop_projection('people');
RESET search_path;
DROP OPERATOR public.= (text, text);
DROP OPERATOR public.= (name, name);
\o
SELECT pass('administration runs nothing from public, nor from temporary tables');
SELECT is(rolecall.me(9001) ->> 'email', 'a@example.org', 'and poisons nobody');

SELECT * FROM finish();
ROLLBACK;
