-- me(), has_role(), auth_projection(), require_user(), project(): the answers, whoever gives them.
SET client_min_messages = warning;

INSERT INTO rolecall.tenants (id, slug, name) VALUES ('00000000-0000-0000-0000-00000000000a', 'epsilon', 'Epsilon');
INSERT INTO rolecall.roles (name, priority) VALUES ('reader', 50), ('editor', 20), ('admin', 10), ('a "quoted" rôle', 99);
INSERT INTO rolecall.units (institutional_id, institutional_code, name) VALUES ('u1', 'ONE', 'Unit One'), ('u2', 'TWO', 'Unit Two');
INSERT INTO rolecall.users (id, external_id, tenant_id, email, display_name, function, is_superuser, metadata)
VALUES (1, 'ext-1', '00000000-0000-0000-0000-00000000000a', 'ada@example.org', 'Ada', 'Analyst', true, '{"theme": "dark"}'),
       (2, NULL, NULL, 'bob@example.org', NULL, NULL, false, '{}'),
       (3, NULL, NULL, 'eve@example.org', NULL, NULL, false, '{}');
UPDATE rolecall.users SET is_active = false WHERE id = 3;
-- An INSERT of (user_id, role) alone is a local, global grant.
INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'admin'), (3, 'admin'), (2, 'a "quoted" rôle');
INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id) VALUES
    (1, 'reader', 'institutional', 'u1'), (1, 'editor', 'affiliation', 'team@x'), (2, 'reader', 'institutional', 'u2');
-- The same grant from both sources is one role in the document.
INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id, source) VALUES (1, 'reader', 'institutional', 'u1', 'provider');
INSERT INTO rolecall.user_units (user_id, unit_id, role) SELECT 1, id, 'reader' FROM rolecall.units WHERE institutional_id = 'u1';

-- 002-9: one call for everything
SELECT jsonb_pretty(rolecall.me(1));
SELECT rolecall.me(2) -> 'roles' AS roles, rolecall.me(2) -> 'units' AS units;

-- Miss, hit, and the text form agree.
SELECT rolecall.me(1) = rolecall.me(1) AS again, rolecall.me(1) = rolecall.me('1') AS text, rolecall.me(1) = rolecall.me(' 1 ') AS spaces;
SELECT rolecall.me(1) = (SELECT doc FROM rolecall.me_view WHERE uid = 1) AS as_view;


-- The same as text, made, stored, and read again; it follows a change.
SELECT rolecall.me_json(1)::jsonb = rolecall.me(1) AS made, rolecall.me_json(1)::jsonb = rolecall.me(1) AS stored,
       rolecall.me_json(1)::text = rolecall.me(1)::text AS same_bytes, pg_typeof(rolecall.me_json('1')) AS type;
SELECT rolecall.project_json('me', '1')::jsonb = rolecall.me(1) AS project;
UPDATE rolecall.users SET display_name = 'Bob "B" Ω' WHERE id = 2;
SELECT rolecall.me_json(2) ->> 'display_name' AS name;
UPDATE rolecall.users SET display_name = NULL WHERE id = 2;
SELECT rolecall.me_json(2) ->> 'display_name' AS name, rolecall.me_json(999) IS NULL AS unknown, rolecall.me_json(999) IS NULL AS still_unknown;

-- Nobody
SELECT rolecall.me(999) IS NULL AS unknown, rolecall.me(999) IS NULL AS still_unknown, rolecall.me(NULL::bigint) IS NULL AS "null";
SELECT rolecall.me((-1)::bigint) IS NULL AS negative, rolecall.me(9223372036854775807) IS NULL AS largest;
SELECT rolecall.me('abc');
\echo :LAST_ERROR_SQLSTATE
SELECT rolecall.me('');
\echo :LAST_ERROR_SQLSTATE
SELECT rolecall.me('9223372036854775808');
\echo :LAST_ERROR_SQLSTATE
SELECT rolecall.me('00000000-0000-0000-0000-00000000000a'::uuid);
\echo :LAST_ERROR_SQLSTATE

-- has_role: any scope; that scope or global; kinds
SELECT rolecall.has_role(1, 'admin') AS global, rolecall.has_role(1, 'reader') AS somewhere, rolecall.has_role(1, 'nothing') AS none;
SELECT rolecall.has_role(1, 'reader', 'u1') AS on_unit, rolecall.has_role(1, 'reader', 'u2') AS on_other,
       rolecall.has_role(1, 'admin', 'u2') AS global_covers, rolecall.has_role(1, 'reader', 'u1', 'affiliation') AS other_kind,
       rolecall.has_role(1, 'editor', 'team@x', 'affiliation') AS affiliation, rolecall.has_role(1, 'editor', 'team@x') AS not_institutional;
SELECT rolecall.has_role(2, 'a "quoted" rôle') AS odd_name, rolecall.has_role(2, 'a "quoted" role') AS other_name,
       rolecall.has_role(2, 'A "QUOTED" RÔLE') AS other_case, rolecall.has_role(1, '') AS empty, rolecall.has_role(1, 'admi') AS prefix;
SELECT rolecall.has_role('1', 'admin') AS text, rolecall.has_role(NULL::bigint, 'admin') AS null_user, rolecall.has_role(1, NULL) AS null_role,
       rolecall.has_role(1, 'reader', NULL) AS null_scope, rolecall.has_role(1, 'reader', 'u1', NULL) AS null_kind;
-- An inactive or missing user has no role; being superuser implies none.
SELECT rolecall.has_role(3, 'admin') AS inactive, rolecall.has_role(999, 'admin') AS missing, rolecall.has_role(1, 'editor', 'u1') AS superuser;
SELECT rolecall.has_role('x', 'admin');
\echo :LAST_ERROR_SQLSTATE

-- A user of an inactive tenant is inactive.
UPDATE rolecall.tenants SET is_active = false;
SELECT rolecall.has_role(1, 'admin'), rolecall.me(1) -> 'is_active' AS is_active;
UPDATE rolecall.tenants SET is_active = true;
SELECT rolecall.has_role(1, 'admin'), rolecall.me(1) -> 'is_active' AS is_active;

-- 002-1
SELECT * FROM rolecall.auth_projection(1);
SELECT * FROM rolecall.auth_projection('2');
SELECT pg_typeof((rolecall.auth_projection('2')).id) AS text_id, pg_typeof((rolecall.auth_projection(2)).id) AS bigint_id;
SELECT rolecall.auth_projection(999) IS NULL AS unknown;
-- 002-2
SELECT * FROM rolecall.require_user(1);
SELECT * FROM rolecall.require_user(3);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rolecall.require_user(999);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM rolecall.require_user(NULL::bigint);
\echo :LAST_ERROR_SQLSTATE

SELECT rolecall.project('me', '1') = rolecall.me(1) AS projected, rolecall.project('me', '999') IS NULL AS unknown;
SELECT rolecall.project('me', 'x');
\echo :LAST_ERROR_SQLSTATE
SELECT rolecall.project('nothing', '1');
\echo :LAST_ERROR_SQLSTATE

SELECT rolecall.user_id('ext-1'), rolecall.user_id('ext-2') IS NULL AS unknown, rolecall.user_id(NULL) IS NULL AS "null";

-- A first login is not served as if it were complete. 001-2
SELECT rolecall.me(2) -> 'roles_synced' AS roles_synced;

-- Documents that break the contract of has_role() say so; the document itself is still served.
BEGIN;
CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT id AS uid, '{"roles": [{"role": "admin", "on": {"a": "1", "b": "2"}}]}'::jsonb AS doc, NULL::timestamptz AS valid_from, NULL::timestamptz AS valid_until,
       email, tenant_id
FROM rolecall.users;
SELECT rolecall.me(1);
SELECT rolecall.has_role(1, 'admin');
ROLLBACK;
SELECT rolecall.has_role(1, 'admin');

-- Planner: what depends on no row is asked once, and what does comes after cheaper conditions.
EXPLAIN (COSTS OFF) SELECT FROM rolecall.tenants WHERE rolecall.has_role(1, 'admin');
EXPLAIN (COSTS OFF) SELECT FROM rolecall.tenants WHERE rolecall.has_role(1, 'reader', slug) AND is_active;
