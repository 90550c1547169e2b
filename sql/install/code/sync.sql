-- Role sync.

CREATE OR REPLACE FUNCTION rolecall.sync_user_roles(uid bigint) RETURNS rolecall.role_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_sync_user_roles';
COMMENT ON FUNCTION rolecall.sync_user_roles(bigint) IS 'asks the user''s provider for roles and applies them, unless that was done less than the TTL ago';

CREATE OR REPLACE FUNCTION rolecall.force_sync_user_roles(uid bigint) RETURNS rolecall.role_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_force_sync_user_roles';
COMMENT ON FUNCTION rolecall.force_sync_user_roles(bigint) IS 'asks the user''s provider for roles and applies them, whatever the TTL';

CREATE OR REPLACE FUNCTION rolecall.sync_user_roles(uid bigint, provider_user jsonb, force boolean DEFAULT false) RETURNS rolecall.role_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_apply_user_roles';
COMMENT ON FUNCTION rolecall.sync_user_roles(bigint, jsonb, boolean) IS 'applies roles given as {code, roles: [{role, on}]}; equals write access to grants';

CREATE OR REPLACE FUNCTION rolecall.sync_user_units(uid bigint, roles jsonb) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_sync_user_units';
COMMENT ON FUNCTION rolecall.sync_user_units(bigint, jsonb) IS 'makes a user''s memberships exactly the known units that the roles name; false: no such user';

CREATE OR REPLACE FUNCTION rolecall.trigger_role_sync_for_user(uid bigint, force boolean DEFAULT false) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_trigger_role_sync';
COMMENT ON FUNCTION rolecall.trigger_role_sync_for_user(bigint, boolean) IS 'asks the worker for a sync, which happens after the commit; never waits';

CREATE OR REPLACE FUNCTION rolecall.sync_provider(name text) RETURNS rolecall.provider_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_sync_provider';
COMMENT ON FUNCTION rolecall.sync_provider(text) IS 'goes through a provider''s list of users, and applies it';

CREATE OR REPLACE FUNCTION rolecall.apply_provider_event(server text, event jsonb) RETURNS rolecall.role_sync_result
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_apply_provider_event';
COMMENT ON FUNCTION rolecall.apply_provider_event(text, jsonb) IS 'applies what a provider sends about one user; NULL: nobody here is meant; equals write access to grants';

-- The launcher looks for this database when CREATE EXTENSION commits.
SELECT rolecall.wake_worker();
