-- Notes how each trigger of the extension's tables fires, and which function it calls; after_code.sql reads it. CREATE OR REPLACE
-- TRIGGER enables a trigger that was disabled, and replaces a trigger of the same name that an administrator made.
SELECT set_config('rolecall_upgrade.triggers', coalesce(jsonb_agg(jsonb_build_object(
    'id', t.oid, 'enabled', t.tgenabled, 'function', t.tgfoid,
    'own', EXISTS (SELECT FROM pg_depend f WHERE (f.classid, f.objid, f.deptype, f.refobjid) = ('pg_proc'::regclass, t.tgfoid, 'e', e.oid)))), '[]')::text, true)
FROM pg_extension e
JOIN pg_depend d ON (d.classid, d.deptype, d.refclassid, d.refobjid) = ('pg_class'::regclass, 'e', 'pg_extension'::regclass, e.oid)
JOIN pg_trigger t ON t.tgrelid = d.objid AND NOT t.tgisinternal
WHERE e.extname = 'rolecall';
