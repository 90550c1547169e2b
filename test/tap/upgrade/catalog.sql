-- Everything about the extension in this database that its scripts decide, one line or more per property, without
-- OIDs and random ids. The order of a table's columns does not count; that of views and types does.
\pset format unaligned
\pset tuples_only on
CREATE TEMP VIEW own AS
SELECT d.classid, d.objid, (pg_identify_object(d.classid, d.objid, 0)).identity
FROM pg_depend d JOIN pg_extension e ON (d.refclassid, d.refobjid) = ('pg_extension'::regclass, e.oid)
WHERE d.deptype = 'e' AND e.extname = 'rolecall';
CREATE TEMP VIEW relations AS
SELECT c.* FROM pg_class c JOIN own ON (own.classid, own.objid) = ('pg_class'::regclass, c.oid);

SELECT format('%s: %s', (pg_identify_object(classid, objid, 0)).type, identity) FROM own
UNION ALL
SELECT format('relation %s: kind %s, owner %s, privileges %s, options %s, row security %s %s', c.oid::regclass, c.relkind, c.relowner::regrole,
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(c.relacl) a), c.reloptions, c.relrowsecurity, c.relforcerowsecurity) FROM relations c
UNION ALL
SELECT format('column %s.%s: %s%s%s%s%s%s, privileges %s', c.oid::regclass, a.attname,
    CASE WHEN c.relkind NOT IN ('r', 'i', 'I', 'S') THEN a.attnum || ' ' END, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN ' not null' END, ' default ' || pg_get_expr(f.adbin, f.adrelid),
    ' identity ' || nullif(a.attidentity::text, ''), ' generated ' || nullif(a.attgenerated::text, ''), a.attacl)
FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef f ON (f.adrelid, f.adnum) = (a.attrelid, a.attnum)
UNION ALL
SELECT format('constraint %s on %s: %s', k.conname, k.conrelid::regclass, pg_get_constraintdef(k.oid))
FROM pg_constraint k JOIN relations c ON c.oid = k.conrelid
UNION ALL
SELECT format('index %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN relations c ON c.oid = i.indrelid
UNION ALL
SELECT format('trigger %s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
FROM pg_trigger t JOIN relations c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT format('policy %s on %s', p.polname, p.polrelid::regclass) FROM pg_policy p JOIN relations c ON c.oid = p.polrelid
UNION ALL
SELECT format('view %s: %s', c.oid::regclass, pg_get_viewdef(c.oid)) FROM relations c WHERE c.relkind = 'v'
UNION ALL
SELECT format('sequence %s: %s', c.oid::regclass, (SELECT s FROM (SELECT seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle) s))
FROM relations c JOIN pg_sequence s ON s.seqrelid = c.oid
UNION ALL
SELECT format('function %s: owner %s, privileges %s, %s', p.oid::regprocedure, p.proowner::regrole,
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(p.proacl) a), pg_get_functiondef(p.oid))
FROM pg_proc p JOIN own ON (own.classid, own.objid) = ('pg_proc'::regclass, p.oid)
UNION ALL
SELECT format('event trigger %s: %s %s %s, enabled %s', t.evtname, t.evtevent, t.evttags, t.evtfoid::regprocedure, t.evtenabled)
FROM pg_event_trigger t JOIN own ON (own.classid, own.objid) = ('pg_event_trigger'::regclass, t.oid)
UNION ALL
SELECT format('wrapper %s: %s %s %s %s', w.fdwname, w.fdwhandler::regproc, w.fdwvalidator::regproc, w.fdwoptions, w.fdwacl)
FROM pg_foreign_data_wrapper w JOIN own ON (own.classid, own.objid) = ('pg_foreign_data_wrapper'::regclass, w.oid)
UNION ALL
SELECT format('schema %s: owner %s, privileges %s', n.nspname, n.nspowner::regrole, n.nspacl) FROM pg_namespace n WHERE n.nspname = 'rolecall'
UNION ALL
SELECT format('dumped: %s %s', t.relation::regclass, t.condition)
FROM pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) t(relation, condition) WHERE e.extname = 'rolecall'
UNION ALL
SELECT format('extension: version %s, schema %s, relocatable %s, owner %s', e.extversion, e.extnamespace::regnamespace, e.extrelocatable, e.extowner::regrole)
FROM pg_extension e WHERE e.extname = 'rolecall'
UNION ALL
SELECT format('initial privileges of %s: %s', pg_describe_object(i.classoid, i.objoid, i.objsubid),
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(i.initprivs) a))
FROM pg_init_privs i JOIN own ON (own.classid, own.objid) = (i.classoid, i.objoid)
UNION ALL
SELECT format('comment on %s: %s', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description)
FROM pg_description d
WHERE EXISTS (SELECT FROM own WHERE (own.classid, own.objid) = (d.classoid, d.objoid))
   OR d.classoid = 'pg_constraint'::regclass AND d.objoid IN (SELECT k.oid FROM pg_constraint k JOIN relations c ON c.oid = k.conrelid)
   OR d.classoid = 'pg_trigger'::regclass AND d.objoid IN (SELECT t.oid FROM pg_trigger t JOIN relations c ON c.oid = t.tgrelid)
   OR d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT i.indexrelid FROM pg_index i JOIN relations c ON c.oid = i.indrelid)
UNION ALL
SELECT format('built in: %s', jsonb_strip_nulls(to_jsonb(p) - 'id'))
FROM rolecall.projections p WHERE p.builtin
UNION ALL
SELECT format('built in: %s', jsonb_strip_nulls(to_jsonb(w) - 'id')) FROM rolecall.watches w WHERE w.builtin
UNION ALL
SELECT format('built in: %s: %s', w.relation, jsonb_strip_nulls(to_jsonb(r) - 'watch'))
FROM rolecall.watch_references r JOIN rolecall.watches w ON w.id = r.watch WHERE r.builtin
ORDER BY 1;
