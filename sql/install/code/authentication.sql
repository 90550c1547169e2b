-- What a login leaves behind: states of OAuth flows under way, and refresh tokens. Of both only hashes are stored, and
-- only hashes reach statements, errors and statistics.

CREATE OR REPLACE FUNCTION rolecall.random_token() RETURNS text
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_random_token';
COMMENT ON FUNCTION rolecall.random_token() IS '32 random bytes as 43 characters of URL-safe base64';

CREATE OR REPLACE FUNCTION rolecall.is_token(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
RETURN coalesce(value COLLATE "C" ~ '^[A-Za-z0-9_-]{43}$', false);
COMMENT ON FUNCTION rolecall.is_token(text) IS 'does the value have the shape of what random_token() returns?';

-- ---- OAuth states --------------------------------------------------------------------------------------------------

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
COMMENT ON FUNCTION rolecall.require_oauth_provider(text) IS 'error RC201, unless rolecall.oauth_providers is empty or names the provider';

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
COMMENT ON FUNCTION rolecall.create_oauth_state(text, bigint, interval, text, text, text) IS 'begins an OAuth flow: a new state, which can be consumed once';

CREATE OR REPLACE FUNCTION rolecall.take_oauth_state(state text, provider text) RETURNS rolecall.oauth_state
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    taken rolecall.oauth_state;
BEGIN
    PERFORM rolecall.require_oauth_provider(provider);
    IF rolecall.is_token(state) THEN
        -- Of several at once, one finds the row: the others wait for it, and see that it is gone.
        DELETE FROM rolecall.oauth_states s
        WHERE s.state = encode(sha256(take_oauth_state.state::bytea), 'hex') AND s.provider = take_oauth_state.provider
          AND s.expires_at > clock_timestamp()
        RETURNING s.provider, s.user_id, s.created_at, s.expires_at, s.pkce, s.nonce, s.redirect_uri INTO taken;
    END IF;
    RETURN taken;
END
$$;
COMMENT ON FUNCTION rolecall.take_oauth_state(text, text) IS 'consumes a state; NULLs when it is not there, expired, or another provider''s';

CREATE OR REPLACE FUNCTION rolecall.validate_and_consume_oauth_state(state text, provider text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (rolecall.take_oauth_state(state, provider)).provider IS NOT NULL;
END
$$;
COMMENT ON FUNCTION rolecall.validate_and_consume_oauth_state(text, text) IS 'true exactly once for each state; false, and nothing consumed, when it is expired or another provider''s';

CREATE OR REPLACE FUNCTION rolecall.consume_oauth_state(state text, provider text) RETURNS rolecall.oauth_state
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taken CONSTANT rolecall.oauth_state = rolecall.take_oauth_state(state, provider);
BEGIN
    IF taken.provider IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'RC202', MESSAGE = 'invalid OAuth state',
            DETAIL = 'It is unknown, used, expired, or another provider''s.', HINT = 'Begin the login again.';
    END IF;
    RETURN taken;
END
$$;
COMMENT ON FUNCTION rolecall.consume_oauth_state(text, text) IS 'the same, and returns what was kept with the state; error RC202 instead of false';

CREATE OR REPLACE FUNCTION rolecall.cleanup_expired_oauth_states(most bigint DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM rolecall.oauth_states WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM rolecall.oauth_states WHERE expires_at <= clock_timestamp()
            ORDER BY expires_at LIMIT most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION rolecall.cleanup_expired_oauth_states(bigint) IS 'removes expired states, and returns how many; the worker does so by itself';

-- ---- Refresh tokens ------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.require_ttl(ttl interval, most interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF ttl IS NULL OR ttl <= interval '0' OR ttl > most THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'invalid ttl', DETAIL = format('It must be positive, and %s at most.', most);
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.require_ttl(interval, interval) IS 'error 22023 for a lifetime that cannot be meant';

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
COMMENT ON FUNCTION rolecall.require_active_user(bigint) IS 'error RC001 or RC002, unless the user is there and active';

CREATE OR REPLACE FUNCTION rolecall.put_refresh_token(uid bigint, family uuid, ttl interval) RETURNS rolecall.issued_token
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    token CONSTANT text = rolecall.random_token();
    now CONSTANT timestamptz = clock_timestamp();
BEGIN
    INSERT INTO rolecall.refresh_tokens (user_id, token_hash, family, created_at, expires_at)
    VALUES (uid, sha256(token::bytea), family, now, now + ttl);
    RETURN (uid, token, now + ttl);
END
$$;
COMMENT ON FUNCTION rolecall.put_refresh_token(bigint, uuid, interval) IS 'a new token of a family';

CREATE OR REPLACE FUNCTION rolecall.issue_refresh_token(uid bigint, ttl interval DEFAULT '30 days') RETURNS rolecall.issued_token
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rolecall.require_ttl(ttl, interval '10 years');
    PERFORM rolecall.require_active_user(uid);
    RETURN rolecall.put_refresh_token(uid, gen_random_uuid(), ttl);
END
$$;
COMMENT ON FUNCTION rolecall.issue_refresh_token(bigint, interval) IS 'a refresh token for a user who has just logged in';

-- Again until nothing is left: a token that is being rotated makes us wait, and then it has a successor. That is seen by
-- the next statement, for it comes to be in the transaction that we waited for. Each is under a snapshot of its own, whatever
-- the isolation level: a token that was issued since the transaction began is revoked like the others.
CREATE OR REPLACE FUNCTION rolecall.revoke_tokens(of_family uuid, of_user bigint) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_revoke_tokens';
COMMENT ON FUNCTION rolecall.revoke_tokens(uuid, bigint) IS 'revokes all tokens of a family, or of a user; returns how many';

CREATE OR REPLACE FUNCTION rolecall.revoke_family_durably(family uuid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_revoke_family_durably';
COMMENT ON FUNCTION rolecall.revoke_family_durably(uuid) IS 'the same in a transaction of its own, in a background worker: an error that follows does not take it back';

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
COMMENT ON FUNCTION rolecall.ask_for_sync(bigint) IS 'asks for a role sync, and is never the reason for an error';

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
COMMENT ON FUNCTION rolecall.refresh(text) IS 'replaces a refresh token by a new one, and asks for a role sync; a token that is used again revokes its family';

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
COMMENT ON FUNCTION rolecall.revoke_refresh_token(text) IS 'ends the login that a token belongs to; false: there was nothing to end';

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
COMMENT ON FUNCTION rolecall.revoke_refresh_tokens(bigint) IS 'ends every login of a user; returns how many tokens that were';

CREATE OR REPLACE FUNCTION rolecall.cleanup_expired_refresh_tokens(most bigint DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM rolecall.refresh_tokens WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM rolecall.refresh_tokens WHERE expires_at <= clock_timestamp()
            ORDER BY expires_at LIMIT most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION rolecall.cleanup_expired_refresh_tokens(bigint) IS 'removes expired tokens, and returns how many; the worker does so by itself';

CREATE OR REPLACE FUNCTION rolecall.end_logins() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM rolecall.revoke_tokens(NULL::uuid, NEW.id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.end_logins() IS 'revokes the refresh tokens of a user who is deactivated';

CREATE OR REPLACE TRIGGER end_logins AFTER UPDATE OF is_active ON rolecall.users
FOR EACH ROW WHEN (OLD.is_active AND NOT NEW.is_active) EXECUTE FUNCTION rolecall.end_logins();
ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER end_logins;
