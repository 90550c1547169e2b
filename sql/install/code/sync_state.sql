-- When users are synchronized, and from where.

-- By one step into the index for each.
-- In PL/pgSQL, which plans it once in a session.
CREATE OR REPLACE FUNCTION rolecall.queued_providers() RETURNS SETOF text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE queues(name) AS (
        (SELECT provider FROM rolecall.sync_state WHERE provider IS NOT NULL ORDER BY provider LIMIT 1)
        UNION ALL
        SELECT (SELECT s.provider FROM rolecall.sync_state s WHERE s.provider > q.name ORDER BY s.provider LIMIT 1)
        FROM queues q WHERE q.name IS NOT NULL)
    SELECT q.name FROM queues q WHERE q.name IS NOT NULL;
END
$$;
COMMENT ON FUNCTION rolecall.queued_providers() IS 'the providers that users have';

CREATE OR REPLACE FUNCTION rolecall.is_replication() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_is_replication';
COMMENT ON FUNCTION rolecall.is_replication() IS 'does this process apply what another server has published?';

CREATE OR REPLACE FUNCTION rolecall.wake_worker() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_wake_worker';
COMMENT ON FUNCTION rolecall.wake_worker() IS 'lets the sync worker of this database look at its queue when the transaction commits';

-- ---- Where providers are called from --------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.why_no_calls() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT CASE WHEN h.database IS NULL THEN 'It was restored from a dump.'
                        WHEN h.database <> d.oid THEN 'It is a copy of another database.'
                        WHEN h.held_because IS NOT NULL THEN h.held_because
                        WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = 'rolecall.users'::regclass AND t.tgenabled <> 'A'
                                     AND t.tgname IN ('schedule_inserts', 'schedule_updates'))
                        THEN 'Triggers of rolecall.users do not fire always, as after a restore with triggers disabled.'
                   END
            FROM pg_database d LEFT JOIN rolecall.home h ON true WHERE d.datname = current_database());
END
$$;
COMMENT ON FUNCTION rolecall.why_no_calls() IS 'why no provider is called from this database, and no worker changes anything in it; NULL: they do';

CREATE OR REPLACE FUNCTION rolecall.allow_providers() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    disabled record;
BEGIN
    INSERT INTO rolecall.home (database) SELECT d.oid FROM pg_database d WHERE d.datname = current_database()
    ON CONFLICT (only_row) DO UPDATE SET database = excluded.database, held_because = NULL;
    FOR disabled IN
        SELECT t.tgrelid::regclass AS relation, t.tgname AS name FROM pg_trigger t
        WHERE t.tgrelid IN ('rolecall.users'::regclass, 'rolecall.user_roles'::regclass) AND t.tgenabled <> 'A'
          AND t.tgname IN ('schedule_inserts', 'schedule_updates', 'end_logins', 'record_inserts', 'record_updates', 'record_deletes', 'record_truncate')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', disabled.relation, disabled.name);
    END LOOP;
    PERFORM rolecall.wake_worker();
END
$$;
COMMENT ON FUNCTION rolecall.allow_providers() IS 'a database that was restored or copied may call providers from now on; its triggers fire always again';

CREATE OR REPLACE FUNCTION rolecall.forbid_providers() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE rolecall.home SET held_because = 'forbid_providers() was called.'
$$;
COMMENT ON FUNCTION rolecall.forbid_providers() IS 'no provider is called from this database until allow_providers()';

-- Every user of a provider has a row here, so that what is due is found by index.
CREATE OR REPLACE FUNCTION rolecall.schedule_new_users() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF rolecall.is_restore() THEN
        UPDATE rolecall.home SET held_because = 'Users were restored into it.' WHERE held_because IS NULL;
    ELSIF NOT rolecall.is_replication() THEN
        INSERT INTO rolecall.sync_state (user_id, provider, next_sync_at)
        SELECT id, provider, now() FROM new_rows WHERE provider IS NOT NULL AND institutional_id IS NOT NULL
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            PERFORM rolecall.wake_worker();
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.schedule_new_users() IS 'makes new users due for their first sync';

CREATE OR REPLACE FUNCTION rolecall.schedule_changed_user() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    queue CONSTANT text = CASE WHEN NEW.institutional_id IS NOT NULL THEN NEW.provider END;
BEGIN
    IF rolecall.is_replication() THEN
        RETURN NULL;
    END IF;
    INSERT INTO rolecall.sync_state AS s (user_id, provider, next_sync_at) VALUES (NEW.id, queue, now())
    ON CONFLICT (user_id) DO UPDATE SET provider = excluded.provider, next_sync_at = excluded.next_sync_at, last_roles_sync_at = NULL,
        attempts = 0, last_error = NULL, last_error_at = NULL, leased_by = NULL, leased_at = NULL, leased_until = NULL;
    IF queue IS NOT NULL THEN
        PERFORM rolecall.wake_worker();
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.schedule_changed_user() IS 'makes a user due at once who is somebody else for the provider now';

CREATE OR REPLACE TRIGGER schedule_inserts AFTER INSERT ON rolecall.users
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.schedule_new_users();
CREATE OR REPLACE TRIGGER schedule_updates AFTER UPDATE OF provider, institutional_id ON rolecall.users
FOR EACH ROW WHEN ((OLD.provider, OLD.institutional_id) IS DISTINCT FROM (NEW.provider, NEW.institutional_id))
EXECUTE FUNCTION rolecall.schedule_changed_user();
ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER schedule_inserts, ENABLE ALWAYS TRIGGER schedule_updates;

-- Cheap enough for every request of an application: it writes once in five minutes, and never waits. Who cannot be
-- locked is being synchronized.
CREATE OR REPLACE FUNCTION rolecall.touch_user(uid bigint) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    next_sync timestamptz;
BEGIN
    SELECT s.next_sync_at INTO next_sync FROM rolecall.sync_state s
    WHERE s.user_id = uid AND (s.active_at IS NULL OR s.active_at < now() - interval '5 minutes' OR s.next_sync_at = 'infinity')
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE rolecall.sync_state SET active_at = now(), next_sync_at = CASE WHEN next_sync = 'infinity' THEN now() ELSE next_sync END
    WHERE user_id = uid;
    IF next_sync = 'infinity' THEN
        PERFORM rolecall.wake_worker();
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.touch_user(bigint) IS 'notes that a user is active, for providers whose sync_scope is active';

-- ---- Stale roles ----------------------------------------------------------------------------------------------------

-- Who was not confirmed in time is due, or has failed: both are found by index. Users whose rows are locked are for later.
CREATE OR REPLACE FUNCTION rolecall.mark_stale(name text, before timestamptz, at timestamptz, most bigint) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH marked AS (
        UPDATE rolecall.users SET roles_stale = true WHERE id = ANY (ARRAY(
            SELECT u.id
            FROM (SELECT user_id, last_roles_sync_at FROM rolecall.sync_state WHERE provider = name AND next_sync_at <= at
                  UNION
                  SELECT user_id, last_roles_sync_at FROM rolecall.sync_state WHERE provider = name AND attempts > 0) s
            JOIN rolecall.users u ON u.id = s.user_id
            WHERE u.roles_synced AND NOT u.roles_stale AND coalesce(s.last_roles_sync_at, u.updated_at) < before
            LIMIT most FOR NO KEY UPDATE OF u SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM marked
$$;
COMMENT ON FUNCTION rolecall.mark_stale(text, timestamptz, timestamptz, bigint) IS 'marks users whose roles the provider has not confirmed since';
