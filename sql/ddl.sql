-- DDL behind a projection makes documents unusable; DDL elsewhere does not.
SELECT rolecall.me(1) IS NOT NULL AS loaded;

-- Unrelated and temporary objects, what roles own nothing may do, comments, indexes, statistics
CREATE TABLE unrelated (id serial PRIMARY KEY);
CREATE INDEX ON unrelated (id);
CREATE VIEW unrelated_view AS SELECT u.id FROM unrelated u;
CREATE TEMP TABLE temporary (id int);
ALTER TABLE temporary ADD COLUMN x int;
DROP TABLE temporary;
ALTER TABLE unrelated ADD COLUMN x int;
ALTER TABLE unrelated RENAME TO related_to_nothing;
CREATE ROLE regress_ddl;
GRANT SELECT ON related_to_nothing, rolecall.users TO regress_ddl;
REVOKE SELECT ON related_to_nothing, rolecall.users FROM regress_ddl;
ALTER ROLE regress_ddl SUPERUSER;
DROP ROLE regress_ddl;
COMMENT ON TABLE rolecall.users IS 'users';
CREATE INDEX extra ON rolecall.users (display_name);
DROP INDEX rolecall.extra;
ANALYZE rolecall.users;
DROP TABLE related_to_nothing CASCADE;
SELECT hits('SELECT rolecall.me(1)') AS hit;
COMMENT ON TABLE rolecall.users IS NULL;

-- What is refused, or rolled back, or changes nothing
BEGIN;
SAVEPOINT s;
ALTER TABLE rolecall.users ADD COLUMN extra text;
ROLLBACK TO s;
COMMIT;
DROP FUNCTION IF EXISTS no_such_function();
ALTER TABLE rolecall.users ADD COLUMN email text;
SELECT hits('SELECT rolecall.me(1)') AS hit;

-- A function may be in any projection, and a right may be missing in any.
SELECT invalidations AS before FROM rolecall.stat_projection WHERE projection = 'me' \gset
CREATE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT hits('SELECT rolecall.me(1)') AS hit_after_create_function;
GRANT SELECT ON rolecall.users TO PUBLIC;
SELECT hits('SELECT rolecall.me(1)') AS hit_after_grant;
SELECT invalidations - :before AS invalidations, invalidated_by FROM rolecall.stat_projection WHERE projection = 'me';
REVOKE SELECT ON rolecall.users FROM PUBLIC;
DROP FUNCTION unrelated();
SELECT rolecall.me(1) IS NOT NULL AS loaded;

-- A column's values changed without any row trigger
ALTER TABLE rolecall.users ADD COLUMN extra text;
SELECT hits('SELECT rolecall.me(1)') AS hit_after_add_column, fresh(1);
ALTER TABLE rolecall.users DROP COLUMN extra;
SELECT rolecall.me(1) ->> 'email' AS email;

-- The view
CREATE TABLE saved AS SELECT pg_get_viewdef('rolecall.me_view') AS definition;
CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT p.user_id AS uid, jsonb_build_object('id', p.user_id, 'replaced', true) AS doc, p.valid_from, p.valid_until, p.email, p.tenant_id FROM rolecall.user_profile p;
SELECT rolecall.me(1) AS replaced;
SELECT hits('SELECT rolecall.me(1)') AS hit;
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW rolecall.me_view AS ' || (SELECT definition FROM saved); END $$;
SELECT rolecall.me(1) ->> 'email' AS restored;

-- A function behind the view
CREATE FUNCTION decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN t || ' v1'; END $$;
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW rolecall.me_view AS ' ||
    regexp_replace((SELECT definition FROM saved), '(''email'', )((p\.)?email)', '\1public.decorate(\2)'); END $$;
SELECT rolecall.me(1) ->> 'email' AS email;
CREATE OR REPLACE FUNCTION decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN t || ' v2'; END $$;
SELECT rolecall.me(1) ->> 'email' AS email;
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW rolecall.me_view AS ' || (SELECT definition FROM saved); END $$;
DROP FUNCTION decorate(text);
DROP TABLE saved;

-- Watches that are not in place: nothing is cached until they are again.
SELECT rolecall.me(1) IS NOT NULL AS loaded;
ALTER TABLE rolecall.users DISABLE TRIGGER ALL;
UPDATE rolecall.users SET display_name = 'unwatched' WHERE id = 1;
SELECT rolecall.me(1) ->> 'display_name' AS unwatched;
SELECT hits('SELECT rolecall.me(1)') AS hits;
-- ... which also makes them fire on origin only
ALTER TABLE rolecall.users ENABLE TRIGGER ALL;
SELECT rolecall.me(1) ->> 'display_name' AS enabled;
SELECT hits('SELECT rolecall.me(1)') AS hits;
SELECT not_installed_unwatched > 0 AS counted FROM rolecall.stat_cache;
SELECT rolecall.repair_projection('me');
SELECT rolecall.me(1) ->> 'display_name' AS repaired;
SELECT hits('SELECT rolecall.me(1)') AS hits;
