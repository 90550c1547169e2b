-- Names below are found in pg_catalog and nowhere else, whatever is in this schema already.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION rolecall.check_installation(OUT problem text, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH extension AS (
        SELECT e.oid, e.extowner AS owner FROM pg_extension e WHERE e.extname = 'rolecall'
    ), schema AS (
        SELECT n.oid, n.nspowner AS owner, n.nspacl AS acl FROM pg_namespace n WHERE n.nspname = 'rolecall'
    ), trusted AS (
        SELECT r.oid FROM pg_roles r WHERE r.rolsuper OR r.oid = (SELECT e.owner FROM extension e)
    ), members AS (
        SELECT d.classid, d.objid FROM pg_depend d
        WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT e.oid FROM extension e) AND d.deptype = 'e'
    ), objects AS (  -- what has an owner and privileges
        SELECT m.classid, m.objid, o.owner, o.acl
        FROM members m
        CROSS JOIN LATERAL (
            SELECT c.relowner, c.relacl FROM pg_class c WHERE m.classid = 'pg_class'::regclass AND c.oid = m.objid
            UNION ALL
            SELECT p.proowner, p.proacl FROM pg_proc p WHERE m.classid = 'pg_proc'::regclass AND p.oid = m.objid
            UNION ALL
            SELECT t.typowner, t.typacl FROM pg_type t WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid
            UNION ALL
            SELECT w.fdwowner, w.fdwacl FROM pg_foreign_data_wrapper w WHERE m.classid = 'pg_foreign_data_wrapper'::regclass AND w.oid = m.objid
            UNION ALL
            SELECT t.evtowner, NULL FROM pg_event_trigger t WHERE m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid
        ) o(owner, acl)
    )
    SELECT format('schema rolecall belongs to role %s', s.owner::regrole),
           format('ALTER SCHEMA rolecall OWNER TO %s', (SELECT e.owner::regrole FROM extension e))
    FROM schema s WHERE s.owner NOT IN (SELECT t.oid FROM trusted t)
    UNION ALL
    SELECT format('%s may create objects in schema rolecall', CASE a.grantee WHEN 0 THEN 'everybody' ELSE format('role %s', a.grantee::regrole) END),
           format('REVOKE CREATE ON SCHEMA rolecall FROM %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
    FROM schema s CROSS JOIN LATERAL aclexplode(s.acl) a
    WHERE a.privilege_type = 'CREATE' AND a.grantee <> s.owner AND a.grantee NOT IN (SELECT t.oid FROM trusted t)
    UNION ALL
    SELECT format('%s %s is in schema rolecall, and not of the extension', i.type, i.identity), format('DROP %s %s', upper(i.type), i.identity)
    FROM schema s
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = s.oid
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
    WHERE d.classid NOT IN ('pg_extension'::regclass, 'pg_default_acl'::regclass, 'pg_publication_namespace'::regclass)
      AND NOT EXISTS (SELECT FROM members m WHERE m.classid = d.classid AND m.objid = d.objid)
    UNION ALL
    SELECT format('%s %s belongs to role %s', i.type, i.identity, o.owner::regrole),
           format('ALTER %s %s OWNER TO %s', replace(upper(i.type), '-', ' '), i.identity, (SELECT e.owner::regrole FROM extension e))
    FROM objects o CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    WHERE o.owner NOT IN (SELECT t.oid FROM trusted t)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'i')  -- goes with its table
    UNION ALL
    -- What a grant of an administrator's is not among: the initial privileges.
    SELECT format('default privileges gave role %s %s on %s %s', a.grantee::regrole, a.privilege_type, i.type, i.identity),
           format('REVOKE ALL ON %s %s FROM %s', CASE i.type WHEN 'view' THEN 'TABLE' ELSE upper(i.type) END, i.identity, a.grantee::regrole)
    FROM objects o
    JOIN pg_init_privs p ON p.classoid = o.classid AND p.objoid = o.objid AND p.objsubid = 0
    CROSS JOIN LATERAL aclexplode(p.initprivs) a
    CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) i
    WHERE a.grantee <> 0 AND a.grantee <> o.owner AND a.grantee NOT IN (SELECT t.oid FROM trusted t)
      AND a.grantee <> (SELECT r.oid FROM pg_roles r WHERE r.rolname = 'pg_monitor')
      AND EXISTS (SELECT FROM aclexplode(o.acl) n WHERE n.grantee = a.grantee AND n.privilege_type = a.privilege_type)
    ORDER BY 1
$$;
COMMENT ON FUNCTION rolecall.check_installation() IS 'what lets others than the extension''s owner decide what its functions do, and the command that repairs it; no row: all is in order';

-- Whoever owns this schema, can create in it, or has been here before, could put functions in the place of the
-- extension's, for superusers to call.
DO $$
DECLARE
    grantee text;
    problems text;
    repairs text;
BEGIN
    -- Made just now by CREATE EXTENSION, it has what default privileges give.
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a
        WHERE n.nspname = 'rolecall' AND a.grantee <> n.nspowner
          AND CASE WHEN age(n.xmin) <= 0 THEN pg_xact_status((pg_current_xact_id()::text::bigint - age(n.xmin))::text::xid8) = 'in progress' END
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA rolecall FROM %s', grantee);
    END LOOP;
    SELECT string_agg(c.problem, '; '), string_agg(c.repair, '; ') INTO problems, repairs FROM rolecall.check_installation() c;
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION 'schema "rolecall" is not safe to install into'
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = format('In the way: %s.', problems), HINT = format('To repair: %s.', repairs);
    END IF;
END
$$;

