-- PUBLIC gets nothing, default privileges grant nothing, and pg_monitor may read statistics. docs/operations.md has recipes for
-- other roles.
--
-- Only objects that this script has made get privileges. Those that were there before an upgrade keep what administrators
-- granted and revoked: after a GRANT or REVOKE here pg_dump would take all of it for the extension's own, and forget it.
DO $$
DECLARE
    monitored_views CONSTANT oid[] = ARRAY['rolecall.stat_cache', 'rolecall.stat_held_up', 'rolecall.stat_slots', 'rolecall.stat_progress',
        'rolecall.stat_projection', 'rolecall.stat_provider', 'rolecall.stat_sync', 'rolecall.sync_metrics']::regclass[]::oid[];
    monitored_functions CONSTANT oid[] = ARRAY['rolecall.cache_statistics()', 'rolecall.held_up()', 'rolecall.load_progress()',
        'rolecall.slot_statistics()', 'rolecall.why_no_calls()', 'rolecall.projection_statistics(bigint[])',
        'rolecall.provider_statistics()', 'rolecall.provider_states()', 'rolecall.queue_statistics()']::regprocedure[]::oid[];
    made record;
BEGIN
    FOR made IN
        SELECT o.kind, o.name, d.objid,
               concat_ws(', ', CASE WHEN o.kind <> 'SEQUENCE' THEN 'PUBLIC' END,
                         (SELECT string_agg(DISTINCT a.grantee::regrole::text, ', ') FROM aclexplode(o.acl) a
                          WHERE a.grantee NOT IN (0, o.owner))) AS grantees
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        CROSS JOIN LATERAL (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relowner, c.relacl
            FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'FUNCTION', p.oid::regprocedure::text, p.proowner, p.proacl
            FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
            UNION ALL
            SELECT 'TYPE', t.oid::regtype::text, t.typowner, t.typacl
            FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid
            WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typcategory <> 'A' AND coalesce(r.relkind = 'c', true)  -- not those of tables
        ) o(kind, name, owner, acl)
        WHERE e.extname = 'rolecall'
          AND CASE WHEN age(d.xmin) <= 0 THEN pg_xact_status((pg_current_xact_id()::text::bigint - age(d.xmin))::text::xid8) = 'in progress' END
    LOOP
        IF made.grantees <> '' THEN
            EXECUTE format('REVOKE ALL ON %s %s FROM %s', made.kind, made.name, made.grantees);
        END IF;
        IF made.kind = 'TABLE' AND made.objid = ANY (monitored_views) THEN
            EXECUTE format('GRANT SELECT ON %s TO pg_monitor', made.name);
        ELSIF made.kind = 'FUNCTION' AND made.objid = ANY (monitored_functions) THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO pg_monitor', made.name);
        END IF;
    END LOOP;
END
$$;
