-- What syncs may not do: take a protected role from its last holder. (The brake: test/tap/011_safety.pl.)
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = error;
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(38);

CREATE SERVER tap_hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', protected_roles ' admin, owner ,admin');
INSERT INTO rolecall.roles (name) VALUES ('admin'), ('owner'), ('reader');
INSERT INTO rolecall.tenants (id, slug, name) VALUES ('00000000-0000-0000-0000-000000000001', 'tap', 'Tap');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, g || '@example.org', 'tap_hr', g FROM generate_series(9001, 9009) g;

-- A sync of a user, with these roles; what the user holds then.
CREATE FUNCTION pg_temp.sync(uid bigint, VARIADIC roles text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rolecall.sync_user_roles(uid, jsonb_build_object('roles', roles), true);
    RETURN (SELECT coalesce(string_agg(role || CASE WHEN scope_kind <> 'global' THEN '@' || scope_id ELSE '' END, ' ' ORDER BY role, scope_id), '')
            FROM rolecall.user_roles WHERE user_id = uid AND source = 'provider');
END $$;
CREATE FUNCTION pg_temp.loses(uid bigint) RETURNS boolean LANGUAGE sql AS $$
    SELECT pg_temp.sync(uid, 'admin') = 'admin' AND pg_temp.sync(uid, VARIADIC '{}') = '' $$;

SELECT is(pg_temp.sync(9001, 'admin', 'owner', 'reader'), 'admin owner reader', 'the only holder');
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), 'admin owner', 'keeps what is protected, and nothing else');
SELECT is((SELECT new_roles::text FROM rolecall.sync_user_roles(9001, '{"roles": []}', true)),
    '[{"on": "global", "role": "admin"}, {"on": "global", "role": "owner"}]', 'the result says what the user holds');
SELECT ok(rolecall.has_role(9001, 'admin'), 'has_role() too');
SELECT ok((SELECT attempts = 0 AND last_error IS NULL AND last_roles_sync_at IS NOT NULL FROM rolecall.sync_state WHERE user_id = 9001), 'which is no failure');
SELECT is(pg_temp.sync(9002, 'owner'), 'owner', 'a second owner');
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), 'admin', 'the first is not needed any more');
SELECT is(pg_temp.sync(9002, VARIADIC '{}'), 'owner', 'the second is');
SELECT is(pg_temp.sync(9002, 'reader'), 'owner reader', 'other roles come ...');
SELECT is(pg_temp.sync(9002, 'owner'), 'owner', '... and go');

-- Who counts as a holder
SELECT ok(NOT pg_temp.loses(9001), 'nobody else');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9003, 'admin');
SELECT ok(pg_temp.loses(9001), 'a local holder counts');
UPDATE rolecall.user_roles SET expires_at = now() - interval '1 second' WHERE user_id = 9003;
SELECT ok(NOT pg_temp.loses(9001), 'an expired grant does not');
UPDATE rolecall.user_roles SET expires_at = now() + interval '1 hour' WHERE user_id = 9003;
SELECT ok(pg_temp.loses(9001), 'one that expires later does');
UPDATE rolecall.users SET is_active = false WHERE id = 9003;
SELECT ok(NOT pg_temp.loses(9001), 'an inactive user does not');
UPDATE rolecall.users SET is_active = true, tenant_id = '00000000-0000-0000-0000-000000000001' WHERE id = 9003;
SELECT ok(pg_temp.loses(9001), 'a user of an active tenant does');
UPDATE rolecall.tenants SET is_active = false;
SELECT ok(NOT pg_temp.loses(9001), 'a user of an inactive tenant does not');
DELETE FROM rolecall.user_roles WHERE user_id = 9003;
SELECT ok(NOT pg_temp.loses(9001), 'who is gone does not');
INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (9004, 'admin', 'provider');
SELECT ok(pg_temp.loses(9001), 'a holder by a provider counts');
DELETE FROM rolecall.user_roles WHERE user_id = 9004;
SELECT is(pg_temp.sync(9001, 'admin'), 'admin', 'the only one again');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'admin');
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), '', 'the same user by a local grant counts');
DELETE FROM rolecall.user_roles WHERE user_id = 9001;
SELECT is(pg_temp.sync(9001, 'admin'), 'admin', 'the only one again');
UPDATE rolecall.users SET is_active = false WHERE id = 9001;
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), '', 'an inactive user is no holder, and has nothing to keep');
UPDATE rolecall.users SET is_active = true WHERE id = 9001;

-- Scopes: whoever holds a role on a scope is a holder, but does not stand in for one who holds it globally.
SELECT is(pg_temp.sync(9001, 'admin@institutional:a', 'admin@institutional:b'), 'admin@a admin@b', 'admin on two units');
SELECT is(pg_temp.sync(9001, 'admin@institutional:b'), 'admin@b', 'one may go');
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), 'admin@b', 'the last may not');
SELECT is(pg_temp.sync(9002, 'admin', 'admin@institutional:c', 'owner'), 'admin admin@c owner', 'another is admin of everything');
SELECT is(pg_temp.sync(9001, VARIADIC '{}'), '', 'and stands in for the first');
SELECT is(pg_temp.sync(9001, 'admin@institutional:a'), 'admin@a', 'back again');
SELECT is(pg_temp.sync(9002, 'owner'), 'admin owner', 'the first does not stand in for the second');
SELECT is(pg_temp.sync(9004, 'admin'), 'admin', 'a third');
SELECT is(pg_temp.sync(9002, 'owner'), 'owner', '... does');

-- Without the option nothing is protected; other roles never are.
SELECT is(pg_temp.sync(9005, 'reader', 'unheard of'), 'reader unheard of', 'other roles');
SELECT is(pg_temp.sync(9005, VARIADIC '{}'), '', '... are not protected');
ALTER SERVER tap_hr OPTIONS (DROP protected_roles);
SELECT is(pg_temp.sync(9002, VARIADIC '{}'), '', 'without the option nothing is protected');

-- unknown_roles with roles given in SQL
ALTER SERVER tap_hr OPTIONS (ADD unknown_roles 'error');
SELECT throws_ok($$SELECT rolecall.sync_user_roles(9006, '{"roles": ["reader", "nonesuch"]}', true)$$, 'RC104',
    'provider "tap_hr" gave an answer that cannot be used', 'unknown_roles: error');
ALTER SERVER tap_hr OPTIONS (SET unknown_roles 'skip');
SELECT is(pg_temp.sync(9006, 'reader', 'nonesuch'), 'reader', 'unknown_roles: skip');
ALTER SERVER tap_hr OPTIONS (SET unknown_roles 'create');
SELECT is(pg_temp.sync(9006, 'reader', 'nonesuch'), 'nonesuch reader', 'unknown_roles: create');

SELECT * FROM finish();
ROLLBACK;
