-- One session: whatever it does, me() is what the view returns.
CREATE FUNCTION fresh(uid bigint) RETURNS boolean LANGUAGE sql VOLATILE AS
$$ SELECT rolecall.me(uid) IS NOT DISTINCT FROM (SELECT doc FROM rolecall.me_view v WHERE v.uid = fresh.uid) $$;
CREATE FUNCTION hits(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    EXECUTE query;
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) - before;
END $$;

-- Cached: the second read is a hit, a cached miss too.
SELECT rolecall.me(2) ->> 'email' AS email;
SELECT hits('SELECT rolecall.me(2)') AS hit;
SELECT rolecall.me(998) IS NULL AS unknown;
SELECT hits('SELECT rolecall.me(998)') AS hit_for_unknown;
SELECT hits('SELECT rolecall.has_role(2, ''reader'')') AS hit_for_role;

-- 001-3, 001-6: every way to write
UPDATE rolecall.users SET email = 'bob2@example.org' WHERE id = 2;
SELECT rolecall.me(2) ->> 'email' AS after_update, fresh(2);
INSERT INTO rolecall.users (id, email) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET email = 'bob3@example.org';
SELECT rolecall.me(2) ->> 'email' AS after_upsert, fresh(2);
MERGE INTO rolecall.users u USING (VALUES (2, 'bob4@example.org')) v(id, email) ON u.id = v.id
WHEN MATCHED THEN UPDATE SET email = v.email WHEN NOT MATCHED THEN INSERT (id, email) VALUES (v.id, v.email);
SELECT rolecall.me(2) ->> 'email' AS after_merge, fresh(2);
INSERT INTO rolecall.users (id, email) VALUES (998, 'new@example.org');
SELECT rolecall.me(998) ->> 'email' AS after_insert, fresh(998);
COPY rolecall.user_roles (user_id, role) FROM stdin;
998	editor
\.
SELECT rolecall.has_role(998, 'editor') AS after_copy, fresh(998);
UPDATE rolecall.user_roles SET user_id = 2 WHERE user_id = 998;
SELECT rolecall.has_role(998, 'editor') AS taken, rolecall.has_role(2, 'editor') AS given, fresh(998), fresh(2) AS fresh_2;
UPDATE rolecall.users SET id = 997 WHERE id = 998;
SELECT rolecall.me(998) IS NULL AS old_key, rolecall.me(997) ->> 'email' AS new_key;
DELETE FROM rolecall.users WHERE id = 997;
SELECT rolecall.me(997) IS NULL AS after_delete, fresh(997);

-- 001-4: rows that many documents share; cascades
UPDATE rolecall.units SET name = 'Unit 1' WHERE institutional_id = 'u1';
SELECT rolecall.me(1) #>> '{units,0,name}' AS unit, fresh(1);
UPDATE rolecall.roles SET priority = 5 WHERE name = 'reader';
SELECT rolecall.me(1) #>> '{roles,0,role}' AS first_role, fresh(1);
UPDATE rolecall.roles SET name = 'viewer' WHERE name = 'reader';
SELECT rolecall.has_role(1, 'viewer') AS renamed, rolecall.has_role(1, 'reader') AS old_name, fresh(1);
UPDATE rolecall.roles SET name = 'reader', priority = 50 WHERE name = 'viewer';
SELECT fresh(1), fresh(2);

-- Sync bookkeeping leaves documents valid.
SELECT rolecall.me(1) IS NOT NULL AS loaded;
INSERT INTO rolecall.sync_state (user_id, last_roles_sync_at) VALUES (1, now()) ON CONFLICT (user_id) DO UPDATE SET last_roles_sync_at = now();
SELECT hits('SELECT rolecall.me(1)') AS hit;

-- In transactions, with savepoints, rolled back
BEGIN;
UPDATE rolecall.users SET display_name = 'uncommitted' WHERE id = 2;
SELECT rolecall.me(2) ->> 'display_name' AS own_write, fresh(2), fresh(1) AS fresh_1;
SAVEPOINT s;
UPDATE rolecall.users SET display_name = 'in savepoint' WHERE id = 2;
SELECT rolecall.me(2) ->> 'display_name' AS in_savepoint, fresh(2);
ROLLBACK TO s;
SELECT rolecall.me(2) ->> 'display_name' AS back, fresh(2);
ROLLBACK;
SELECT rolecall.me(2) ->> 'display_name' AS rolled_back, fresh(2);

-- AFTER triggers have not fired yet where these look.
UPDATE rolecall.users SET display_name = 'returned' WHERE id = 2
RETURNING rolecall.me(id) -> 'display_name' AS before_the_command_ends;
WITH changed AS (UPDATE rolecall.users SET display_name = 'cte' WHERE id = 2 RETURNING id)
SELECT rolecall.me(id) ->> 'display_name' AS statement_snapshot FROM changed;
SELECT rolecall.me(2) ->> 'display_name' AS then, fresh(2);

CREATE FUNCTION sees_me() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'trigger sees %', rolecall.me(NEW.id) ->> 'display_name';
    IF NEW.display_name = 'fail' THEN
        RAISE EXCEPTION 'no';
    END IF;
    RETURN NULL;
END $$;
-- Its name sorts before the watch's: it fires first.
CREATE TRIGGER aaa AFTER UPDATE ON rolecall.users FOR EACH ROW EXECUTE FUNCTION sees_me();
UPDATE rolecall.users SET display_name = 'trigger' WHERE id = 2;
UPDATE rolecall.users SET display_name = 'fail' WHERE id = 2;
SELECT rolecall.me(2) ->> 'display_name' AS after_failure, fresh(2);
BEGIN;
SAVEPOINT s;
UPDATE rolecall.users SET display_name = 'fail' WHERE id = 2;
ROLLBACK TO s;
SELECT rolecall.me(2) ->> 'display_name' AS after_savepoint, fresh(2);
COMMIT;
DROP TRIGGER aaa ON rolecall.users;
SELECT fresh(2);

-- Functions of each volatility see what a query in their place would see.
CREATE FUNCTION see_volatile() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN rolecall.me(2) ->> 'display_name'; END $$;
CREATE FUNCTION see_stable() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN rolecall.me(2) ->> 'display_name'; END $$;
CREATE FUNCTION view_volatile() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN (SELECT doc ->> 'display_name' FROM rolecall.me_view WHERE uid = 2); END $$;
CREATE FUNCTION view_stable() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT doc ->> 'display_name' FROM rolecall.me_view WHERE uid = 2); END $$;
SELECT rolecall.me(2) IS NOT NULL AS loaded;
UPDATE rolecall.users SET display_name = 'volatility' WHERE id = 2
RETURNING see_volatile() = view_volatile() AS volatile, see_stable() = view_stable() AS stable;

-- A cursor keeps its snapshot over own writes; WITH HOLD over the commit.
BEGIN;
DECLARE c CURSOR FOR SELECT rolecall.me(2) ->> 'display_name' AS me, doc ->> 'display_name' AS view FROM rolecall.me_view WHERE uid = 2;
UPDATE rolecall.users SET display_name = 'behind the cursor' WHERE id = 2;
FETCH c;
DECLARE h CURSOR WITH HOLD FOR SELECT rolecall.me(2) ->> 'display_name' AS me, doc ->> 'display_name' AS view FROM rolecall.me_view WHERE uid = 2;
COMMIT;
UPDATE rolecall.users SET display_name = 'after the commit' WHERE id = 2;
FETCH h;
CLOSE h;

-- TRUNCATE
BEGIN;
TRUNCATE rolecall.user_units;
SELECT rolecall.me(1) -> 'units' AS truncated, fresh(1);
ROLLBACK;
SELECT jsonb_array_length(rolecall.me(1) -> 'units') AS units, fresh(1);

-- session_replication_role = replica switches ordinary triggers off, not watches.
SELECT rolecall.me(2) IS NOT NULL AS loaded;
SET session_replication_role = replica;
UPDATE rolecall.users SET display_name = 'replicated' WHERE id = 2;
RESET session_replication_role;
SELECT rolecall.me(2) ->> 'display_name' AS replicated, fresh(2);

-- rolecall.cache = off queries the view.
SET rolecall.cache = off;
SELECT hits('SELECT rolecall.me(2)') AS hits, fresh(2), rolecall.has_role(2, 'editor');
RESET rolecall.cache;

-- Who loads makes no difference: settings, search_path, temporary tables.
UPDATE rolecall.users SET metadata = '{"n": 0.1}' WHERE id = 2;
CREATE TEMP TABLE users (id bigint, email text);
CREATE TEMP TABLE user_roles (user_id bigint);
SET search_path = pg_temp, public;
SET extra_float_digits = -15;
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SET quote_all_identifiers = on;
SET transform_null_equals = on;
SELECT rolecall.me(2) ->> 'email' AS email;
RESET ALL;
SELECT hits('SELECT rolecall.me(2)') AS hit, fresh(2);
DROP TABLE users, user_roles;

-- Larger than rolecall.max_document_size: served from the view each time.
UPDATE rolecall.users SET metadata = jsonb_build_object('blob', repeat('x', 100000)) WHERE id = 2;
SELECT length(rolecall.me(2) #>> '{metadata,blob}') AS length;
SELECT hits('SELECT rolecall.me(2)') AS hits, fresh(2), rolecall.has_role(2, 'editor');
UPDATE rolecall.users SET metadata = '{}' WHERE id = 2;

-- More than the cache holds: what does not fit makes room, and everything is still right.
INSERT INTO rolecall.users (id, email, metadata)
SELECT g, 'bulk' || g || '@example.org', jsonb_build_object('blob', repeat('y', 45000)) FROM generate_series(10001, 13500) g;
SELECT count(*) FILTER (WHERE rolecall.me(id) ->> 'email' = email) AS right_answers FROM rolecall.users WHERE id > 10000;
SELECT count(*) FILTER (WHERE rolecall.me(id) ->> 'email' = email) AS right_answers FROM rolecall.users WHERE id > 10000;
SELECT evictions > 0 AS evicted, live_bytes <= bytes AS bounded FROM rolecall.stat_cache;
DELETE FROM rolecall.users WHERE id > 10000;
SELECT rolecall.me(10001) IS NULL AS gone;
