-- Role sync with roles given in SQL, requirement by requirement (000-4 to 000-25).
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT plan(56);

INSERT INTO rolecall.roles (name, priority) VALUES ('reader', 30), ('editor', 20), ('admin', 10);
INSERT INTO rolecall.units (id, institutional_id, name) VALUES (9001, 'unit1', 'Unit 1'), (9002, 'unit2', 'Unit 2'), (9003, 'unit3', 'Unit 3');
INSERT INTO rolecall.users (id, email, institutional_id) VALUES (9001, 'a@example.org', '9001'), (9002, 'b@example.org', NULL);

CREATE FUNCTION pg_temp.grants(uid bigint) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(format('%s@%s:%s/%s', role, scope_kind, scope_id, source), ' ' ORDER BY role, scope_kind, scope_id, source), '')
    FROM rolecall.user_roles WHERE user_id = uid $$;
CREATE FUNCTION pg_temp.units(uid bigint) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(n.institutional_id || ':' || m.role, ' ' ORDER BY n.institutional_id), '')
    FROM rolecall.user_units m JOIN rolecall.units n ON n.id = m.unit_id WHERE user_id = uid $$;
CREATE FUNCTION pg_temp.result(r rolecall.role_sync_result) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', r.has_changed, r.roles_changed, r.units_changed, r.skipped_due_to_ttl) $$;
CREATE FUNCTION pg_temp.age(uid bigint, t interval) RETURNS void LANGUAGE sql AS $$
    UPDATE rolecall.sync_state SET last_roles_sync_at = last_roles_sync_at - t WHERE user_id = uid $$;

-- 000-4
SELECT ok((SELECT last_roles_sync_at IS NULL FROM rolecall.user_full_view WHERE user_id = 9001), '000-4: last_roles_sync_at is NULL before any sync');
-- 000-5, 000-8
SELECT is(rolecall.sync_user_roles(123456, '{"roles": []}')::text, '(123456,f,f,f,f,[],[])', '000-5, 000-8: an unknown user gives the default result');
SELECT columns_are('rolecall', 'user_full_view', ARRAY['user_id', 'external_id', 'tenant_id', 'email', 'display_name', 'function', 'provider',
    'institutional_id', 'is_active', 'is_superuser', 'roles_synced', 'roles_stale', 'roles', 'units', 'metadata', 'last_roles_sync_at'], 'user_full_view');
-- 000-6
SELECT is(current_setting('rolecall.sync_ttl'), '15min', '000-6: 15 minutes by default');

-- 000-7, 000-10, 000-13, 000-25
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"email": "a@example.org", "code": "9001", "display_name": "A", "function": "F",
    "roles": [{"role": "reader", "on": {"institutional_id": "unit1"}}, {"role": "admin", "on": {"affiliation": "x"}}, {"role": "editor", "on": "global"}]}')),
    't t t f', '000-10, 000-13: the first sync changes roles and units');
SELECT is(pg_temp.grants(9001), 'admin@affiliation:x/provider editor@global:/provider reader@institutional:unit1/provider', '000-11, 000-25: kinds of scope');
SELECT ok((SELECT last_roles_sync_at IS NOT NULL FROM rolecall.user_full_view WHERE user_id = 9001), '000-13: the time is set');
SELECT ok((rolecall.me(9001) -> 'roles_synced')::boolean, '001-2: roles_synced');
SELECT is(pg_temp.units(9001), 'unit1:reader', '000-21: units follow');

-- 000-9
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": []}')), 'f f f t', '000-9: skipped within the TTL');
SELECT is(pg_temp.grants(9001), 'admin@affiliation:x/provider editor@global:/provider reader@institutional:unit1/provider', '000-9: nothing was written');
DO $do$ BEGIN PERFORM pg_temp.age(9001, '14 minutes 59 seconds'); END $do$;
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": []}')), 'f f f t', '000-6: a second before the TTL has passed');

-- 000-11, 000-12: as sets
DO $do$ BEGIN PERFORM pg_temp.age(9001, '1 second'); END $do$;
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": ["editor@global", "admin@affiliation:x", {"role": "reader", "on": {"institutional_id": "unit1"}},
    {"role": "editor"}, {"role": "reader", "on": {"institutional_id": "unit1"}}]}')), 'f f f f', '000-11, 000-12: order, doubles and notation mean nothing');
SELECT is((SELECT jsonb_array_length(r.old_roles) || ' ' || jsonb_array_length(r.new_roles) FROM rolecall.sync_user_roles(9001, '{"roles": []}') r), '3 3', '000-12: old and new roles');
SELECT ok((SELECT last_roles_sync_at > now() - interval '1 minute' FROM rolecall.sync_state WHERE user_id = 9001), '000-12: the time is updated though nothing changed');
-- One member of the triple is enough to differ.
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": ["editor", {"role": "admin", "on": {"affiliation": "x"}}, {"role": "reader", "on": {"affiliation": "unit1"}}]}', true)),
    't t t f', '000-11: the kind counts');
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": ["editor", {"role": "admin", "on": {"affiliation": "y"}}, {"role": "reader", "on": {"affiliation": "unit1"}}]}', true)),
    't t f f', '000-11: the id counts');

-- Local grants are not touched, not even equal ones; metadata neither.
INSERT INTO rolecall.user_roles (user_id, role) VALUES (9001, 'reader'), (9001, 'editor');
SELECT is(pg_temp.result(rolecall.sync_user_roles(9001, '{"roles": []}', true)), 't t f f', 'all of the provider''s roles are gone');
SELECT is(pg_temp.grants(9001), 'editor@global:/local reader@global:/local', 'local grants are untouched');
SELECT ok(rolecall.has_role(9001, 'editor') AND NOT rolecall.has_role(9001, 'admin'), 'and count as before');

-- 000-14 to 000-18
SELECT is(rolecall.sync_user_units(123456, '[]'), false, '000-14: an unknown user gives false');
SELECT is(rolecall.sync_user_units(9001, '[{"role": "reader", "on": {"institutional_id": "unit1"}}]'), true, 'a known user gives true');
SELECT is(pg_temp.units(9001), 'unit1:reader', 'linked');
SELECT is(rolecall.sync_user_units(9001, '[{"role": "reader", "on": {"institutional_id": "unit2"}}]'), true, '000-18');
SELECT is(pg_temp.units(9001), 'unit2:reader', '000-18: in unit1, roles name only unit2: ends in exactly unit2');
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader", {"role": "admin", "on": {"affiliation": "unit1"}}]'); END $do$;
SELECT is(pg_temp.units(9001), '', '000-15: no unit in the roles: every membership goes');
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader@institutional:unit1"]'); END $do$;
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader@institutional:nowhere", "reader@institutional:elsewhere"]'); END $do$;
SELECT is(pg_temp.units(9001), '', '000-16: units named but none known: every membership goes');
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader@institutional:unit1", "admin@institutional:unit1", "editor@institutional:unit1", "editor@institutional:unit3", "reader@institutional:nowhere", "nosuchrole@institutional:unit2"]'); END $do$;
SELECT is(pg_temp.units(9001), 'unit1:admin unit3:editor', '000-17: known units with the role of the best priority; one without a known role is skipped');
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader@institutional:unit1"]'); END $do$;
SELECT is(pg_temp.units(9001), 'unit1:reader', '000-17: the role of a membership changes');
-- A unit of another provider is not meant.
INSERT INTO rolecall.units (id, provider, institutional_id, name) VALUES (9010, 'other', 'unit1', 'Unit 1 of another provider');
DO $do$ BEGIN PERFORM rolecall.sync_user_units(9001, '["reader@institutional:unit1"]'); END $do$;
SELECT is((SELECT count(*)::int FROM rolecall.user_units WHERE user_id = 9001), 1, 'units of other providers are not linked');

-- 000-21: a unit that becomes known later
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9002, '{"roles": ["reader@institutional:unit1", "editor@institutional:late"]}'); END $do$;
SELECT is(pg_temp.units(9002), 'unit1:reader', 'only known units');
INSERT INTO rolecall.units (id, institutional_id, name) VALUES (9020, 'late', 'Late');
SELECT is(pg_temp.result(rolecall.sync_user_roles(9002, '{"roles": ["reader@institutional:unit1", "editor@institutional:late"]}', true)), 't f t f', '000-21: roles equal, units changed');
SELECT is(pg_temp.units(9002), 'late:editor unit1:reader', '000-21: the unit that became known is linked');

-- Absent is not empty; malformed changes nothing.
CREATE FUNCTION pg_temp.refused(provider_user text, why text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT throws_ok(format('SELECT rolecall.sync_user_roles(9002, %L, true)', provider_user), '22023', NULL, why) $$;
SELECT pg_temp.refused('{}', 'absent is not empty');
SELECT pg_temp.refused('{"roles": null}', 'null is not empty');
SELECT pg_temp.refused('{"roles": {}}', 'an object is no array');
SELECT pg_temp.refused('{"roles": "reader"}', 'a string is no array');
SELECT pg_temp.refused('[]', 'an array is no user');
SELECT pg_temp.refused('null', 'null is no user');
SELECT pg_temp.refused('{"roles": [1]}', 'a number is no role');
SELECT pg_temp.refused('{"roles": [null]}', 'null is no role');
SELECT pg_temp.refused('{"roles": [""]}', 'an empty name');
SELECT pg_temp.refused('{"roles": ["a@b"]}', 'a scope without a kind');
SELECT pg_temp.refused('{"roles": ["a@:b"]}', 'an empty kind');
SELECT pg_temp.refused('{"roles": ["a@institutional:"]}', 'an empty scope must not become global');
SELECT pg_temp.refused('{"roles": [{"on": "global"}]}', 'a role without a name');
SELECT pg_temp.refused('{"roles": [{"role": "a", "on": null}]}', 'a null scope must not become global');
SELECT pg_temp.refused('{"roles": [{"role": "a", "on": {}}]}', 'an empty scope object must not become global');
SELECT pg_temp.refused('{"roles": [{"role": "a", "on": {"institutional_id": 5}}]}', 'a scope id that is no string');
SELECT pg_temp.refused('{"roles": [{"role": "a", "on": {"x": "1", "y": "2"}}]}', 'two scopes in one');
SELECT pg_temp.refused('{"roles": [], "code": 5}', 'a code that is no string');
SELECT throws_ok($$SELECT rolecall.sync_user_roles(9001, '{"code": "someone else", "roles": []}', true)$$, '22023', NULL, 'the answer must be about the user');
SELECT is(pg_temp.grants(9002), 'editor@institutional:late/provider reader@institutional:unit1/provider', 'nothing changed');

-- Odd names, and very many
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9002, jsonb_build_object('roles', jsonb_build_array(jsonb_build_object('role', E'tab\tquote" back\\slash \u00e9 \U0001F600 ''x''', 'on', jsonb_build_object('we"ird', E'\n')))), true); END $do$;
SELECT is(rolecall.has_role(9002, E'tab\tquote" back\\slash \u00e9 \U0001F600 ''x''', E'\n', 'we"ird'), true, 'names with every odd character');
DO $do$ BEGIN PERFORM rolecall.sync_user_roles(9002, jsonb_build_object('roles', (SELECT jsonb_agg('role ' || g || '@institutional:unit ' || g % 100) FROM generate_series(1, 10000) g)), true); END $do$;
SELECT is(rolecall.has_role(9002, 'role 9999', 'unit 99') AND NOT rolecall.has_role(9002, 'role 9999', 'unit 98'), true, '10,000 roles');
SELECT is((SELECT jsonb_array_length(old_roles) || ' ' || roles_changed FROM rolecall.sync_user_roles(9002, '{"roles": []}', true)), '10000 true', '... and none again');

SELECT * FROM finish();
ROLLBACK;
