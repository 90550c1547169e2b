-- The audit: each grant that was added or removed, whatever did it.

CREATE OR REPLACE FUNCTION rolecall.change_context(user_id bigint, OUT changed_by text, OUT cause text, OUT provider text, OUT request_id text)
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
COMMENT ON FUNCTION rolecall.record_role_changes() IS 'writes the audit';

CREATE OR REPLACE TRIGGER record_inserts AFTER INSERT ON rolecall.user_roles
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.record_role_changes();
CREATE OR REPLACE TRIGGER record_updates AFTER UPDATE ON rolecall.user_roles
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.record_role_changes();
CREATE OR REPLACE TRIGGER record_deletes AFTER DELETE ON rolecall.user_roles
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.record_role_changes();
CREATE OR REPLACE TRIGGER record_truncate BEFORE TRUNCATE ON rolecall.user_roles
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.record_role_changes();
ALTER TABLE rolecall.user_roles ENABLE ALWAYS TRIGGER record_inserts, ENABLE ALWAYS TRIGGER record_updates,
    ENABLE ALWAYS TRIGGER record_deletes, ENABLE ALWAYS TRIGGER record_truncate;

CREATE OR REPLACE FUNCTION rolecall.trim_role_changes(before timestamptz, most bigint DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (
        DELETE FROM rolecall.role_changes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM rolecall.role_changes WHERE changed_at < before
            ORDER BY changed_at LIMIT most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION rolecall.trim_role_changes(timestamptz, bigint) IS 'removes what is older from the audit, and returns how many rows; the worker does so by rolecall.audit_retention';

-- ---- NOTIFY --------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.notify_changes() RETURNS trigger
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

CREATE OR REPLACE TRIGGER notify_changes AFTER INSERT ON rolecall.role_changes
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION rolecall.notify_changes();
CREATE OR REPLACE TRIGGER notify_changes AFTER UPDATE OF is_active ON rolecall.users
FOR EACH ROW WHEN (OLD.is_active <> NEW.is_active) EXECUTE FUNCTION rolecall.notify_changes();
