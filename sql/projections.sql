-- Projections over an application's own tables.
\set SHOW_CONTEXT never
CREATE SCHEMA app;
CREATE TABLE app.tenants (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE app.users (id uuid PRIMARY KEY, tenant uuid NOT NULL REFERENCES app.tenants, email text NOT NULL, enabled boolean NOT NULL DEFAULT true);
CREATE TABLE app.roles (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE app.user_roles (user_id uuid NOT NULL REFERENCES app.users ON DELETE CASCADE, role_id int NOT NULL REFERENCES app.roles, PRIMARY KEY (user_id, role_id));
INSERT INTO app.tenants VALUES ('00000000-0000-0000-0000-0000000000a1', 'Tenant 1'), ('00000000-0000-0000-0000-0000000000a2', 'Tenant 2');
INSERT INTO app.users (id, tenant, email)
SELECT ('00000000-0000-0000-0000-00000000000' || g)::uuid, ('00000000-0000-0000-0000-0000000000a' || 1 + g % 2)::uuid, 'user' || g || '@example.org' FROM generate_series(1, 4) g;
INSERT INTO app.roles SELECT g, 'role ' || g FROM generate_series(1, 4) g;
INSERT INTO app.user_roles SELECT ('00000000-0000-0000-0000-00000000000' || g)::uuid, g FROM generate_series(1, 4) g;
CREATE VIEW app.profile AS
SELECT u.id AS uid, u.email, u.tenant AS tenant_id,
       jsonb_build_object('id', u.id, 'email', u.email, 'tenant_id', u.tenant, 'tenant', t.name, 'is_active', u.enabled,
           'roles', coalesce((SELECT jsonb_agg(r.name ORDER BY r.name) FROM app.user_roles ur JOIN app.roles r ON r.id = ur.role_id WHERE ur.user_id = u.id), '[]')) AS doc
FROM app.users u JOIN app.tenants t ON t.id = u.tenant;
CREATE FUNCTION app.uid(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid $$;
CREATE FUNCTION app.fresh(projection name, key text, view regclass DEFAULT 'app.profile') RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE expected jsonb;
BEGIN
    EXECUTE format('SELECT doc FROM %s WHERE uid::text = $1', view) INTO expected USING key;
    RETURN rolecall.project(projection, key) IS NOT DISTINCT FROM expected;
END $$;
CREATE FUNCTION app.hit(projection name, key text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project(projection, key);
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) > before;
END $$;

-- What is not watched is named, and refused.
SELECT rolecall.create_projection('profile', 'app.profile', 'uid', 'doc');
SELECT rolecall.create_projection('profile', 'app.profile', 'uid', 'doc', watches => '{"app.users": "id"}');
SELECT count(*) FROM rolecall.projections WHERE name = 'profile';
-- ... or left for later; nothing is cached before.
SELECT rolecall.create_projection('profile', 'app.profile', 'uid', 'doc', strict => false);
SELECT rolecall.project('profile', app.uid(1)::text) ->> 'email' AS email;
SELECT app.hit('profile', app.uid(1)::text);
SELECT rolecall.watch('profile', 'app.users', 'id');
SELECT rolecall.watch('profile', 'app.user_roles', 'user_id');
SELECT rolecall.watch_lookup('profile', 'app.tenants', 'id');
SELECT * FROM rolecall.check_projections();
SELECT rolecall.watch_lookup('profile', 'app.roles', 'id');
SELECT * FROM rolecall.check_projections();
SELECT w.relation, w.is_lookup, w.key_column, r.relation AS referring, r.column_name
FROM rolecall.watches w LEFT JOIN rolecall.watch_references r ON r.watch = w.id WHERE w.projection = 'profile' ORDER BY w.relation::text COLLATE "C";

-- Cached, and never stale
SELECT n, app.hit('profile', app.uid(n)::text) AS first, app.hit('profile', app.uid(n)::text) AS second FROM generate_series(1, 4) n;
UPDATE app.users SET email = 'new@example.org' WHERE id = app.uid(1);
SELECT n, app.hit('profile', app.uid(n)::text) AS hit, app.fresh('profile', app.uid(n)::text) FROM generate_series(1, 4) n;
-- A role is renamed, a tenant: only who has it is read anew.
UPDATE app.roles SET name = 'renamed' WHERE id = 2;
SELECT n, app.hit('profile', app.uid(n)::text) AS hit, app.fresh('profile', app.uid(n)::text) FROM generate_series(1, 4) n;
UPDATE app.tenants SET name = 'Renamed' WHERE name = 'Tenant 1';
SELECT n, app.hit('profile', app.uid(n)::text) AS hit, app.fresh('profile', app.uid(n)::text) FROM generate_series(1, 4) n;
INSERT INTO app.user_roles VALUES (app.uid(1), 2);
UPDATE app.roles SET name = 'renamed again' WHERE id = 2;
SELECT n, app.hit('profile', app.uid(n)::text) AS hit, app.fresh('profile', app.uid(n)::text) FROM generate_series(1, 4) n;
DELETE FROM app.user_roles WHERE user_id = app.uid(1) AND role_id = 2;
SELECT n, app.hit('profile', app.uid(n)::text) AS hit, app.fresh('profile', app.uid(n)::text) FROM generate_series(1, 2) n;
TRUNCATE app.user_roles;
SELECT rolecall.project('profile', app.uid(3)::text) -> 'roles' AS truncated, app.fresh('profile', app.uid(3)::text);

-- Asked to read anew
SELECT app.hit('profile', app.uid(1)::text) AS hit, app.hit('profile', app.uid(2)::text) AS hit_2;
SELECT app.hit('profile', app.uid(1)::text) AS hit, app.hit('profile', app.uid(2)::text) AS hit_2;
SELECT rolecall.invalidate('profile', app.uid(1)::text);
SELECT app.hit('profile', app.uid(1)::text) AS hit, app.hit('profile', app.uid(2)::text) AS hit_2;
-- 004-7: and loaded anew, by another process
SELECT rolecall.reload('profile');
DO $$ BEGIN
    WHILE (SELECT phase <> 'done' FROM rolecall.stat_progress WHERE projection = 'profile') LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
SELECT documents_read = documents_loaded AS all_loaded, message FROM rolecall.stat_progress WHERE projection = 'profile';
SELECT app.hit('profile', app.uid(1)::text) AS hit, app.hit('profile', app.uid(2)::text) AS hit_2;

-- 001-10: why and since when
SELECT cached, usable, reason, loaded_at <= now() AS loaded, changed_by IS NOT NULL AS changed, document_bytes > 0 AS bytes FROM rolecall.cache_entry('profile', app.uid(1)::text);
UPDATE app.users SET email = 'newer@example.org' WHERE id = app.uid(1);
SELECT cached, usable, reason, loaded_at <= now() AS loaded, document_bytes > 0 AS bytes FROM rolecall.cache_entry('profile', app.uid(1)::text);
SELECT cached, usable, reason FROM rolecall.cache_entry('profile', app.uid(9)::text);
SET rolecall.cache = off;
SELECT usable, reason FROM rolecall.cache_entry('profile', app.uid(2)::text);
RESET rolecall.cache;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT usable, reason FROM rolecall.cache_entry('profile', app.uid(2)::text);
COMMIT;
BEGIN;
DELETE FROM app.roles WHERE id = 4;
SELECT usable, reason FROM rolecall.cache_entry('profile', app.uid(2)::text);
ROLLBACK;

SELECT projection, builtin, entries > 0 AS entries, bytes > 0 AS bytes, hits > 0 AS hits, misses > 0 AS misses, loads > 0 AS loads, load_ms > 0 AS load_ms,
       evictions, bypassed_off, bypassed_serializable, not_installed_unwatched > 0 AS unwatched
FROM rolecall.stat_projection WHERE projection = 'profile';

-- Many at once: one row per key, in order
SELECT key, doc ->> 'email' AS email FROM rolecall.project_many('profile', ARRAY[app.uid(3), app.uid(9), NULL, app.uid(1), app.uid(3)]::text[]);

-- 004-8, 004-5: "me" over these tables, and back again
BEGIN;
SELECT rolecall.create_projection('me', 'app.profile', 'uid', 'doc',
    watches => '{"app.users": "id", "app.user_roles": "user_id", "app.tenants": {"lookup": "id"}, "app.roles": {"lookup": "id", "referencing": {"app.user_roles": "role_id"}}}');
SELECT rolecall.me(app.uid(2)) ->> 'email' AS in_its_transaction;
ROLLBACK;
SELECT rolecall.me(1) ->> 'email' AS built_in;
SELECT rolecall.create_projection('me', 'app.profile', 'uid', 'doc',
    watches => '{"app.users": "id", "app.user_roles": "user_id", "app.tenants": {"lookup": "id"}, "app.roles": {"lookup": "id", "referencing": {"app.user_roles": "role_id"}}}');
INSERT INTO app.user_roles VALUES (app.uid(2), 1), (app.uid(3), 1);
SELECT rolecall.me(app.uid(2)) ->> 'email' AS email, rolecall.me(app.uid(2)::text) ->> 'email' AS by_text, rolecall.me(app.uid(9)) AS unknown;
SELECT rolecall.has_role(app.uid(2), 'role 1') AS held, rolecall.has_role(app.uid(2), 'role 3') AS other, rolecall.has_role(app.uid(4), 'role 1') AS nobody;
SELECT * FROM rolecall.auth_projection(app.uid(2));
UPDATE app.users SET enabled = false WHERE id = app.uid(3);
SELECT rolecall.has_role(app.uid(3), 'role 1') AS inactive;
SELECT rolecall.require_user(app.uid(3));
SELECT rolecall.me(1);
SELECT rolecall.me('no uuid');
SELECT uid, doc ->> 'email' AS email FROM rolecall.me_many(ARRAY[app.uid(4), app.uid(9), NULL, app.uid(1)]);
SELECT uid, doc ->> 'email' AS email FROM rolecall.me_many(ARRAY[app.uid(4)::text, app.uid(1)::text]);
SELECT rolecall.me_by_email('user2@example.org') ->> 'id' AS id, rolecall.me_by_email('nobody@example.org') AS nobody, rolecall.me_by_email(NULL) AS null;
UPDATE app.users SET email = 'user2@example.org' WHERE id IN (app.uid(1), app.uid(4));
SELECT rolecall.me_by_email('user2@example.org');
SELECT rolecall.me_by_email('user2@example.org', '00000000-0000-0000-0000-0000000000a2') ->> 'id' AS id;
SELECT rolecall.me_by_email('user2@example.org', '00000000-0000-0000-0000-0000000000a1') ->> 'id' AS id;
SELECT rolecall.create_projection('me', 'app.profile', 'uid', 'doc');
SELECT rolecall.drop_projection('me');
SELECT rolecall.me(1) ->> 'email' AS built_in_again;
SELECT rolecall.drop_projection('me');

-- The identity that the session set
SELECT rolecall.me() AS nobody, rolecall.has_role('admin') AS nothing, rolecall.current_uid() AS unset;
BEGIN;
SET LOCAL rolecall.uid = '1';
SELECT rolecall.me() ->> 'email' AS email, rolecall.has_role('admin') AS admin, rolecall.has_role('nothing') AS nothing, rolecall.current_uid();
COMMIT;
SELECT rolecall.me() IS NULL AS ended;
SET request.jwt.claims = '{"sub": "2", "role": "web"}';
SELECT rolecall.me() ->> 'id' AS id, rolecall.current_uid();
SET rolecall.uid = '1';
SELECT rolecall.current_uid() AS the_nearer_one;
RESET rolecall.uid;
SET request.jwt.claims = '{"sub": 2}';
SELECT rolecall.me();
SET request.jwt.claims = 'not json';
SELECT rolecall.me();
SET request.jwt.claims = '{}';
SELECT rolecall.me() IS NULL AS no_subject;
RESET request.jwt.claims;

-- Every type of key, with its own equality
CREATE FUNCTION app.begin_key(type text, value text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE app.keyed (id %s, v int)', type);
    EXECUTE format('INSERT INTO app.keyed VALUES (%L, 1)', value);
    CREATE VIEW app.keyed_view AS SELECT id AS uid, jsonb_build_object('v', v) AS doc FROM app.keyed;
    PERFORM rolecall.create_projection('keyed', 'app.keyed_view', 'uid', 'doc', watches => '{"app.keyed": "id"}');
END $$;
CREATE FUNCTION app.end_key() RETURNS void LANGUAGE sql AS $$ SELECT rolecall.drop_projection('keyed'); DROP TABLE app.keyed CASCADE $$;
\set QUIET on
SET client_min_messages = warning;
\o /dev/null
SELECT app.begin_key('smallint', '1');
\o
\echo smallint
SELECT app.hit('keyed', '1'), rolecall.project('keyed', '1');
UPDATE app.keyed SET v = 2;
SELECT app.hit('keyed', '1'), app.hit('keyed', '1') AS again, rolecall.project('keyed', '1');
\o /dev/null
SELECT app.end_key(); SELECT app.begin_key('varchar(10)', 'a');
\o
\echo varchar
SELECT app.hit('keyed', 'a'), rolecall.project('keyed', 'a'), rolecall.project('keyed', 'a ') AS other;
UPDATE app.keyed SET v = 2;
SELECT app.hit('keyed', 'a'), app.hit('keyed', 'a') AS again, rolecall.project('keyed', 'a');
\o /dev/null
SELECT app.end_key(); SELECT app.begin_key('char(5)', 'a');
\o
\echo char(5): trailing blanks do not count
SELECT app.hit('keyed', 'a'), app.hit('keyed', 'a  ') AS the_same, rolecall.project('keyed', 'a   ');
UPDATE app.keyed SET v = 2;
SELECT app.hit('keyed', 'a '), app.hit('keyed', 'a') AS again, rolecall.project('keyed', 'a');
\o /dev/null
SELECT app.end_key(); SELECT app.begin_key('text', '');
\o
\echo text, empty
SELECT app.hit('keyed', ''), app.hit('keyed', '') AS again, rolecall.project('keyed', '');
UPDATE app.keyed SET v = 2;
SELECT rolecall.project('keyed', '');
\o /dev/null
SELECT app.end_key();
\o
RESET client_min_messages;
\set QUIET off

-- What cannot be exact is refused; with a ttl it is not.
CREATE COLLATION app.ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE app.refused (id int PRIMARY KEY, name text COLLATE app.ignore_case, n numeric, at timestamptz, doubled int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO app.refused VALUES (1, 'A', 1, now());
CREATE FUNCTION app.refuse(doc text, key text DEFAULT 'id', extra text DEFAULT '', source text DEFAULT 'app.refused') RETURNS text LANGUAGE plpgsql AS $$
DECLARE why text;
BEGIN
    EXECUTE format('CREATE VIEW app.refused_view AS SELECT %s AS uid, %s AS doc %s FROM %s', key, doc, extra, source);
    PERFORM rolecall.create_projection('refused', 'app.refused_view', 'uid', 'doc', strict => false,
        watches => CASE WHEN source = 'app.refused' THEN '{"app.refused": "id"}'::jsonb ELSE '{}' END);
    PERFORM rolecall.drop_projection('refused');
    DROP VIEW app.refused_view;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || SQLERRM || coalesce(': ' || nullif(why, ''), '');
END $$;
CREATE FUNCTION app.volatile_function() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION app.stable_function() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp STABLE AS 'BEGIN RETURN 1; END';
CREATE FUNCTION app.immutable_function() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE SEQUENCE app.numbers;
SET client_min_messages = error;
SELECT app.refuse('to_jsonb(id)') AS plain;
SELECT app.refuse('to_jsonb(app.immutable_function())') AS immutable;
SELECT app.refuse('jsonb_build_object(''at'', to_char(at, ''HH24''), ''text'', at::text, ''name'', concat(id, n), ''day'', date_trunc(''day'', at))') AS pinned;
SELECT app.refuse('to_jsonb(app.volatile_function())') AS volatile;
SELECT app.refuse('to_jsonb(app.stable_function())') AS stable;
SELECT app.refuse('to_jsonb(random())') AS random;
SELECT app.refuse('to_jsonb(now())') AS now;
SELECT app.refuse('to_jsonb(CURRENT_DATE)') AS today;
SELECT app.refuse('to_jsonb(now() < at)', extra => ', at AS valid_from, at AS valid_until') AS now_with_validity;
SELECT app.refuse('to_jsonb(clock_timestamp())', extra => ', at AS valid_from, at AS valid_until') AS clock_with_validity;
SELECT app.refuse('to_jsonb(current_user)') AS current_user;
SELECT app.refuse('to_jsonb(session_user)') AS session_user;
SELECT app.refuse('to_jsonb(current_setting(''TimeZone''))') AS setting;
SELECT app.refuse('to_jsonb(nextval(''app.numbers''))') AS sequence;
SELECT app.refuse('to_jsonb(ctid::text)') AS system_column;
SELECT app.refuse('to_jsonb(''today''::text::date)') AS date_input;
SELECT app.refuse('to_jsonb(id)', source => 'app.refused TABLESAMPLE BERNOULLI (50)') AS sample;
SELECT app.refuse('to_jsonb(relname)', 'relpages', source => 'pg_class') AS catalog;
SELECT app.refuse('to_jsonb(id)', key => 'name') AS nondeterministic;
SELECT app.refuse('to_jsonb(id)', key => 'n') AS numeric_key;
SELECT app.refuse('to_json(id)') AS json;
CREATE MATERIALIZED VIEW app.materialized AS SELECT 1 AS id;
CREATE FOREIGN DATA WRAPPER app_wrapper;
CREATE SERVER app_server FOREIGN DATA WRAPPER app_wrapper;
CREATE FOREIGN TABLE app.remote (id int) SERVER app_server;
SELECT app.refuse('to_jsonb(id)', source => 'app.materialized') AS materialized;
SELECT app.refuse('to_jsonb(id)', source => 'app.remote') AS remote;
RESET client_min_messages;
CREATE TEMP TABLE temporary (id int);
CREATE TEMP VIEW temporary_view AS SELECT id AS uid, to_jsonb(id) AS doc FROM temporary;
DO $$ BEGIN PERFORM rolecall.create_projection('refused', 'temporary_view', 'uid', 'doc', strict => false); EXCEPTION WHEN invalid_object_definition THEN RAISE NOTICE 'a temporary table is refused'; END $$;
CREATE VIEW app.refused_view AS SELECT id AS uid, jsonb_build_object('n', n, 'random', random() >= 0) AS doc, name FROM app.refused;
SELECT rolecall.create_projection('refused', 'app.refused_view', 'uid', 'doc');
SELECT rolecall.create_projection('refused', 'app.refused_view', 'uid', 'nothing');
SELECT rolecall.create_projection('refused', 'app.refused_view', NULL, 'doc');
SELECT rolecall.create_projection('refused', 'app.refused_view', 'uid', 'doc', ttl => '-1 s');
-- With a ttl: whatever it reads, for that long
SELECT rolecall.create_projection('kept', 'app.refused_view', 'uid', 'doc', ttl => '1 hour');
SELECT rolecall.project('kept', '1');
UPDATE app.refused SET n = 2;
SELECT rolecall.project('kept', '1') AS within_the_ttl, app.hit('kept', '1');
SELECT rolecall.invalidate('kept', '1');
SELECT rolecall.project('kept', '1') AS invalidated;
UPDATE rolecall.projections SET ttl = '1 microsecond' WHERE name = 'kept';
UPDATE app.refused SET n = 3;
SELECT rolecall.project('kept', '1') AS expired, app.hit('kept', '1');
SELECT cached, usable, reason FROM rolecall.cache_entry('kept', '1');
SELECT rolecall.drop_projection('kept');
SELECT * FROM rolecall.check_projections();

-- Watches that do not fit
SELECT rolecall.create_projection('fits', 'app.profile', 'uid', 'doc', strict => false);
SELECT rolecall.watch('fits', 'app.users', 'email');
SELECT rolecall.watch('fits', 'app.users', 'nothing');
SELECT rolecall.watch('fits', 'app.users', NULL);
SELECT rolecall.watch('fits', 'app.profile', 'uid');
SELECT rolecall.watch('fits', 'app.remote', 'id');
SELECT rolecall.watch('fits', 'pg_class', 'oid');
SELECT rolecall.watch('nothing', 'app.users', 'id');
SELECT rolecall.watch('me', 'app.users', 'id');
SELECT rolecall.watch('fits', 'app.users', 'id');
SELECT rolecall.watch('fits', 'app.users', 'id');
SELECT rolecall.watch_lookup('fits', 'app.roles', 'id');
SELECT rolecall.watch_lookup('fits', 'app.roles', 'id', '{"app.user_roles": "role_id"}');
SELECT rolecall.watch('fits', 'app.user_roles', 'user_id');
SELECT rolecall.watch_lookup('fits', 'app.roles', 'id', '{"app.user_roles": "user_id"}');
SELECT rolecall.watch_lookup('fits', 'app.roles', NULL, '{"app.user_roles": "role_id"}');
SELECT rolecall.watch_lookup('fits', 'app.roles');
SELECT rolecall.watch_lookup('fits', 'app.tenants', 'id');
SELECT app.hit('fits', app.uid(2)::text) AS first, app.hit('fits', app.uid(2)::text) AS second;
SELECT rolecall.unwatch('fits', 'app.roles');
SELECT app.hit('fits', app.uid(2)::text) AS unwatched, problem FROM rolecall.check_projections();
SELECT rolecall.unwatch('fits', 'app.roles');
SELECT rolecall.drop_projection('fits');
SELECT rolecall.create_projection('bad', 'app.profile', 'uid', 'doc', watches => '{"app.users": 1}');
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgname LIKE 'rolecall\_%' AND tgrelid::regclass::text LIKE 'app.%' GROUP BY 1 ORDER BY 1::text COLLATE "C";
SELECT rolecall.drop_projection('profile');
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgname LIKE 'rolecall\_%' AND tgrelid::regclass::text LIKE 'app.%' GROUP BY 1 ORDER BY 1::text COLLATE "C";
SELECT rolecall.project('profile', '1');
