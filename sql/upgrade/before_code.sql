-- Triggers as they are before those of the install script take their places: CREATE OR REPLACE TRIGGER forgets whether one was
-- disabled, or fires always, and would take one of somebody else's that has the same name. after_code.sql reads this.
SELECT set_config('rolecall_upgrade.triggers', coalesce(jsonb_agg(jsonb_build_object(
    'id', t.oid, 'enabled', t.tgenabled, 'function', t.tgfoid,
    'own', EXISTS (SELECT FROM pg_depend f WHERE (f.classid, f.objid, f.deptype, f.refobjid) = ('pg_proc'::regclass, t.tgfoid, 'e', e.oid)))), '[]')::text, true)
FROM pg_extension e
JOIN pg_depend d ON (d.classid, d.deptype, d.refclassid, d.refobjid) = ('pg_class'::regclass, 'e', 'pg_extension'::regclass, e.oid)
JOIN pg_trigger t ON t.tgrelid = d.objid AND NOT t.tgisinternal
WHERE e.extname = 'rolecall';
