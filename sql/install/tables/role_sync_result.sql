CREATE TYPE rolecall.role_sync_result AS (
    user_id bigint,
    has_changed boolean,
    roles_changed boolean,
    units_changed boolean,
    skipped_due_to_ttl boolean,
    old_roles jsonb,
    new_roles jsonb
);
COMMENT ON TYPE rolecall.role_sync_result IS 'what a sync did';
