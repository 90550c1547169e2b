-- The functions that answer from projections.

CREATE OR REPLACE FUNCTION rolecall.me(uid bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_bigint';
CREATE OR REPLACE FUNCTION rolecall.me(uid uuid) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_uuid';
CREATE OR REPLACE FUNCTION rolecall.me(uid text) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_text';
COMMENT ON FUNCTION rolecall.me(bigint) IS 'the user, with roles, units and metadata; NULL when there is no such user';
COMMENT ON FUNCTION rolecall.me(uuid) IS 'the user, with roles, units and metadata; NULL when there is no such user';
COMMENT ON FUNCTION rolecall.me(text) IS 'the user, with roles, units and metadata; NULL when there is no such user';

CREATE OR REPLACE FUNCTION rolecall.me_json(uid bigint) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_json_bigint';
CREATE OR REPLACE FUNCTION rolecall.me_json(uid uuid) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_json_uuid';
CREATE OR REPLACE FUNCTION rolecall.me_json(uid text) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_json_text';
COMMENT ON FUNCTION rolecall.me_json(bigint) IS 'me(uid) as text, stored ready to send';
COMMENT ON FUNCTION rolecall.me_json(uuid) IS 'me(uid) as text, stored ready to send';
COMMENT ON FUNCTION rolecall.me_json(text) IS 'me(uid) as text, stored ready to send';

CREATE OR REPLACE FUNCTION rolecall.has_role(uid bigint, role text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_bigint';
CREATE OR REPLACE FUNCTION rolecall.has_role(uid uuid, role text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_uuid';
CREATE OR REPLACE FUNCTION rolecall.has_role(uid text, role text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_text';
COMMENT ON FUNCTION rolecall.has_role(bigint, text) IS 'does an active user hold this role on any scope?';
COMMENT ON FUNCTION rolecall.has_role(uuid, text) IS 'does an active user hold this role on any scope?';
COMMENT ON FUNCTION rolecall.has_role(text, text) IS 'does an active user hold this role on any scope?';

CREATE OR REPLACE FUNCTION rolecall.has_role(uid bigint, role text, scope text, kind text DEFAULT 'institutional') RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_on_bigint';
CREATE OR REPLACE FUNCTION rolecall.has_role(uid uuid, role text, scope text, kind text DEFAULT 'institutional') RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_on_uuid';
CREATE OR REPLACE FUNCTION rolecall.has_role(uid text, role text, scope text, kind text DEFAULT 'institutional') RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_on_text';
COMMENT ON FUNCTION rolecall.has_role(bigint, text, text, text) IS 'does an active user hold this role on this scope, or globally?';
COMMENT ON FUNCTION rolecall.has_role(uuid, text, text, text) IS 'does an active user hold this role on this scope, or globally?';
COMMENT ON FUNCTION rolecall.has_role(text, text, text, text) IS 'does an active user hold this role on this scope, or globally?';

CREATE OR REPLACE FUNCTION rolecall.auth_projection(uid bigint, OUT id bigint, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_auth_projection_bigint';
CREATE OR REPLACE FUNCTION rolecall.auth_projection(uid uuid, OUT id uuid, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_auth_projection_uuid';
CREATE OR REPLACE FUNCTION rolecall.auth_projection(uid text, OUT id text, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_auth_projection_text';
COMMENT ON FUNCTION rolecall.auth_projection(bigint) IS 'what authentication needs of a user; NULL when there is no such user';
COMMENT ON FUNCTION rolecall.auth_projection(uuid) IS 'what authentication needs of a user; NULL when there is no such user';
COMMENT ON FUNCTION rolecall.auth_projection(text) IS 'what authentication needs of a user; NULL when there is no such user';

CREATE OR REPLACE FUNCTION rolecall.require_user(uid bigint, OUT id bigint, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_require_user_bigint';
CREATE OR REPLACE FUNCTION rolecall.require_user(uid uuid, OUT id uuid, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_require_user_uuid';
CREATE OR REPLACE FUNCTION rolecall.require_user(uid text, OUT id text, OUT tenant_id uuid, OUT email text, OUT is_active boolean, OUT is_superuser boolean)
LANGUAGE c STABLE PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_require_user_text';
COMMENT ON FUNCTION rolecall.require_user(bigint) IS 'as auth_projection, or an error: RC001 user_not_found, RC002 user_inactive';
COMMENT ON FUNCTION rolecall.require_user(uuid) IS 'as auth_projection, or an error: RC001 user_not_found, RC002 user_inactive';
COMMENT ON FUNCTION rolecall.require_user(text) IS 'as auth_projection, or an error: RC001 user_not_found, RC002 user_inactive';

CREATE OR REPLACE FUNCTION rolecall.project(projection name, key text) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_project';
COMMENT ON FUNCTION rolecall.project(name, text) IS 'the document of a key; NULL when there is none. Needs SELECT on the projection''s view';
CREATE OR REPLACE FUNCTION rolecall.project_json(projection name, key text) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_project_json';
COMMENT ON FUNCTION rolecall.project_json(name, text) IS 'project(projection, key) as text, stored ready to send. Needs SELECT on the projection''s view';

CREATE OR REPLACE FUNCTION rolecall.project_many(projection name, keys text[], OUT key text, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_project_many';
COMMENT ON FUNCTION rolecall.project_many(name, text[]) IS 'the documents of many keys, in their order. Needs SELECT on the projection''s view';

CREATE OR REPLACE FUNCTION rolecall.me_many(uids bigint[], OUT uid bigint, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';
CREATE OR REPLACE FUNCTION rolecall.me_many(uids uuid[], OUT uid uuid, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';
CREATE OR REPLACE FUNCTION rolecall.me_many(uids text[], OUT uid text, OUT doc jsonb) RETURNS SETOF record
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_me_many';
COMMENT ON FUNCTION rolecall.me_many(bigint[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';
COMMENT ON FUNCTION rolecall.me_many(uuid[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';
COMMENT ON FUNCTION rolecall.me_many(text[]) IS 'many users, one row each, in the order of the ids; doc is NULL where there is no such user';

CREATE OR REPLACE FUNCTION rolecall.me_by_email(email text, tenant uuid DEFAULT NULL) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_me_by_email';
COMMENT ON FUNCTION rolecall.me_by_email(text, uuid) IS 'the user with this e-mail address, in this tenant; NULL when there is none, an error when there are several';

-- The identity that the session set. Trustworthy only where clients cannot run statements of their own.

CREATE OR REPLACE FUNCTION rolecall.current_uid() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_current_uid';
COMMENT ON FUNCTION rolecall.current_uid() IS 'the user on whose behalf the session acts: rolecall.uid, or member sub of request.jwt.claims; NULL when neither is set';

CREATE OR REPLACE FUNCTION rolecall.me() RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE COST 25 AS 'MODULE_PATHNAME', 'rolecall_me_current';
COMMENT ON FUNCTION rolecall.me() IS 'the user on whose behalf the session acts; NULL when there is none';

CREATE OR REPLACE FUNCTION rolecall.has_role(role text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'rolecall_has_role_current';
COMMENT ON FUNCTION rolecall.has_role(text) IS 'does the user on whose behalf the session acts hold this role on any scope?';

CREATE OR REPLACE FUNCTION rolecall.user_id(external_id text) RETURNS bigint
LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT rolecall.require_directory();
    SELECT u.id FROM rolecall.users u WHERE u.external_id = user_id.external_id
$$;
COMMENT ON FUNCTION rolecall.user_id(text) IS 'the user with an application''s own id; NULL when there is none';


-- For views over texts that no constraint checks: a cast would take down the whole view.
CREATE OR REPLACE FUNCTION rolecall.try_jsonb(value text) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_try_jsonb';
COMMENT ON FUNCTION rolecall.try_jsonb(text) IS 'a text as jsonb; NULL where it is no JSON, or what jsonb cannot hold';
