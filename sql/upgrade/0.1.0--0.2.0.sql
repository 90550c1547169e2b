-- rolecall: from 0.1.0 to 0.2.0. Afterwards the database is as after CREATE EXTENSION (test/tap/020_upgrade.pl), but for
-- the order of columns. Privileges of what is there already are left alone: pg_dump would take what an administrator
-- granted for the extension's own, and forget it.
\echo Use "ALTER EXTENSION rolecall UPDATE" to load this file. \quit

-- Names below are found in pg_catalog and nowhere else, whatever is in this schema already.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION rolecall.check_installation(OUT problem text, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH extension AS (
        SELECT e.oid, e.extowner AS owner FROM pg_extension e WHERE e.extname = 'rolecall'
    ), schema AS (
        SELECT n.oid, n.nspowner AS owner, n.nspacl AS acl FROM pg_namespace n WHERE n.nspname = 'rolecall'
    ), trusted AS (
        SELECT r.oid FROM pg_roles r WHERE r.rolsuper OR r.oid = (SELECT e.owner FROM extension e)
    ), members AS (
        SELECT d.classid, d.objid FROM pg_depend d
        WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT e.oid FROM extension e) AND d.deptype = 'e'
    ), objects AS (  -- what has an owner and privileges
        SELECT m.classid, m.objid, o.owner, o.acl
        FROM members m
        CROSS JOIN LATERAL (
            SELECT c.relowner, c.relacl FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid
            UNION ALL
            SELECT p.proowner, p.proacl FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid
            UNION ALL
            SELECT t.typowner, t.typacl FROM pg_type t WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid
            UNION ALL
            SELECT w.fdwowner, w.fdwacl FROM pg_foreign_data_wrapper w WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND w.oid = m.objid
            UNION ALL
            SELECT t.evtowner, NULL FROM pg_event_trigger t WHERE m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid
        ) o(owner, acl)
    )
    SELECT format('schema rolecall belongs to role %s', s.owner::regrole),
           format('ALTER SCHEMA rolecall OWNER TO %s', (SELECT e.owner::regrole FROM extension e))
    FROM schema s WHERE s.owner NOT IN (SELECT t.oid FROM trusted t)
    UNION ALL
    SELECT format('%s may create objects in schema rolecall', CASE a.grantee WHEN 0 THEN 'everybody' ELSE format('role %s', a.grantee::regrole) END),
           format('REVOKE CREATE ON SCHEMA rolecall FROM %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
    FROM schema s CROSS JOIN LATERAL aclexplode(s.acl) a
    WHERE a.privilege_type = 'CREATE' AND a.grantee <> s.owner AND a.grantee NOT IN (SELECT t.oid FROM trusted t)
    UNION ALL
    SELECT format('%s %s is in schema rolecall, and not of the extension', i.type, i.identity), format('DROP %s %s', upper(i.type), i.identity)
    FROM schema s
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = s.oid
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
    WHERE d.classid NOT IN ('pg_extension'::regclass, 'pg_default_acl'::regclass, 'pg_publication_namespace'::regclass)
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = d.classid AND m.objid = d.objid)
    UNION ALL
    SELECT format('%s %s belongs to role %s', i.type, i.identity, o.owner::regrole),
           format('ALTER %s %s OWNER TO %s', replace(upper(i.type), '-', ' '), i.identity, (SELECT e.owner::regrole FROM extension e))
    FROM objects o CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    WHERE o.owner NOT IN (SELECT t.oid FROM trusted t)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'i')  -- goes with its table
    UNION ALL
    -- What a grant of an administrator's is not among: the initial privileges.
    SELECT format('default privileges gave role %s %s on %s %s', a.grantee::regrole, a.privilege_type, i.type, i.identity),
           format('REVOKE ALL ON %s %s FROM %s', CASE i.type WHEN 'view' THEN 'TABLE' ELSE upper(i.type) END, i.identity, a.grantee::regrole)
    FROM objects o
    JOIN pg_init_privs p ON p.classoid = o.classid AND p.objoid = o.objid AND p.objsubid = 0
    CROSS JOIN LATERAL aclexplode(p.initprivs) a
    CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    WHERE a.grantee <> 0 AND a.grantee <> o.owner AND a.grantee NOT IN (SELECT t.oid FROM trusted t)
      AND a.grantee <> (SELECT r.oid FROM pg_roles r WHERE r.rolname = 'pg_monitor')
      AND EXISTS (SELECT FROM aclexplode(o.acl) n WHERE n.grantee = a.grantee AND n.privilege_type = a.privilege_type)
    ORDER BY 1
$$;
COMMENT ON FUNCTION rolecall.check_installation() IS 'what lets others than the extension''s owner decide what its functions do, and the command that repairs it; no row: all is in order';

-- Whoever owns this schema, can create in it, or has been here before, could put functions in the place of the
-- extension's, for superusers to call.
DO $$
DECLARE
    grantee text;
    problems text;
    repairs text;
BEGIN
    -- Made just now by CREATE EXTENSION, it has what default privileges give.
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = 'rolecall' AND a.grantee <> n.nspowner
          AND CASE WHEN age(n.xmin) <= 0 THEN pg_xact_status((pg_current_xact_id()::text::bigint - age(n.xmin))::text::xid8) = 'in progress' END
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA rolecall FROM %s', grantee);
    END LOOP;
    SELECT string_agg(c.problem, '; '), string_agg(c.repair, '; ') INTO problems, repairs FROM rolecall.check_installation() c;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'schema "rolecall" is not safe to install into'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('In the way: %s.', problems), HINT = format('To repair: %s.', repairs);
    END IF;
END
$$;

-- ---- Sync ---------------------------------------------------------------------------------------------------

ALTER TABLE rolecall.sync_state ADD COLUMN last_revocation_at timestamptz, ADD COLUMN last_modified text, ADD COLUMN fingerprint bigint, ADD COLUMN active_at timestamptz;
COMMENT ON COLUMN rolecall.sync_state.next_sync_at IS 'when roles are due again; for new users at once; infinity: when the user is active again';
COMMENT ON COLUMN rolecall.sync_state.last_revocation_at IS 'the last time a sync took something away: counted once in each window of the brake';
COMMENT ON COLUMN rolecall.sync_state.active_at IS 'when the user was last there, to within five minutes: touch_user(), and syncs that were asked for';
COMMENT ON COLUMN rolecall.sync_state.etag IS 'of the answer that was applied last: the provider is asked for another one only; so is last_modified';
COMMENT ON COLUMN rolecall.sync_state.fingerprint IS 'of what was made of that answer: etag and last_modified do not count when it no longer fits';

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

-- A restore brings the audit and the sync state along itself, and so does replication. A restore is recognized by all that
-- pg_dump's scripts and pg_restore set in their session, or declared by rolecall.restoring (src/sync/home.cpp).
CREATE OR REPLACE FUNCTION rolecall.is_restore() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_is_restore';

CREATE FUNCTION rolecall.is_replication() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_is_replication';
COMMENT ON FUNCTION rolecall.is_replication() IS 'does this process apply what another server has published?';

-- ---- Where providers are called from --------------------------------------------------------------------------------

-- Not dumped: a restored database has no row, one that was copied has that of the other. pg_upgrade, standbys and backups of
-- files bring it along, and the number of the database with it.
CREATE TABLE rolecall.home (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    database oid NOT NULL,
    held_because text
);
COMMENT ON TABLE rolecall.home IS 'the database that may call providers: this one, unless it was restored or copied';
COMMENT ON COLUMN rolecall.home.held_because IS 'why it must not for the time being: a sentence';

CREATE FUNCTION rolecall.why_no_calls() RETURNS text
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

CREATE FUNCTION rolecall.allow_providers() RETURNS void
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

CREATE FUNCTION rolecall.forbid_providers() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE rolecall.home SET held_because = 'forbid_providers() was called.'
$$;
COMMENT ON FUNCTION rolecall.forbid_providers() IS 'no provider is called from this database until allow_providers()';

INSERT INTO rolecall.home (database)
SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();

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

ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER schedule_inserts, ENABLE ALWAYS TRIGGER schedule_updates;

-- Cheap enough for every request of an application: it writes once in five minutes, and never waits. Who cannot be
-- locked is being synchronized.
CREATE FUNCTION rolecall.touch_user(uid bigint) RETURNS void
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

-- Who was not confirmed in time is due, or has failed: both are found by index. Users whose rows are locked are for later.
CREATE FUNCTION rolecall.mark_stale(name text, before timestamptz, at timestamptz, most bigint) RETURNS bigint
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

-- When a user's document changes by itself: asked with each, and mostly nothing.
CREATE INDEX user_roles_expires_at_idx ON rolecall.user_roles (user_id, expires_at) WHERE expires_at IS NOT NULL;

-- ---- The audit ----------------------------------------------------------------------------------------------

-- Why older grants were given is not known.
ALTER TABLE rolecall.role_changes ALTER COLUMN changed_by DROP DEFAULT, ADD COLUMN cause text NOT NULL DEFAULT 'unknown',
    ADD COLUMN provider text, ADD COLUMN request_id text;
ALTER TABLE rolecall.role_changes ALTER COLUMN cause DROP DEFAULT;
COMMENT ON TABLE rolecall.role_changes IS 'the audit: each grant that was added or removed, when, by whom, and why';
COMMENT ON COLUMN rolecall.role_changes.changed_by IS 'the user of the session, or ''rolecall sync worker''';
COMMENT ON COLUMN rolecall.role_changes.cause IS '''sql'': an ordinary statement; ''sync'': the provider was asked; ''given'': roles given in SQL; ''bulk'', ''event'': sync_provider(), apply_provider_event()';
COMMENT ON COLUMN rolecall.role_changes.provider IS 'whose answer it was; NULL for ordinary statements';
COMMENT ON COLUMN rolecall.role_changes.request_id IS 'what the application set as rolecall.request_id, or what the provider was sent as X-Request-Id';

CREATE FUNCTION rolecall.change_context(user_id bigint, OUT changed_by text, OUT cause text, OUT provider text, OUT request_id text)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_change_context';
COMMENT ON FUNCTION rolecall.change_context(bigint) IS 'who is changing the grants of a user in this session just now, and why';

CREATE OR REPLACE FUNCTION rolecall.record_role_changes() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF rolecall.is_restore() OR rolecall.is_replication() THEN
        RETURN NULL;
    END IF;
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO rolecall.role_changes (changed_by, cause, provider, request_id, user_id, role, scope_kind, scope_id, source, change, expires_at)
        SELECT c.*, g.user_id, g.role, g.scope_kind, g.scope_id, g.source, 'added', g.expires_at
        FROM new_rows g, rolecall.change_context(g.user_id) c;
    WHEN 'DELETE' THEN
        INSERT INTO rolecall.role_changes (changed_by, cause, provider, request_id, user_id, role, scope_kind, scope_id, source, change, expires_at)
        SELECT c.*, g.user_id, g.role, g.scope_kind, g.scope_id, g.source, 'removed', g.expires_at
        FROM old_rows g, rolecall.change_context(g.user_id) c;
    WHEN 'UPDATE' THEN
        INSERT INTO rolecall.role_changes (changed_by, cause, provider, request_id, user_id, role, scope_kind, scope_id, source, change, expires_at)
        SELECT c.*, g.*
        FROM (SELECT user_id, role, scope_kind, scope_id, source, 'removed', expires_at FROM old_rows
              EXCEPT SELECT user_id, role, scope_kind, scope_id, source, 'removed', expires_at FROM new_rows) g, rolecall.change_context(g.user_id) c;
        INSERT INTO rolecall.role_changes (changed_by, cause, provider, request_id, user_id, role, scope_kind, scope_id, source, change, expires_at)
        SELECT c.*, g.*
        FROM (SELECT user_id, role, scope_kind, scope_id, source, 'added', expires_at FROM new_rows
              EXCEPT SELECT user_id, role, scope_kind, scope_id, source, 'added', expires_at FROM old_rows) g, rolecall.change_context(g.user_id) c;
    WHEN 'TRUNCATE' THEN
        INSERT INTO rolecall.role_changes (changed_by, cause, provider, request_id, user_id, role, scope_kind, scope_id, source, change, expires_at)
        SELECT c.*, g.user_id, g.role, g.scope_kind, g.scope_id, g.source, 'removed', g.expires_at
        FROM rolecall.user_roles g, rolecall.change_context(g.user_id) c;
    END CASE;
    RETURN NULL;
END
$$;

CREATE TRIGGER record_truncate BEFORE TRUNCATE ON rolecall.user_roles
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.record_role_changes();
ALTER TABLE rolecall.user_roles ENABLE ALWAYS TRIGGER record_inserts, ENABLE ALWAYS TRIGGER record_updates,
    ENABLE ALWAYS TRIGGER record_deletes, ENABLE ALWAYS TRIGGER record_truncate;

CREATE FUNCTION rolecall.trim_role_changes(before timestamptz, most bigint DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM rolecall.role_changes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM rolecall.role_changes WHERE changed_at < before
            ORDER BY changed_at LIMIT most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION rolecall.trim_role_changes(timestamptz, bigint) IS 'removes what is older from the audit, and returns how many rows; the worker does so by rolecall.audit_retention';

CREATE FUNCTION rolecall.notify_changes() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('rolecall.notify_changes', true)::boolean AND NOT rolecall.is_restore() THEN
        IF TG_TABLE_NAME = 'users' THEN
            PERFORM pg_notify('rolecall_changes', NEW.id::text);
        ELSE
            PERFORM pg_notify('rolecall_changes', n.user_id::text) FROM (SELECT DISTINCT user_id FROM new_rows) n;
        END IF;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.notify_changes() IS 'tells listeners whose grants changed, and who was activated or deactivated';

CREATE TRIGGER notify_changes AFTER INSERT ON rolecall.role_changes
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.notify_changes();

CREATE TRIGGER notify_changes AFTER UPDATE OF is_active ON rolecall.users
FOR EACH ROW WHEN (OLD.is_active <> NEW.is_active) EXECUTE FUNCTION rolecall.notify_changes();

-- ---- The brake, protected roles -----------------------------------------------------------------------------

CREATE TABLE rolecall.revocations (
    provider text PRIMARY KEY,
    began_at timestamptz NOT NULL,
    users_affected bigint NOT NULL DEFAULT 0,
    grants_revoked bigint NOT NULL DEFAULT 0,
    grants bigint NOT NULL,
    users_deactivated bigint NOT NULL DEFAULT 0,
    users bigint NOT NULL
);
COMMENT ON TABLE rolecall.revocations IS 'what syncs took away in each provider''s current window';
COMMENT ON COLUMN rolecall.revocations.grants IS 'what the provider had given: what there is and what was revoked since, when it was last counted';
COMMENT ON COLUMN rolecall.revocations.users IS 'the provider''s active users: those that are, and those deactivated since, when they were last counted';

-- What sessions take away, whose transactions may stay open: they add rows, which whoever counts next sees whether or not
-- they are committed (src/sync/revocations.cpp), and workers add those up that are.
CREATE TABLE rolecall.open_revocations (
    id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    provider text NOT NULL,
    happened_at timestamptz NOT NULL,
    users_affected bigint NOT NULL,
    grants_revoked bigint NOT NULL,
    users_deactivated bigint NOT NULL
);
COMMENT ON TABLE rolecall.open_revocations IS 'what syncs in sessions took away, until a worker adds it to rolecall.revocations';

CREATE INDEX open_revocations_provider_idx ON rolecall.open_revocations (provider);

CREATE TABLE rolecall.stopped_providers (
    provider text PRIMARY KEY,
    stopped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    users_affected bigint NOT NULL,
    grants_revoked bigint NOT NULL,
    grants bigint NOT NULL,
    users_deactivated bigint NOT NULL,
    users bigint NOT NULL
);
COMMENT ON TABLE rolecall.stopped_providers IS 'providers whose syncs wait for resume_provider(), and what the last window would have come to';

CREATE FUNCTION rolecall.provider_size(name text, OUT grants bigint, OUT users bigint)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on AS $$
    SELECT (SELECT count(*) FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
            WHERE u.provider = name AND g.source = 'provider'),
           (SELECT count(*) FROM rolecall.users u WHERE u.provider = name AND u.is_active)
$$;
COMMENT ON FUNCTION rolecall.provider_size(text) IS 'how many grants a provider has given, and how many active users it has';

CREATE FUNCTION rolecall.revocations_since(
    name text, since timestamptz,
    OUT began_at timestamptz, OUT users_affected bigint, OUT grants_revoked bigint, OUT grants bigint, OUT users_deactivated bigint, OUT users bigint,
    OUT open_users bigint, OUT open_grants bigint, OUT open_deactivated bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_revocations_since';
COMMENT ON FUNCTION rolecall.revocations_since(text, timestamptz)
IS 'the window of a provider that began since: what was added up, and what was not, of transactions that have not ended too';

-- For callers that hold the provider's lock (src/sync/brake.cpp): nobody else counts meanwhile. A transaction that may stay
-- open adds a row, and locks none.
CREATE FUNCTION rolecall.count_revocation(
    name text, uid bigint, revoked bigint, deactivated bigint, most double precision, many bigint, length interval, at timestamptz, stays_open boolean,
    OUT exceeds boolean, OUT so_far rolecall.revocations)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    since CONSTANT timestamptz = at - length;
    before record;
    ended record;
    own_users bigint = 0;
BEGIN
    SELECT * INTO before FROM rolecall.revocations_since(name, since);
    -- A window that begins later than now was begun while the clock was wrong: it ends as one that begins now.
    SELECT name, least(coalesce(before.began_at, at), at), before.users_affected + before.open_users, before.grants_revoked + before.open_grants,
           before.grants, before.users_deactivated + before.open_deactivated, before.users INTO so_far;
    IF so_far.grants IS NULL THEN
        SELECT s.grants + so_far.grants_revoked, s.users + so_far.users_deactivated INTO so_far.grants, so_far.users FROM rolecall.provider_size(name) s;
    END IF;

    INSERT INTO rolecall.sync_state AS s (user_id, provider, last_revocation_at)
    SELECT u.id, CASE WHEN u.institutional_id IS NOT NULL THEN u.provider END, at FROM rolecall.users u WHERE u.id = uid
    ON CONFLICT (user_id) DO UPDATE SET last_revocation_at = excluded.last_revocation_at
    WHERE (s.last_revocation_at >= so_far.began_at) IS NOT TRUE;
    IF FOUND THEN
        own_users := 1;
    END IF;
    so_far.users_affected := so_far.users_affected + own_users;
    so_far.grants_revoked := so_far.grants_revoked + revoked;
    so_far.users_deactivated := so_far.users_deactivated + deactivated;

    -- In a small directory half of the users are many; two never are.
    exceeds := so_far.users_affected >= least(many, greatest(3, (so_far.users + 1) / 2))
        AND (so_far.grants_revoked > most * so_far.grants OR so_far.users_deactivated > most * so_far.users);
    IF exceeds THEN  -- by an old count: what was given since counts as well
        SELECT s.grants + so_far.grants_revoked - revoked, s.users + so_far.users_deactivated - deactivated
        INTO so_far.grants, so_far.users FROM rolecall.provider_size(name) s;
        exceeds := so_far.users_affected >= least(many, greatest(3, (so_far.users + 1) / 2))
            AND (so_far.grants_revoked > most * so_far.grants OR so_far.users_deactivated > most * so_far.users);
    END IF;
    IF exceeds THEN
        RETURN;
    ELSIF stays_open THEN
        INSERT INTO rolecall.open_revocations (provider, happened_at, users_affected, grants_revoked, users_deactivated)
        VALUES (name, at, own_users, revoked, deactivated);
    ELSE
        WITH gone AS (
            DELETE FROM rolecall.open_revocations o WHERE o.id = ANY (ARRAY(
                SELECT p.id FROM rolecall.open_revocations p WHERE p.provider = name FOR UPDATE SKIP LOCKED))
            RETURNING o.happened_at, o.users_affected, o.grants_revoked, o.users_deactivated)
        SELECT coalesce(sum(g.users_affected), 0) AS users, coalesce(sum(g.grants_revoked), 0) AS grants, coalesce(sum(g.users_deactivated), 0) AS deactivated
        INTO ended FROM gone g WHERE g.happened_at > since;
        INSERT INTO rolecall.revocations (provider, began_at, users_affected, grants_revoked, grants, users_deactivated, users)
        VALUES (name, so_far.began_at, before.users_affected + ended.users + own_users, before.grants_revoked + ended.grants + revoked, so_far.grants,
                before.users_deactivated + ended.deactivated + deactivated, so_far.users)
        ON CONFLICT (provider) DO UPDATE SET began_at = excluded.began_at, users_affected = excluded.users_affected,
            grants_revoked = excluded.grants_revoked, grants = excluded.grants,
            users_deactivated = excluded.users_deactivated, users = excluded.users;
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.count_revocation(text, bigint, bigint, bigint, double precision, bigint, interval, timestamptz, boolean)
IS 'counts what a sync is about to take away; exceeds: it must not, for the window would come to so_far';

CREATE FUNCTION rolecall.stop_provider(name text, affected bigint, revoked bigint, grants bigint, deactivated bigint, users bigint) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH stopped AS (
        INSERT INTO rolecall.stopped_providers (provider, users_affected, grants_revoked, grants, users_deactivated, users)
        VALUES (name, affected, revoked, grants, deactivated, users) ON CONFLICT DO NOTHING RETURNING 1)
    SELECT EXISTS (SELECT FROM stopped)
$$;
COMMENT ON FUNCTION rolecall.stop_provider(text, bigint, bigint, bigint, bigint, bigint) IS 'stops a provider''s syncs; false: they are stopped already';

CREATE FUNCTION rolecall.resume_provider(name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM rolecall.stopped_providers WHERE provider = name;
    IF FOUND THEN
        DELETE FROM rolecall.revocations WHERE provider = name;
        DELETE FROM rolecall.open_revocations WHERE provider = name;
        PERFORM rolecall.wake_worker();
        RETURN true;
    END IF;
    PERFORM FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE s.srvname = name AND w.fdwname = 'rolecall';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = '42704', MESSAGE = format('provider "%s" does not exist', name);
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION rolecall.resume_provider(text) IS 'lets a stopped provider''s syncs go on, in a new window; false: they were not stopped';

-- Is there somebody else to hold the role, or the same user by another grant than the provider's on these scopes? Whoever it
-- is stays so until we commit: the rows are locked. Those that somebody is changing do not count.
CREATE FUNCTION rolecall.is_held_without(role text, uid bigint, kinds text[], scopes text[], own boolean, globally boolean) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
    WHERE g.role = is_held_without.role AND (g.scope_kind = 'global' OR NOT globally)
      AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
      AND u.is_active AND (u.tenant_id IS NULL OR EXISTS (SELECT FROM rolecall.tenants t WHERE t.id = u.tenant_id AND t.is_active))
      AND (g.user_id <> uid
           OR own AND (g.source <> 'provider' OR (g.scope_kind, g.scope_id) NOT IN (SELECT * FROM unnest(kinds, scopes))))
    LIMIT 1 FOR SHARE OF g, u SKIP LOCKED;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION rolecall.is_held_without(text, bigint, text[], text[], boolean, boolean) IS 'would a role still have an active holder?';

-- Whoever takes a protected role away holds its grants, and those of one who keeps it: two syncs do not take it from the last
-- two, and who takes it from others is not held up.
CREATE FUNCTION rolecall.protection(role text, uid bigint, kinds text[], scopes text[], deactivating boolean, may_wait boolean) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holds boolean;
    holds_globally boolean;
    locked bigint;
BEGIN
    IF may_wait THEN
        PERFORM FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
        WHERE g.user_id = uid AND g.role = protection.role FOR NO KEY UPDATE OF g, u;
    ELSE
        PERFORM FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
        WHERE g.user_id = uid AND g.role = protection.role FOR NO KEY UPDATE OF g, u SKIP LOCKED;
        GET DIAGNOSTICS locked = ROW_COUNT;
        IF locked < (SELECT count(*) FROM rolecall.user_roles g WHERE g.user_id = uid AND g.role = protection.role) THEN
            RETURN 'busy';
        END IF;
    END IF;
    SELECT count(*) > 0, coalesce(bool_or(g.scope_kind = 'global'), false) INTO holds, holds_globally
    FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id LEFT JOIN rolecall.tenants t ON t.id = u.tenant_id
    WHERE g.user_id = uid AND g.role = protection.role AND (g.expires_at IS NULL OR g.expires_at > clock_timestamp())
      AND u.is_active AND coalesce(t.is_active, true)
      AND (deactivating OR g.source = 'provider' AND (g.scope_kind, g.scope_id) IN (SELECT * FROM unnest(kinds, scopes)));
    IF holds AND NOT rolecall.is_held_without(role, uid, kinds, scopes, NOT deactivating, false) THEN
        RETURN 'keep';
    ELSIF holds_globally AND NOT rolecall.is_held_without(role, uid, kinds, scopes, NOT deactivating, true) THEN
        RETURN 'keep global';
    END IF;
    RETURN 'free';
END
$$;
COMMENT ON FUNCTION rolecall.protection(text, bigint, text[], text[], boolean, boolean)
IS 'must a user keep a protected role, being its last holder? free, keep, keep global, or busy: somebody else is at it';

SELECT pg_catalog.pg_extension_config_dump('rolecall.revocations', '');

SELECT pg_catalog.pg_extension_config_dump('rolecall.open_revocations', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.open_revocations_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rolecall.stopped_providers', '');

-- ---- What is held up ------------------------------------------------------------------------------------------------

CREATE FUNCTION rolecall.sync_locks(OUT kind text, OUT key bigint, OUT pid integer, OUT xid xid) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_sync_locks';
COMMENT ON FUNCTION rolecall.sync_locks() IS 'the locks of syncs, and those that keep tables from being written, that other transactions of this database hold';

CREATE FUNCTION rolecall.sync_lock_key(provider text) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_sync_lock_key';
COMMENT ON FUNCTION rolecall.sync_lock_key(text) IS 'by which sync_locks() names a provider';

CREATE FUNCTION rolecall.row_holders(uid bigint, OUT relation text, OUT pid integer, OUT xid xid) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'rolecall_row_holders';
COMMENT ON FUNCTION rolecall.row_holders(bigint) IS 'the transactions that hold rows of a user';

-- Of users, those who have waited longest are looked at.
CREATE FUNCTION rolecall.held_up(OUT provider text, OUT user_id bigint, OUT held text, OUT pid integer, OUT gid text, OUT since timestamptz)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH locks AS MATERIALIZED (SELECT l.kind, l.key, l.pid, l.xid FROM rolecall.sync_locks() l
    ), queues AS MATERIALIZED (SELECT q.name FROM rolecall.queued_providers() q(name)
    ), waiting AS MATERIALIZED (
        SELECT q.name, w.user_id FROM queues q, LATERAL (
            (SELECT s.user_id FROM rolecall.sync_state s WHERE s.provider = q.name AND s.requested_at IS NOT NULL
             ORDER BY s.force DESC, s.requested_at LIMIT 20)
            UNION
            (SELECT s.user_id FROM rolecall.sync_state s WHERE s.provider = q.name AND s.next_sync_at <= now()
             ORDER BY s.next_sync_at LIMIT 20)) w
    ), holders AS (
        SELECT u.provider, u.id AS user_id, 'the sync of a user' AS held, l.pid, l.xid
        FROM locks l JOIN rolecall.users u ON u.id = l.key WHERE l.kind = 'user' AND u.provider IS NOT NULL
        UNION ALL
        SELECT q.name, NULL, CASE l.kind WHEN 'provider' THEN 'the syncs of all users' ELSE 'the counting of revocations' END, l.pid, l.xid
        FROM queues q JOIN locks l ON l.kind IN ('provider', 'revocations') AND l.key = rolecall.sync_lock_key(q.name)
        UNION ALL
        SELECT w.name, w.user_id, 'a row of ' || h.relation, h.pid, h.xid FROM waiting w, LATERAL rolecall.row_holders(w.user_id) h
        UNION ALL
        SELECT q.name, NULL, 'table ' || l.key::oid::regclass, l.pid, l.xid
        FROM queues q, locks l
        WHERE l.kind = 'table' AND l.key::oid IN ('rolecall.users'::regclass, 'rolecall.roles'::regclass, 'rolecall.user_roles'::regclass,
            'rolecall.user_units'::regclass, 'rolecall.sync_state'::regclass, 'rolecall.sync_requests'::regclass))
    SELECT h.provider, h.user_id, h.held, a.pid, x.gid, coalesce(a.xact_start, x.prepared)
    FROM holders h
    LEFT JOIN pg_stat_activity a ON a.pid = h.pid
    LEFT JOIN pg_prepared_xacts x ON x.transaction = h.xid
    WHERE coalesce(a.xact_start, x.prepared) < clock_timestamp() - interval '1 second'
      AND a.backend_type IS DISTINCT FROM 'rolecall sync worker' AND a.pid IS DISTINCT FROM pg_backend_pid()
$$;
COMMENT ON FUNCTION rolecall.held_up() IS 'transactions that have held up syncs for a second, or may when those are due';

CREATE VIEW rolecall.stat_held_up AS SELECT DISTINCT h.provider, h.user_id, h.held, h.pid, h.gid, h.since FROM rolecall.held_up() h;
COMMENT ON VIEW rolecall.stat_held_up IS 'what other transactions hold, so that syncs are passed by and taken up later: since when, and who';
COMMENT ON COLUMN rolecall.stat_held_up.gid IS 'of a prepared transaction, which has no pid';

CREATE FUNCTION rolecall.slot_statistics(OUT name text, OUT slots bigint, OUT used bigint, OUT evicted bigint, OUT refused bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_slot_statistics';
COMMENT ON FUNCTION rolecall.slot_statistics() IS 'how full the fixed tables in shared memory are';

CREATE VIEW rolecall.stat_slots AS SELECT s.name, s.slots, s.used, s.evicted, s.refused FROM rolecall.slot_statistics() s;
COMMENT ON VIEW rolecall.stat_slots IS 'the fixed tables of the server: how full each is, what made room for others, and how often there was none';

CREATE OR REPLACE VIEW rolecall.stat_provider AS
SELECT f.srvname AS provider, coalesce(q.due, 0) AS due, q.oldest_due, coalesce(q.requested, 0) AS requested,
       coalesce(q.failing, 0) AS failing,
       coalesce(p.in_flight, 0) AS in_flight, coalesce(p.changed, 0) AS changed, coalesce(p.unchanged, 0) AS unchanged,
       coalesce(p.skipped, 0) AS skipped, coalesce(p.failed, 0) AS failed,
       coalesce(p.breaker, 'closed') AS breaker, coalesce(p.failures_in_a_row, 0) AS failures_in_a_row, p.next_attempt_at,
       p.last_success_at, p.last_error_at, p.last_error,
       p.duration_seconds, p.duration_bounds, p.duration_counts,
       s.stopped_at,
       CASE WHEN s.provider IS NOT NULL THEN
           format('%s users would have lost %s of %s grants; %s of %s users would have been deactivated',
                  s.users_affected, s.grants_revoked, s.grants, s.users_deactivated, s.users)
       END AS stopped_because,
       n.because AS not_called_because, h.held AS held_up, h.since AS held_up_since, h.pid AS held_up_by_pid, h.gid AS held_up_by_gid
FROM pg_catalog.pg_foreign_server f
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = f.srvfdw AND w.fdwname = 'rolecall'
LEFT JOIN rolecall.provider_statistics() p ON p.server = f.oid
LEFT JOIN rolecall.queue_statistics() q ON q.provider = f.srvname::text
LEFT JOIN rolecall.stopped_providers s ON s.provider = f.srvname::text
LEFT JOIN (SELECT DISTINCT ON (o.provider) o.provider, o.held, o.since, o.pid, o.gid FROM rolecall.held_up() o ORDER BY o.provider, o.since) h
    ON h.provider = f.srvname::text
CROSS JOIN (SELECT rolecall.why_no_calls() AS because) n;

CREATE TYPE rolecall.provider_sync_result AS (
    listed bigint,
    unknown bigint,
    changed bigint,
    unchanged bigint,
    missing bigint,
    complete boolean
);
COMMENT ON TYPE rolecall.provider_sync_result IS 'what a pass through a provider''s list came to';

CREATE FUNCTION rolecall.sync_provider(name text) RETURNS rolecall.provider_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_sync_provider';
COMMENT ON FUNCTION rolecall.sync_provider(text) IS 'goes through a provider''s list of users, and applies it';

CREATE FUNCTION rolecall.apply_provider_event(server text, event jsonb) RETURNS rolecall.role_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_apply_provider_event';
COMMENT ON FUNCTION rolecall.apply_provider_event(text, jsonb) IS 'applies what a provider sends about one user; NULL: nobody here is meant; equals write access to grants';

-- ---- The view of me -----------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT p.user_id AS uid,
       jsonb_build_object(
           'id', p.user_id,
           'email', p.email,
           'display_name', p.display_name,
           'function', p.function,
           'tenant_id', p.tenant_id,
           'provider', p.provider,
           'institutional_id', p.institutional_id,
           'is_active', p.is_active,
           'is_superuser', p.is_superuser,
           'roles', p.roles,
           'units', p.units,
           'roles_synced', p.roles_synced,
           'roles_stale', p.roles_stale,
           'metadata', p.metadata) AS doc,
       p.valid_from,
       p.valid_until,
       p.email,
       p.tenant_id
FROM rolecall.user_profile p;
COMMENT ON VIEW rolecall.me_view IS 'the document of me(uid); email and tenant_id are what me_by_email() goes by';

-- ---- Projections and watches over an application's tables ---------------------------------------------------

-- The library hears of changes of definitions by itself.
DROP EVENT TRIGGER rolecall_ddl_start;
DROP EVENT TRIGGER rolecall_ddl_end;
DROP EVENT TRIGGER rolecall_drop;
DROP FUNCTION rolecall.on_ddl_start(), rolecall.on_ddl_end(), rolecall.on_drop(), rolecall.announce_ddl(oid, oid),
    rolecall.dependency_closure(regclass), rolecall.raise_floor(bigint);

CREATE FUNCTION rolecall.random_id() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('x' || encode(substring(uuid_send(gen_random_uuid()) FOR 8), 'hex'))::bit(64)::bigint
$$;
COMMENT ON FUNCTION rolecall.random_id() IS 'an id that was never used before';

CREATE FUNCTION rolecall.projection_dropped() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_projection_dropped';
COMMENT ON FUNCTION rolecall.projection_dropped() IS 'gives back the memory of a projection''s documents';

CREATE TRIGGER projection_dropped AFTER DELETE ON rolecall.projections
FOR EACH ROW EXECUTE FUNCTION rolecall.projection_dropped();

ALTER TABLE rolecall.projections ENABLE ALWAYS TRIGGER projection_dropped;

ALTER TABLE rolecall.watches DROP CONSTRAINT watches_projection_fkey;
ALTER TABLE rolecall.projections DROP CONSTRAINT projections_pkey, ADD CONSTRAINT projections_pkey PRIMARY KEY (name, builtin),
    ALTER COLUMN id SET DEFAULT rolecall.random_id();
COMMENT ON COLUMN rolecall.projections.builtin IS 'made by the extension; one of the application''s with the same name takes its place';

-- The view of a projection is found again by its name.
ALTER TABLE rolecall.projections ADD COLUMN view_schema name, ADD COLUMN view_name name, ADD COLUMN view_owner name;
COMMENT ON COLUMN rolecall.projections.view_schema IS 'kept by a trigger, as view_name and view_owner: a view that is made anew is found by its name, if its owner is the same';

CREATE OR REPLACE FUNCTION rolecall.set_projection_query() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v record;
BEGIN
    NEW.query := format('SELECT v.%I FROM %s v WHERE v.%I = $1', NEW.doc_column, NEW.view, NEW.key_column);
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner INTO v
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = NEW.view;
    IF FOUND THEN
        NEW.view_schema := v.nspname;
        NEW.view_name := v.relname;
        NEW.view_owner := v.owner;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION rolecall.set_projection_query() IS 'keeps projections.query, and the name and the owner of the view';

CREATE FUNCTION rolecall.view_by_name(projection_id bigint) RETURNS regclass
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid FROM rolecall.projections p
    JOIN pg_namespace n ON n.nspname = p.view_schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.view_name
    WHERE p.id = projection_id AND c.relkind = 'v' AND pg_get_userbyid(c.relowner) = p.view_owner
$$;
COMMENT ON FUNCTION rolecall.view_by_name(bigint) IS 'the view that has the name and the owner of a projection''s now; NULL: there is none';

UPDATE rolecall.projections SET view = view;

-- Tables of a cluster whose rows are elsewhere, and what a dump leaves behind.

CREATE FUNCTION rolecall.is_distributed(relation regclass) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_is_distributed';
COMMENT ON FUNCTION rolecall.is_distributed(regclass) IS 'does Citus manage this table?';

CREATE FUNCTION rolecall.require_directory() RETURNS void
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_require_directory';
COMMENT ON FUNCTION rolecall.require_directory() IS 'error 55000 on a worker of a Citus cluster whose users are the coordinator''s';

CREATE OR REPLACE FUNCTION rolecall.require_active_user(uid bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    active boolean;
BEGIN
    PERFORM rolecall.require_directory();
    -- Locked, so that a deactivation either sees what is made for the user now, or is seen here.
    SELECT u.is_active AND coalesce(t.is_active, true) INTO active
    FROM rolecall.users u LEFT JOIN rolecall.tenants t ON t.id = u.tenant_id WHERE u.id = uid FOR SHARE OF u;
    IF active IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'RC001', MESSAGE = 'user not found';
    ELSIF NOT active THEN
        RAISE EXCEPTION USING ERRCODE = 'RC002', MESSAGE = 'user is inactive';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION rolecall.user_id(external_id text) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT rolecall.require_directory();
    SELECT u.id FROM rolecall.users u WHERE u.external_id = user_id.external_id
$$;

-- A dump without data has the triggers of watches, and no projections.
CREATE FUNCTION rolecall.stray_watch_triggers(OUT relation regclass, OUT name name, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tgrelid::regclass, t.tgname, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
    FROM pg_trigger t
    WHERE t.tgfoid IN ('rolecall.watch_row()'::regprocedure, 'rolecall.watch_truncate()'::regprocedure) AND t.tgparentid = 0
      AND split_part(encode(t.tgargs, 'escape'), '\000', 1) NOT IN (SELECT p.id::text FROM rolecall.projections p)
    ORDER BY t.tgrelid::regclass::text, t.tgname
$$;
COMMENT ON FUNCTION rolecall.stray_watch_triggers() IS 'triggers of watches whose projection is not there: they do no harm, and cost each write a little';

DROP INDEX rolecall.watches_key;
ALTER TABLE rolecall.watches ADD COLUMN id bigint PRIMARY KEY DEFAULT rolecall.random_id(),
    ADD COLUMN is_lookup boolean NOT NULL DEFAULT false,
    ADD COLUMN key_number smallint;
-- A lookup belonged to all documents, and goes on to. What is built in is made anew below.
UPDATE rolecall.watches w SET is_lookup = w.key_column IS NULL, builtin = p.builtin
FROM rolecall.projections p WHERE p.name = w.projection;
ALTER TABLE rolecall.watches ADD FOREIGN KEY (projection, builtin) REFERENCES rolecall.projections ON UPDATE CASCADE ON DELETE CASCADE,
    ADD CONSTRAINT watches_key_column_check CHECK (is_lookup OR key_column IS NOT NULL);
COMMENT ON COLUMN rolecall.watches.id IS 'random and never reused: names the groups of a lookup';
COMMENT ON COLUMN rolecall.watches.is_lookup IS 'a row may belong to many documents';
COMMENT ON COLUMN rolecall.watches.key_column IS 'the column that holds the key of the document a row belongs to; of a lookup: what those documents'' rows refer to, or NULL: a row belongs to all documents';
COMMENT ON COLUMN rolecall.watches.key_number IS 'the number of that column, which stays when names change places; kept by a trigger';

CREATE UNIQUE INDEX watches_key ON rolecall.watches (projection, builtin, relation, is_lookup, coalesce(key_column, ''));

CREATE TABLE rolecall.watch_references (
    watch bigint NOT NULL REFERENCES rolecall.watches ON DELETE CASCADE,
    builtin boolean NOT NULL DEFAULT false,
    relation regclass NOT NULL,
    column_name name NOT NULL,
    column_number smallint,
    PRIMARY KEY (watch, relation, column_name)
);
COMMENT ON TABLE rolecall.watch_references IS 'how documents refer to rows of a lookup: by which columns of their own rows';
COMMENT ON COLUMN rolecall.watch_references.relation IS 'a watched table, whose rows belong to one document each';
COMMENT ON COLUMN rolecall.watch_references.column_number IS 'the number of that column; kept by a trigger';

CREATE FUNCTION rolecall.column_number(relation oid, column_name name) RETURNS smallint
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.attnum FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION rolecall.column_number(oid, name) IS 'the number of a column; NULL: there is none';

-- A restore inserts rows with numbers of another database.
CREATE FUNCTION rolecall.set_column_number() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID = 'rolecall.watches'::regclass THEN
        NEW.key_number := rolecall.column_number(NEW.relation::oid, NEW.key_column);
    ELSE
        NEW.column_number := rolecall.column_number(NEW.relation::oid, NEW.column_name);
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION rolecall.set_column_number() IS 'keeps watches.key_number and watch_references.column_number';

CREATE TRIGGER set_number BEFORE INSERT ON rolecall.watches
FOR EACH ROW EXECUTE FUNCTION rolecall.set_column_number();
CREATE TRIGGER set_number BEFORE INSERT ON rolecall.watch_references
FOR EACH ROW EXECUTE FUNCTION rolecall.set_column_number();
ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER set_number;
ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER set_number;

UPDATE rolecall.watches SET key_number = rolecall.column_number(relation::oid, key_column);

CREATE TRIGGER definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rolecall.watch_references
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.definition_changed();

ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER definition_changed;
SELECT pg_catalog.pg_extension_config_dump('rolecall.watch_references', 'WHERE NOT builtin');

DROP FUNCTION rolecall.put_watch_triggers(bigint, regclass, name);

CREATE FUNCTION rolecall.members_of(relation regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE members AS (
        SELECT relation AS oid
        UNION
        SELECT i.inhrelid::regclass FROM members m JOIN pg_inherits i ON i.inhparent = m.oid
    )
    SELECT m.oid FROM members m
$$;
COMMENT ON FUNCTION rolecall.members_of(regclass) IS 'a table with its partitions and children, on every level';

CREATE FUNCTION rolecall.put_watch_triggers(watch bigint, part regclass DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    w rolecall.watches := (SELECT w FROM rolecall.watches w WHERE w.id = watch);
    projection_id text := (SELECT p.id FROM rolecall.projections p WHERE (p.name, p.builtin) = (w.projection, w.builtin));
    prefix text := 'rolecall_' || to_hex(projection_id::bigint);
    row_trigger text := concat_ws('_', prefix, CASE WHEN w.is_lookup THEN 'lookup' END,
        (SELECT attnum FROM pg_attribute WHERE attrelid = w.relation AND attname = w.key_column));
    arguments text := (SELECT string_agg(quote_literal(a), ', ') FROM unnest(ARRAY[
        projection_id, w.key_column::text, CASE WHEN w.is_lookup AND w.key_column IS NOT NULL THEN watch::text END]) a
        WHERE a IS NOT NULL);
    member regclass;
BEGIN
    -- Changes of foreign tables are made elsewhere: they are a problem of the projection, and no error here.
    FOR member IN SELECT m FROM rolecall.members_of(coalesce(part, w.relation)) m JOIN pg_class c ON c.oid = m WHERE c.relkind IN ('r', 'p') LOOP
        -- A partition has its parent's row trigger already; no other child has.
        IF row_trigger NOT IN (SELECT tgname FROM pg_trigger WHERE tgrelid = member) THEN
            EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW
                            EXECUTE FUNCTION rolecall.watch_row(%s)', row_trigger, member, arguments);
        END IF;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', member, row_trigger);
        IF prefix || '_truncate' NOT IN (SELECT tgname FROM pg_trigger WHERE tgrelid = member) THEN
            EXECUTE format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT
                            EXECUTE FUNCTION rolecall.watch_truncate(%L)', prefix || '_truncate', member, projection_id);
        END IF;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', member, prefix || '_truncate');
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.put_watch_triggers(bigint, regclass) IS 'creates the triggers of one watch on a table and its children, or on a part of them, where they are missing';

CREATE FUNCTION rolecall.watch_member(member regclass) RETURNS void
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH RECURSIVE ancestors AS (
        SELECT i.inhparent AS oid FROM pg_inherits i WHERE i.inhrelid = member
        UNION
        SELECT i.inhparent FROM ancestors a JOIN pg_inherits i ON i.inhrelid = a.oid
    )
    SELECT rolecall.put_watch_triggers(w.id, member) FROM rolecall.watches w JOIN ancestors a ON a.oid = w.relation
$$;
COMMENT ON FUNCTION rolecall.watch_member(regclass) IS 'creates the triggers of the watches on a table''s parents on it, and on what is below it; a new partition or child gets them by itself';

CREATE FUNCTION rolecall.projection_problems(
    projection name, OUT relation regclass, OUT lasting boolean, OUT problem text, OUT repair text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_projection_problems';
COMMENT ON FUNCTION rolecall.projection_problems(name) IS 'why documents of a projection are not cached; lasting: no watch would help';

CREATE FUNCTION rolecall.drop_watch_triggers(projection_id bigint, relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may_fail boolean := rolecall.is_distributed(relation);
    t record;
BEGIN
    -- What DROP TRIGGER takes, before looking which there are.
    IF NOT may_fail THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
    END IF;
    FOR t IN
        SELECT g.tgname, g.tgrelid::regclass AS member
        FROM pg_trigger g
        WHERE g.tgrelid IN (SELECT rolecall.members_of(relation))
          AND g.tgparentid = 0  -- those of partitions go with their parent's
          AND g.tgfoid IN ('rolecall.watch_row()'::regprocedure, 'rolecall.watch_truncate()'::regprocedure)
          AND position(convert_to(projection_id::text, 'SQL_ASCII') || '\x00'::bytea IN g.tgargs) = 1
    LOOP
        BEGIN
            EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.member);
        EXCEPTION WHEN OTHERS THEN
            IF NOT may_fail THEN
                RAISE;
            END IF;
            RAISE WARNING 'trigger "%" on table % could not be dropped', t.tgname, t.member
                USING DETAIL = SQLERRM, HINT = 'It does no harm. Drop it when Citus does not manage the table any more.';
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.drop_watch_triggers(bigint, regclass) IS 'drops the triggers of a projection''s watches on a table and its children';

-- pg_dump does not dump triggers on the extension's own tables: those of an application's projections come back
-- with their watches.
CREATE FUNCTION rolecall.restore_watch() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_depend d
               WHERE (d.classid, d.objid, d.deptype) = ('pg_class'::regclass, NEW.relation, 'e')
                 AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'rolecall')) THEN
        PERFORM rolecall.put_watch_triggers(NEW.id, NULL::regclass);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.restore_watch() IS 'creates the triggers of a watch on one of the extension''s own tables';

CREATE TRIGGER restore_watch AFTER INSERT ON rolecall.watches
FOR EACH ROW WHEN (NOT NEW.builtin) EXECUTE FUNCTION rolecall.restore_watch();

CREATE FUNCTION rolecall.application_projection(projection name) RETURNS rolecall.projections
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_row rolecall.projections;
BEGIN
    SELECT p.* INTO found_row FROM rolecall.projections p WHERE p.name = projection ORDER BY p.builtin LIMIT 1;
    IF found_row.id IS NULL THEN
        RAISE EXCEPTION 'projection "%" does not exist', projection
            USING ERRCODE = 'undefined_object', HINT = 'The table rolecall.projections lists them.';
    ELSIF found_row.builtin THEN
        RAISE EXCEPTION 'projection "%" is built in', projection
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'rolecall.create_projection() makes one of yours that takes its place.';
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION rolecall.application_projection(name) IS 'the row of a projection that may be changed, or an error';

CREATE FUNCTION rolecall.add_watch(projection name, relation regclass, is_lookup boolean, key_column name) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    watch bigint;
    wrong text;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'a watch needs a relation' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM rolecall.application_projection(projection);
    IF rolecall.is_distributed(relation) THEN
        RAISE EXCEPTION 'relation % cannot be watched', relation
            USING ERRCODE = 'wrong_object_type', DETAIL = 'Citus manages it: its rows are in shards, whose changes go unseen.',
                  HINT = 'A projection over it needs a ttl.';
    END IF;
    IF (SELECT c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't' OR c.oid < 16384 FROM pg_class c WHERE c.oid = relation) THEN
        RAISE EXCEPTION 'relation % cannot be watched', relation
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = 'Changes are known of ordinary tables and partitioned tables that are not temporary.',
                  HINT = 'A projection over anything else needs a ttl.';
    END IF;
    IF key_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = key_column
                                              AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'column "%" of relation % does not exist', key_column, relation USING ERRCODE = 'undefined_column';
    END IF;
    BEGIN
        INSERT INTO rolecall.watches AS w (projection, relation, is_lookup, key_column)
        VALUES (projection, relation, is_lookup, key_column) RETURNING w.id INTO watch;
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'projection "%" watches % already', projection, relation
            USING ERRCODE = 'duplicate_object', HINT = 'See rolecall.watches, and rolecall.unwatch().';
    END;
    PERFORM rolecall.put_watch_triggers(watch, NULL::regclass);
    IF is_lookup AND key_column IS NOT NULL THEN
        RETURN watch;  -- not complete without what refers to it
    END IF;
    SELECT p.problem INTO wrong FROM rolecall.projection_problems(projection) p WHERE p.relation = add_watch.relation LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'relation % cannot be watched by column "%"', relation, key_column
            USING ERRCODE = 'datatype_mismatch', DETAIL = format('In the way: %s.', wrong),
                  HINT = 'The column must have the key''s type and a deterministic collation, and must be stored.';
    END IF;
    RETURN watch;
END
$$;
COMMENT ON FUNCTION rolecall.add_watch(name, regclass, boolean, name) IS 'what watch() and watch_lookup() share';

CREATE FUNCTION rolecall.watch(projection name, relation regclass, key_column name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF key_column IS NULL THEN
        RAISE EXCEPTION 'a watch needs the column that holds the key'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Tables whose rows belong to many documents are watched with rolecall.watch_lookup().';
    END IF;
    PERFORM rolecall.add_watch(projection, relation, false, key_column);
END
$$;
COMMENT ON FUNCTION rolecall.watch(name, regclass, name) IS 'a changed row belongs to the document whose key is in this column';

CREATE FUNCTION rolecall.add_lookup(projection name, relation regclass, key_column name, referencing jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_watch bigint := rolecall.add_watch(projection, relation, true, key_column);
    wrong text;
BEGIN
    IF key_column IS NULL THEN
        IF referencing IS NOT NULL THEN
            RAISE EXCEPTION 'references to a lookup need its key column' USING ERRCODE = 'null_value_not_allowed';
        END IF;
        RETURN;
    END IF;
    INSERT INTO rolecall.watch_references (watch, relation, column_name)
    SELECT new_watch, r.key::regclass, r.value FROM jsonb_each_text(referencing) r
    UNION
    SELECT new_watch, k.conrelid, a.attname
    FROM pg_constraint k
    JOIN rolecall.watches w ON w.projection = add_lookup.projection AND NOT w.builtin AND NOT w.is_lookup AND w.relation = k.conrelid
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE referencing IS NULL AND k.contype = 'f' AND k.confrelid = add_lookup.relation AND cardinality(k.conkey) = 1
      AND k.confkey[1] = (SELECT f.attnum FROM pg_attribute f WHERE f.attrelid = k.confrelid AND f.attname = add_lookup.key_column);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nothing refers to column "%" of %', key_column, relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'No table that is watched by key has a foreign key to this column.',
                  HINT = 'Watch such tables first, or say which columns refer to it: referencing => ''{"schema.table": "column"}''.';
    END IF;
    SELECT p.problem INTO wrong FROM rolecall.projection_problems(projection) p WHERE p.relation = add_lookup.relation LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'relation % cannot be watched by column "%"', relation, key_column
            USING ERRCODE = 'datatype_mismatch', DETAIL = format('In the way: %s.', wrong),
                  HINT = 'Columns that refer to it must be of its type, in tables that are watched by key.';
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.add_lookup(name, regclass, name, jsonb) IS 'watch_lookup() where the tables of referencing have their schemas';

-- In C, so that names in referencing are found by the caller's search_path, as that of the relation is.
CREATE FUNCTION rolecall.watch_lookup(projection name, relation regclass, key_column name DEFAULT NULL, referencing jsonb DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_watch_lookup';
COMMENT ON FUNCTION rolecall.watch_lookup(name, regclass, name, jsonb) IS 'a changed row belongs to all documents; with key_column: to those whose rows refer to it';

CREATE FUNCTION rolecall.unwatch(projection name, relation regclass, key_column name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections := rolecall.application_projection(projection);
BEGIN
    DELETE FROM rolecall.watches w
    WHERE w.projection = unwatch.projection AND NOT w.builtin AND w.relation = unwatch.relation
      AND (unwatch.key_column IS NULL OR w.key_column = unwatch.key_column);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'projection "%" does not watch %', projection, relation
            USING ERRCODE = 'undefined_object', HINT = 'See rolecall.watches.';
    END IF;
    PERFORM rolecall.drop_watch_triggers(p.id, relation);
    PERFORM rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w
    WHERE w.projection = unwatch.projection AND NOT w.builtin AND w.relation = unwatch.relation;
END
$$;
COMMENT ON FUNCTION rolecall.unwatch(name, regclass, name) IS 'ends the watches on a table, or the one by a column';

CREATE FUNCTION rolecall.refuse_unsafe(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_refuse_unsafe';
COMMENT ON FUNCTION rolecall.refuse_unsafe(name) IS 'raises an error where a projection would run others'' code with the rights of its view''s owner';

CREATE FUNCTION rolecall.read_one(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_read_one';
COMMENT ON FUNCTION rolecall.read_one(name) IS 'reads one document as it will be read, or raises the error that every reader would get';

CREATE FUNCTION rolecall.add_projection(
    projection name, view regclass, key_column name, doc_column name, ttl interval, strict boolean, watches jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    w record;
    wrong text;
    repairs text;
BEGIN
    IF num_nulls(projection, view, key_column, doc_column, strict, watches) > 0 THEN
        RAISE EXCEPTION 'a projection needs a name, a view, a key column and a document column' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF ttl <= interval '0' THEN
        RAISE EXCEPTION 'invalid ttl: %', ttl USING ERRCODE = 'invalid_parameter_value', HINT = 'It must be longer than zero.';
    END IF;
    BEGIN
        INSERT INTO rolecall.projections (name, view, key_column, doc_column, ttl)
        VALUES (projection, view, add_projection.key_column, doc_column, ttl);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'projection "%" already exists', projection
            USING ERRCODE = 'duplicate_object', HINT = 'rolecall.drop_projection() drops it.';
    END;
    PERFORM rolecall.refuse_unsafe(projection);
    -- What cannot be exact is refused before any table gets a trigger.
    SELECT 'In the way: ' || string_agg(p.problem, '; ') || '.' INTO wrong
    FROM rolecall.projection_problems(projection) p WHERE p.lasting;
    IF wrong IS NOT NULL AND ttl IS NULL THEN
        RAISE EXCEPTION 'documents of view % cannot be kept exact', view
            USING ERRCODE = 'invalid_object_definition', DETAIL = wrong,
                  HINT = 'Change the view (what holds for a time needs columns valid_from and valid_until), or give a ttl for which documents may be out of date.';
    END IF;

    FOR w IN SELECT e.key::regclass AS relation, e.value AS what FROM jsonb_each(watches) e
             ORDER BY jsonb_typeof(e.value) <> 'string'  -- lookups are referred to by what is watched by key
    LOOP
        CASE
            WHEN jsonb_typeof(w.what) = 'string' THEN
                PERFORM rolecall.watch(projection, w.relation, (w.what #>> '{}')::name);
            WHEN jsonb_typeof(w.what) = 'null' THEN
                PERFORM rolecall.add_lookup(projection, w.relation, NULL::name, NULL::jsonb);
            WHEN jsonb_typeof(w.what -> 'lookup') = 'string' THEN
                PERFORM rolecall.add_lookup(projection, w.relation, (w.what ->> 'lookup')::name, w.what -> 'referencing');
            ELSE
                RAISE EXCEPTION 'invalid watch on %: %', w.relation, w.what
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = 'Give the column that holds the key, or {"lookup": "column"}, or null for a lookup whose rows belong to all documents.';
        END CASE;
    END LOOP;

    SELECT 'In the way: ' || string_agg(p.problem, '; ') || '.', string_agg(p.repair, '; ')
    INTO wrong, repairs FROM rolecall.projection_problems(projection) p;
    IF wrong IS NOT NULL AND ttl IS NULL AND strict THEN
        RAISE EXCEPTION 'changes behind view % would go unseen', view
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = wrong,
                  HINT = 'Name these tables in watches => ''{"schema.table": "key column", ...}'', or pass strict => false and watch them before it is used.';
    END IF;
    BEGIN
        PERFORM rolecall.read_one(projection);
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION 'documents of view % cannot be read', view
            USING ERRCODE = SQLSTATE, DETAIL = format('In the way: %s.', SQLERRM),
                  HINT = 'They are read as the owner of the view, with search_path = pg_catalog, pg_temp.';
    END;
    IF wrong IS NOT NULL AND ttl IS NULL THEN
        RAISE WARNING 'documents of projection "%" are not cached yet', projection USING DETAIL = wrong, HINT = repairs;
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.add_projection(name, regclass, name, name, interval, boolean, jsonb) IS 'create_projection() where the tables of watches have their schemas';

-- In C, so that names in watches are found by the caller's search_path, as that of the view is.
CREATE FUNCTION rolecall.create_projection(
    projection name, view regclass, key_column name, doc_column name, ttl interval DEFAULT NULL,
    strict boolean DEFAULT true, watches jsonb DEFAULT '{}') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_create_projection';
COMMENT ON FUNCTION rolecall.create_projection(name, regclass, name, name, interval, boolean, jsonb) IS 'caches a view''s documents by key; one named me takes the place of the built-in one';

CREATE FUNCTION rolecall.cancel_load(projection bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_cancel_load';
COMMENT ON FUNCTION rolecall.cancel_load(bigint) IS 'ends the load of a projection, by its id';

CREATE FUNCTION rolecall.drop_projection(projection name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections := rolecall.application_projection(projection);
BEGIN
    PERFORM rolecall.cancel_load(p.id);  -- it reads what is to be locked
    PERFORM rolecall.drop_watch_triggers(p.id, w.relation)
    FROM rolecall.watches w
    WHERE w.projection = drop_projection.projection AND NOT w.builtin AND w.relation IN (SELECT c.oid FROM pg_class c);
    DELETE FROM rolecall.projections WHERE id = p.id;
END
$$;
COMMENT ON FUNCTION rolecall.drop_projection(name) IS 'drops a projection with its watches; the built-in me comes back when yours goes';

CREATE FUNCTION rolecall.follow_columns(projection name, builtin boolean) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_watches bigint[];
BEGIN
    -- Rows that were restored while the triggers were off have numbers of another database, and such a trigger does not
    -- come back as ALWAYS.
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = 'rolecall.set_column_number()'::regprocedure AND t.tgenabled <> 'A') THEN
        UPDATE rolecall.watches w SET key_number = rolecall.column_number(w.relation::oid, w.key_column);
        UPDATE rolecall.watch_references r SET column_number = rolecall.column_number(r.relation::oid, r.column_name);
        ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER set_number;
        ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER set_number;
    END IF;
    of_watches := ARRAY(
        SELECT w.id FROM rolecall.watches w JOIN pg_attribute a ON a.attrelid = w.relation AND a.attnum = w.key_number
        WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin)
          AND NOT a.attisdropped AND a.attname <> w.key_column);
    -- Two columns may have changed places, and no two watches have one column's name at any time.
    UPDATE rolecall.watches w SET key_column = '@' || w.key_number WHERE w.id = ANY (of_watches);
    UPDATE rolecall.watches w SET key_column = a.attname FROM pg_attribute a
    WHERE w.id = ANY (of_watches) AND a.attrelid = w.relation AND a.attnum = w.key_number;

    UPDATE rolecall.watch_references r SET column_name = '@' || r.column_number
    FROM rolecall.watches w, pg_attribute a
    WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin) AND r.watch = w.id
      AND a.attrelid = r.relation AND a.attnum = r.column_number AND NOT a.attisdropped AND a.attname <> r.column_name;
    UPDATE rolecall.watch_references r SET column_name = a.attname
    FROM rolecall.watches w, pg_attribute a
    WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin) AND r.watch = w.id
      AND a.attrelid = r.relation AND a.attnum = r.column_number AND NOT a.attisdropped AND a.attname <> r.column_name;
END
$$;
COMMENT ON FUNCTION rolecall.follow_columns(name, boolean) IS 'gives watches and references the names that their columns have by now';

CREATE FUNCTION rolecall.repair_projection(projection name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections;
BEGIN
    FOR p IN SELECT * FROM rolecall.projections q WHERE q.name = projection FOR UPDATE LOOP
        -- Notes its name and its owner, if it is there.
        UPDATE rolecall.projections q
        SET view = CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = q.view) THEN q.view ELSE coalesce(rolecall.view_by_name(q.id), q.view) END
        WHERE q.id = p.id;
        DELETE FROM rolecall.watches w
        WHERE (w.projection, w.builtin) = (p.name, p.builtin) AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.relation);
        PERFORM rolecall.follow_columns(p.name, p.builtin);
        PERFORM rolecall.drop_watch_triggers(p.id, w.relation)
        FROM (SELECT DISTINCT relation FROM rolecall.watches WHERE (watches.projection, builtin) = (p.name, p.builtin)) w;
        PERFORM rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w
        WHERE (w.projection, w.builtin) = (p.name, p.builtin) AND NOT rolecall.is_distributed(w.relation);
    END LOOP;
    IF NOT FOUND THEN
        PERFORM rolecall.application_projection(projection);
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.repair_projection(name) IS 'takes the view that has the name of a dropped one, follows columns to their names, and creates the triggers of a projection''s watches anew';

CREATE FUNCTION rolecall.check_projections(
    OUT projection name, OUT relation regclass, OUT problem text, OUT repair text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    remedy text;
BEGIN
    FOR projection IN SELECT DISTINCT p.name FROM rolecall.projections p ORDER BY 1 LOOP
        BEGIN
            RETURN QUERY SELECT check_projections.projection, p.relation, p.problem, p.repair
                         FROM rolecall.projection_problems(check_projections.projection) p
                         -- With a ttl it need not be exact, only safe.
                         WHERE p.lasting OR EXISTS (SELECT FROM rolecall.projections q
                                                    WHERE q.name = check_projections.projection AND q.ttl IS NULL);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS remedy = PG_EXCEPTION_HINT;
            relation := NULL;
            problem := SQLERRM;
            repair := coalesce(nullif(remedy, ''), 'restore the view, or drop the projection');
            RETURN NEXT;
        END;
    END LOOP;
    projection := NULL;
    RETURN QUERY SELECT NULL::name, t.relation, format('trigger "%s" is of no projection of this database', t.name), t.repair
                 FROM rolecall.stray_watch_triggers() t;
END
$$;
COMMENT ON FUNCTION rolecall.check_projections() IS 'what keeps documents from being cached, and the command that repairs it; no row: all is in order';

CREATE FUNCTION rolecall.reload(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_reload';
COMMENT ON FUNCTION rolecall.reload(name) IS 'every document of the projection is read anew from its view, in the background';

CREATE FUNCTION rolecall.cancel_reload(projection name) RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(rolecall.cancel_load(p.id)), false) FROM rolecall.projections p WHERE p.name = projection
$$;
COMMENT ON FUNCTION rolecall.cancel_reload(name) IS 'ends the load of a projection; documents that are loaded stay; false: there is none';

CREATE FUNCTION rolecall.invalidate(projection name, key text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_invalidate';
COMMENT ON FUNCTION rolecall.invalidate(name, text) IS 'the document of one key is read anew from the view';

CREATE FUNCTION rolecall.cache_entry(
    projection name, key text, OUT cached boolean, OUT usable boolean, OUT reason text, OUT loaded_at timestamptz,
    OUT changed_by xid8, OUT valid_from timestamptz, OUT valid_until timestamptz, OUT document_bytes integer)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_cache_entry';
COMMENT ON FUNCTION rolecall.cache_entry(name, text) IS 'is a document cached, since when, for whom; and if not, why not';

-- ---- What is built in, anew ---------------------------------------------------------------------------------

SELECT rolecall.drop_watch_triggers(p.id, w.relation)
FROM rolecall.projections p JOIN rolecall.watches w ON (w.projection, w.builtin) = (p.name, p.builtin) WHERE p.builtin;
DELETE FROM rolecall.watches WHERE builtin;
INSERT INTO rolecall.watches (projection, builtin, relation, is_lookup, key_column)
VALUES ('me', true, 'rolecall.users', false, 'id'),
       ('me', true, 'rolecall.user_roles', false, 'user_id'),
       ('me', true, 'rolecall.user_units', false, 'user_id'),
       ('me', true, 'rolecall.roles', true, 'name'),
       ('me', true, 'rolecall.units', true, 'id'),
       ('me', true, 'rolecall.tenants', true, 'id');

INSERT INTO rolecall.watch_references (watch, builtin, relation, column_name)
SELECT w.id, true, r.relation, r.column_name
FROM rolecall.watches w
JOIN (VALUES ('rolecall.roles'::regclass, 'rolecall.user_roles'::regclass, 'role'::name),
             ('rolecall.units', 'rolecall.user_units', 'unit_id'),
             ('rolecall.tenants', 'rolecall.users', 'tenant_id')) r(lookup, relation, column_name) ON r.lookup = w.relation;

SELECT rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w WHERE w.builtin;

-- ---- Reads --------------------------------------------------------------------------------------------------

CREATE FUNCTION rolecall.me_json(uid bigint) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_json_bigint';

CREATE FUNCTION rolecall.me_json(uid uuid) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_json_uuid';

CREATE FUNCTION rolecall.me_json(uid text) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_json_text';
COMMENT ON FUNCTION rolecall.me_json(bigint) IS 'me(uid) as text, stored ready to send';
COMMENT ON FUNCTION rolecall.me_json(uuid) IS 'me(uid) as text, stored ready to send';
COMMENT ON FUNCTION rolecall.me_json(text) IS 'me(uid) as text, stored ready to send';

CREATE FUNCTION rolecall.project_json(projection name, key text) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_project_json';
COMMENT ON FUNCTION rolecall.project_json(name, text) IS 'project(projection, key) as text, stored ready to send. Needs SELECT on the projection''s view';

CREATE FUNCTION rolecall.project_many(projection name, keys text[], OUT key text, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_project_many';
COMMENT ON FUNCTION rolecall.project_many(name, text[]) IS 'the documents of many keys, in their order. Needs SELECT on the projection''s view';

CREATE FUNCTION rolecall.me_many(uids bigint[], OUT uid bigint, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';

CREATE FUNCTION rolecall.me_many(uids uuid[], OUT uid uuid, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';

CREATE FUNCTION rolecall.me_many(uids text[], OUT uid text, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';
COMMENT ON FUNCTION rolecall.me_many(bigint[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';
COMMENT ON FUNCTION rolecall.me_many(uuid[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';
COMMENT ON FUNCTION rolecall.me_many(text[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';

CREATE FUNCTION rolecall.me_by_email(email text, tenant uuid DEFAULT NULL) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_by_email';
COMMENT ON FUNCTION rolecall.me_by_email(text, uuid) IS 'the user with this e-mail address, in this tenant; NULL when there is none, an error when there are several';

CREATE FUNCTION rolecall.current_uid() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_current_uid';
COMMENT ON FUNCTION rolecall.current_uid() IS 'the user on whose behalf the session acts: rolecall.uid, or member sub of request.jwt.claims; NULL when neither is set';

CREATE FUNCTION rolecall.me() RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_current';
COMMENT ON FUNCTION rolecall.me() IS 'the user on whose behalf the session acts; NULL when there is none';

CREATE FUNCTION rolecall.has_role(role text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_has_role_current';
COMMENT ON FUNCTION rolecall.has_role(text) IS 'does the user on whose behalf the session acts hold this role on any scope?';

-- ---- Statistics ---------------------------------------------------------------------------------------------

CREATE FUNCTION rolecall.projection_statistics(
    ids bigint[], OUT id bigint, OUT entries bigint, OUT bytes bigint, OUT hits bigint, OUT misses bigint,
    OUT bypassed_off bigint, OUT bypassed_recovery bigint, OUT bypassed_snapshot bigint,
    OUT bypassed_serializable bigint, OUT bypassed_own_writes bigint,
    OUT not_installed_own_id bigint, OUT not_installed_ddl bigint, OUT not_installed_unwatched bigint,
    OUT not_installed_writers bigint, OUT not_installed_size bigint,
    OUT loads bigint, OUT evictions bigint, OUT load_ms double precision, OUT invalidations bigint, OUT invalidated_by text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_projection_statistics';
COMMENT ON FUNCTION rolecall.projection_statistics(bigint[]) IS 'counters of projections of this database, by id, since the server started; walks the cache';

CREATE VIEW rolecall.stat_projection AS
SELECT p.name AS projection, p.builtin, s.entries, s.bytes, s.hits, s.misses, s.loads, s.load_ms, s.evictions,
       s.bypassed_off, s.bypassed_recovery, s.bypassed_snapshot, s.bypassed_serializable, s.bypassed_own_writes,
       s.not_installed_own_id, s.not_installed_ddl, s.not_installed_unwatched, s.not_installed_writers, s.not_installed_size,
       s.invalidations, s.invalidated_by
FROM rolecall.projections p
JOIN rolecall.projection_statistics(ARRAY(SELECT q.id FROM rolecall.projections q)) s ON s.id = p.id;
COMMENT ON VIEW rolecall.stat_projection IS 'for each projection of this database: what is cached, and how reads were answered, since the server started';
COMMENT ON COLUMN rolecall.stat_projection.invalidations IS 'how often a change of definitions made all its documents unusable';
COMMENT ON COLUMN rolecall.stat_projection.invalidated_by IS 'the statement that did so last';

CREATE FUNCTION rolecall.load_progress(
    OUT projection bigint, OUT phase text, OUT pid integer, OUT documents_total bigint, OUT documents_read bigint,
    OUT documents_loaded bigint, OUT documents_failed bigint, OUT requested_at timestamptz, OUT started_at timestamptz,
    OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_load_progress';
COMMENT ON FUNCTION rolecall.load_progress() IS 'loads of whole projections of this database: under way, and the last of each';

CREATE VIEW rolecall.stat_progress AS
SELECT p.name AS projection, p.builtin, l.phase, l.pid, l.documents_total, l.documents_read, l.documents_loaded,
       l.documents_failed, l.requested_at, l.started_at, l.ended_at, l.message
FROM rolecall.load_progress() l
JOIN rolecall.projections p ON p.id = l.projection;
COMMENT ON VIEW rolecall.stat_progress IS 'for each projection of this database that is or was loaded as a whole: how far, and how the last load ended';
COMMENT ON COLUMN rolecall.stat_progress.documents_total IS 'as the planner estimates';
COMMENT ON COLUMN rolecall.stat_progress.message IS 'why not every document was loaded';

-- ---- Arguments of an exact type, so that no overload can win a call ------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.create_oauth_state(
    provider text, user_id bigint DEFAULT NULL, ttl interval DEFAULT '10 minutes',
    pkce text DEFAULT NULL, nonce text DEFAULT NULL, redirect_uri text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    state CONSTANT text = rolecall.random_token();
    now CONSTANT timestamptz = clock_timestamp();
BEGIN
    PERFORM rolecall.require_oauth_provider(provider);
    PERFORM rolecall.require_ttl(ttl, interval '1 day');
    IF user_id IS NOT NULL THEN
        PERFORM rolecall.require_active_user(user_id);
    END IF;
    INSERT INTO rolecall.oauth_states (state, provider, user_id, created_at, expires_at, pkce, nonce, redirect_uri)
    VALUES (encode(sha256(state::bytea), 'hex'), provider, user_id, now, now + ttl, pkce, nonce, redirect_uri);
    RETURN state;
END
$$;

CREATE OR REPLACE FUNCTION rolecall.issue_refresh_token(uid bigint, ttl interval DEFAULT '30 days') RETURNS rolecall.issued_token
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rolecall.require_ttl(ttl, interval '10 years');
    PERFORM rolecall.require_active_user(uid);
    RETURN rolecall.put_refresh_token(uid, gen_random_uuid(), ttl);
END
$$;

CREATE OR REPLACE FUNCTION rolecall.ask_for_sync(uid bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM rolecall.users WHERE id = uid AND provider IS NOT NULL AND institutional_id IS NOT NULL) THEN
        PERFORM rolecall.trigger_role_sync_for_user(uid, false);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = format('could not ask for a role sync of user %s', uid), DETAIL = SQLERRM;
END
$$;

CREATE OR REPLACE FUNCTION rolecall.revoke_refresh_token(token text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hash bytea;
    login uuid;
BEGIN
    IF NOT rolecall.is_token(token) THEN
        RETURN false;
    END IF;
    hash := sha256(token::bytea);
    SELECT t.family INTO login FROM rolecall.refresh_tokens t WHERE t.token_hash = hash;
    RETURN FOUND AND rolecall.revoke_tokens(login, NULL::bigint) > 0;
END
$$;

CREATE OR REPLACE FUNCTION rolecall.revoke_refresh_tokens(uid bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM rolecall.users WHERE id = uid;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'RC001', MESSAGE = 'user not found';
    END IF;
    RETURN rolecall.revoke_tokens(NULL::uuid, uid);
END
$$;

CREATE OR REPLACE FUNCTION rolecall.end_logins() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rolecall.revoke_tokens(NULL::uuid, NEW.id);
    RETURN NULL;
END
$$;

-- ---- Authentication ------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.require_oauth_provider(provider text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] = regexp_split_to_array(btrim(current_setting('rolecall.oauth_providers')), '[[:space:]]*,[[:space:]]*');
BEGIN
    IF coalesce(provider, '') = '' OR (known <> '{""}' AND provider <> ALL (known)) THEN
        RAISE EXCEPTION USING ERRCODE = 'RC201', MESSAGE = format('unknown OAuth provider %s', coalesce(quote_ident(left(provider, 50)), 'NULL')),
            HINT = 'Known ones stand in rolecall.oauth_providers.';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION rolecall.revoke_tokens(of_family uuid, of_user bigint) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_revoke_tokens';

CREATE OR REPLACE FUNCTION rolecall.refresh(token text) RETURNS rolecall.issued_token
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grace CONSTANT interval = current_setting('rolecall.refresh_grace');
    hash bytea;
    old rolecall.refresh_tokens;
    message CONSTANT text = 'invalid or expired refresh token';
BEGIN
    IF coalesce(token, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'RC301', MESSAGE = 'not authenticated', DETAIL = 'There is no refresh token.';
    ELSIF NOT rolecall.is_token(token) THEN
        RAISE EXCEPTION USING ERRCODE = 'RC302', MESSAGE = 'invalid refresh token', DETAIL = 'It does not have the form of one.';
    END IF;
    hash := sha256(token::bytea);
    -- Who refreshes the same token waits here, and sees then what became of it. A lock on the row would stand in the way
    -- of revoking the family.
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(hash, 'hex'), 0));
    SELECT * INTO old FROM rolecall.refresh_tokens t WHERE t.token_hash = hash;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'RC303', MESSAGE = message, DETAIL = 'It is not known.';
    ELSIF old.revoked THEN
        RAISE EXCEPTION USING ERRCODE = 'RC305', MESSAGE = message, DETAIL = 'It was revoked.';
    ELSIF old.expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION USING ERRCODE = 'RC304', MESSAGE = message, DETAIL = 'It has expired.';
    ELSIF clock_timestamp() NOT BETWEEN old.rotated_at - grace AND old.rotated_at + grace THEN
        PERFORM rolecall.revoke_family_durably(old.family);
        RAISE EXCEPTION USING ERRCODE = 'RC306', MESSAGE = message,
            DETAIL = 'It was used before, so that somebody else may have it: all tokens of this login are revoked.', HINT = 'Log in again.';
    END IF;
    PERFORM rolecall.require_active_user(old.user_id);
    UPDATE rolecall.refresh_tokens t SET rotated_at = coalesce(t.rotated_at, clock_timestamp()) WHERE t.id = old.id AND NOT t.revoked;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'RC305', MESSAGE = message, DETAIL = 'It was revoked.';
    END IF;
    PERFORM rolecall.ask_for_sync(old.user_id);
    RETURN rolecall.put_refresh_token(old.user_id, old.family, old.expires_at - old.created_at);
END
$$;

ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER end_logins;

-- ---- Privileges of what is new ------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION
    rolecall.touch_user(bigint),
    rolecall.mark_stale(text, timestamptz, timestamptz, bigint),
    rolecall.change_context(bigint),
    rolecall.trim_role_changes(timestamptz, bigint),
    rolecall.notify_changes(),
    rolecall.provider_size(text),
    rolecall.count_revocation(text, bigint, bigint, bigint, double precision, bigint, interval, timestamptz, boolean),
    rolecall.revocations_since(text, timestamptz),
    rolecall.is_replication(),
    rolecall.why_no_calls(),
    rolecall.allow_providers(),
    rolecall.forbid_providers(),
    rolecall.sync_locks(),
    rolecall.sync_lock_key(text),
    rolecall.row_holders(bigint),
    rolecall.held_up(),
    rolecall.slot_statistics(),
    rolecall.stop_provider(text, bigint, bigint, bigint, bigint, bigint),
    rolecall.resume_provider(text),
    rolecall.is_held_without(text, bigint, text[], text[], boolean, boolean),
    rolecall.protection(text, bigint, text[], text[], boolean, boolean),
    rolecall.sync_provider(text),
    rolecall.apply_provider_event(text, jsonb),
    rolecall.random_id(),
    rolecall.projection_dropped(),
    rolecall.view_by_name(bigint),
    rolecall.is_distributed(regclass),
    rolecall.require_directory(),
    rolecall.stray_watch_triggers(),
    rolecall.members_of(regclass),
    rolecall.put_watch_triggers(bigint, regclass),
    rolecall.watch_member(regclass),
    rolecall.projection_problems(name),
    rolecall.drop_watch_triggers(bigint, regclass),
    rolecall.restore_watch(),
    rolecall.application_projection(name),
    rolecall.add_watch(name, regclass, boolean, name),
    rolecall.watch(name, regclass, name),
    rolecall.watch_lookup(name, regclass, name, jsonb),
    rolecall.unwatch(name, regclass, name),
    rolecall.create_projection(name, regclass, name, name, interval, boolean, jsonb),
    rolecall.drop_projection(name),
    rolecall.repair_projection(name),
    rolecall.check_projections(),
    rolecall.reload(name),
    rolecall.cancel_load(bigint),
    rolecall.cancel_reload(name),
    rolecall.load_progress(),
    rolecall.invalidate(name, text),
    rolecall.cache_entry(name, text),
    rolecall.me_json(bigint),
    rolecall.me_json(uuid),
    rolecall.me_json(text),
    rolecall.project_json(name, text),
    rolecall.project_many(name, text[]),
    rolecall.me_many(bigint[]),
    rolecall.me_many(uuid[]),
    rolecall.me_many(text[]),
    rolecall.me_by_email(text, uuid),
    rolecall.current_uid(),
    rolecall.me(),
    rolecall.has_role(text),
    rolecall.projection_statistics(bigint[])
FROM PUBLIC;
REVOKE ALL ON rolecall.watch_references, rolecall.home, rolecall.stat_slots, rolecall.stat_held_up, rolecall.revocations, rolecall.open_revocations, rolecall.stopped_providers, rolecall.stat_projection, rolecall.stat_progress FROM PUBLIC;
REVOKE ALL ON TYPE rolecall.oauth_state, rolecall.issued_token, rolecall.role_sync_result FROM PUBLIC;

-- Nothing is granted to PUBLIC, nor by default privileges of whoever installs. Recipes for roles stand in
-- docs/operations.md. Only what was made just now: what there was before an update has what administrators granted.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT o.kind, o.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        CROSS JOIN LATERAL (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relowner,
                   coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
            FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'FUNCTION', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
            FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
            UNION ALL
            SELECT 'TYPE', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid
            WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typcategory <> 'A' AND coalesce(r.relkind = 'c', true)  -- not those of tables
        ) o(kind, name, owner, acl)
        CROSS JOIN LATERAL aclexplode(o.acl) a
        WHERE e.extname = 'rolecall' AND a.grantee <> o.owner
          AND CASE WHEN age(d.xmin) <= 0 THEN pg_xact_status((pg_current_xact_id()::text::bigint - age(d.xmin))::text::xid8) = 'in progress' END
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;
END
$$;

GRANT SELECT ON rolecall.stat_held_up, rolecall.stat_projection, rolecall.stat_progress, rolecall.stat_slots TO pg_monitor;
GRANT EXECUTE ON FUNCTION rolecall.projection_statistics(bigint[]), rolecall.load_progress(), rolecall.held_up(), rolecall.slot_statistics(), rolecall.why_no_calls() TO pg_monitor;

-- Workers do nothing as long as library and SQL differ: they may begin.
SELECT rolecall.wake_worker();

-- What reads cost, for the planner.
ALTER FUNCTION rolecall.me(bigint) COST 25;
ALTER FUNCTION rolecall.me(uuid) COST 25;
ALTER FUNCTION rolecall.me(text) COST 25;
ALTER FUNCTION rolecall.me_json(bigint) COST 25;
ALTER FUNCTION rolecall.me_json(uuid) COST 25;
ALTER FUNCTION rolecall.me_json(text) COST 25;
ALTER FUNCTION rolecall.has_role(bigint, text) COST 10;
ALTER FUNCTION rolecall.has_role(uuid, text) COST 10;
ALTER FUNCTION rolecall.has_role(text, text) COST 10;
ALTER FUNCTION rolecall.has_role(bigint, text, text, text) COST 10;
ALTER FUNCTION rolecall.has_role(uuid, text, text, text) COST 10;
ALTER FUNCTION rolecall.has_role(text, text, text, text) COST 10;
ALTER FUNCTION rolecall.auth_projection(bigint) COST 25;
ALTER FUNCTION rolecall.auth_projection(uuid) COST 25;
ALTER FUNCTION rolecall.auth_projection(text) COST 25;
ALTER FUNCTION rolecall.require_user(bigint) COST 25;
ALTER FUNCTION rolecall.require_user(uuid) COST 25;
ALTER FUNCTION rolecall.require_user(text) COST 25;
ALTER FUNCTION rolecall.project(name, text) COST 25;
ALTER FUNCTION rolecall.project_json(name, text) COST 25;
ALTER FUNCTION rolecall.me() COST 25;
ALTER FUNCTION rolecall.has_role(text) COST 10;
