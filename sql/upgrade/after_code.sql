-- Each trigger that was there fires as it did before: an administrator may have disabled it, and where a restore left triggers of
-- rolecall.users that do not fire always, providers are not called. New triggers fire as the install script says.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT n.tgrelid::regclass AS relation, n.tgname AS name, n.tgfoid <> was.function AND NOT was.own AS taken,
               CASE was.enabled WHEN 'O' THEN 'ENABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END AS action
        FROM jsonb_to_recordset(current_setting('rolecall_upgrade.triggers')::jsonb) AS was(id oid, enabled "char", function oid, own boolean)
        JOIN pg_trigger n ON n.oid = was.id
        WHERE n.tgenabled <> was.enabled OR n.tgfoid <> was.function
    LOOP
        IF t.taken THEN
            RAISE EXCEPTION 'trigger "%" of table % is not of the extension', t.name, t.relation
                USING ERRCODE = 'duplicate_object', DETAIL = 'The new version has a trigger of this name.',
                      HINT = format('Use ALTER TRIGGER %I ON %s RENAME TO another name.', t.name, t.relation);
        END IF;
        EXECUTE format('ALTER TABLE %s %s TRIGGER %I', t.relation, t.action, t.name);
    END LOOP;
END
$$;
