REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rolecall FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA rolecall FROM PUBLIC;

-- Nothing is granted to PUBLIC, nor by default privileges of whoever installs. Recipes for roles stand in
-- docs/operations.md. Only what was made just now: what there was before an update has what administrators granted.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT o.kind, o.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        CROSS JOIN LATERAL (
            SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, c.relowner,
                   coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
            FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
            UNION ALL
            SELECT 'FUNCTION', p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
            FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
            UNION ALL
            SELECT 'TYPE', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            FROM pg_type t LEFT JOIN pg_class r ON r.oid = t.typrelid
            WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typcategory <> 'A' AND coalesce(r.relkind = 'c', true)  -- not those of tables
        ) o(kind, name, owner, acl)
        CROSS JOIN LATERAL aclexplode(o.acl) a
        WHERE e.extname = 'rolecall' AND a.grantee <> o.owner
          AND CASE WHEN age(d.xmin) <= 0 THEN pg_xact_status((pg_current_xact_id()::text::bigint - age(d.xmin))::text::xid8) = 'in progress' END
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA rolecall TO pg_monitor;
GRANT SELECT ON rolecall.stat_cache, rolecall.stat_held_up, rolecall.stat_slots, rolecall.stat_progress, rolecall.stat_projection, rolecall.stat_provider, rolecall.stat_sync, rolecall.sync_metrics TO pg_monitor;
GRANT EXECUTE ON FUNCTION rolecall.cache_statistics(), rolecall.held_up(), rolecall.load_progress(), rolecall.slot_statistics(), rolecall.why_no_calls(), rolecall.projection_statistics(bigint[]), rolecall.provider_statistics(), rolecall.queue_statistics() TO pg_monitor;
