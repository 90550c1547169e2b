-- What keeps a provider that errs from taking everybody's roles away.

-- ---- The brake -----------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.provider_size(name text, OUT grants bigint, OUT users bigint)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on AS $$
    SELECT (SELECT count(*) FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
            WHERE u.provider = name AND g.source = 'provider'),
           (SELECT count(*) FROM rolecall.users u WHERE u.provider = name AND u.is_active)
$$;
COMMENT ON FUNCTION rolecall.provider_size(text) IS 'how many grants a provider has given, and how many active users it has';

CREATE OR REPLACE FUNCTION rolecall.revocations_since(
    name text, since timestamptz,
    OUT began_at timestamptz, OUT users_affected bigint, OUT grants_revoked bigint, OUT grants bigint, OUT users_deactivated bigint, OUT users bigint,
    OUT open_users bigint, OUT open_grants bigint, OUT open_deactivated bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_revocations_since';
COMMENT ON FUNCTION rolecall.revocations_since(text, timestamptz)
IS 'the window of a provider that began since: what was added up, and what was not, of transactions that have not ended too';

-- For callers that hold the provider's lock (src/sync/revocation_limit.cpp): nobody else counts meanwhile. A transaction that may stay
-- open adds a row, and locks none.
CREATE OR REPLACE FUNCTION rolecall.count_revocation(
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

CREATE OR REPLACE FUNCTION rolecall.stop_provider(name text, affected bigint, revoked bigint, grants bigint, deactivated bigint, users bigint) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH stopped AS (
        INSERT INTO rolecall.stopped_providers (provider, users_affected, grants_revoked, grants, users_deactivated, users)
        VALUES (name, affected, revoked, grants, deactivated, users) ON CONFLICT DO NOTHING RETURNING 1)
    SELECT EXISTS (SELECT FROM stopped)
$$;
COMMENT ON FUNCTION rolecall.stop_provider(text, bigint, bigint, bigint, bigint, bigint) IS 'stops a provider''s syncs; false: they are stopped already';

CREATE OR REPLACE FUNCTION rolecall.resume_provider(name text) RETURNS boolean
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

-- ---- Protected roles -----------------------------------------------------------------------------------------------

-- Is there somebody else to hold the role, or the same user by another grant than the provider's on these scopes? Whoever it
-- is stays so until we commit: the rows are locked. Those that somebody is changing do not count.
CREATE OR REPLACE FUNCTION rolecall.is_held_without(role text, uid bigint, kinds text[], scopes text[], own boolean, globally boolean) RETURNS boolean
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
CREATE OR REPLACE FUNCTION rolecall.protection(role text, uid bigint, kinds text[], scopes text[], deactivating boolean, may_wait boolean) RETURNS text
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
