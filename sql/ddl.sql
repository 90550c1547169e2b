-- DDL behind a projection makes documents unusable; DDL elsewhere does not.
SELECT rolecall.me(1) IS NOT NULL AS loaded;

-- Unrelated and temporary objects, rights, comments, indexes
CREATE TABLE unrelated (id int);
CREATE INDEX ON unrelated (id);
CREATE TEMP TABLE temporary (id int);
ALTER TABLE temporary ADD COLUMN x int;
DROP TABLE temporary;
ALTER TABLE unrelated ADD COLUMN x int;
CREATE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE ROLE regress_ddl;
GRANT SELECT ON rolecall.users TO regress_ddl;
REVOKE SELECT ON rolecall.users FROM regress_ddl;
DROP ROLE regress_ddl;
CREATE INDEX extra ON rolecall.users (display_name);
DROP INDEX rolecall.extra;
ANALYZE rolecall.users;
DROP TABLE unrelated;
DROP FUNCTION unrelated();
SELECT hits('SELECT rolecall.me(1)') AS hit;

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
CREATE FUNCTION decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN t || ' v1'; END $$;
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW rolecall.me_view AS ' ||
    regexp_replace((SELECT definition FROM saved), '(''email'', )((p\.)?email)', '\1public.decorate(\2)'); END $$;
SELECT rolecall.me(1) ->> 'email' AS email;
CREATE OR REPLACE FUNCTION decorate(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN t || ' v2'; END $$;
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
