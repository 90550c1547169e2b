-- Tables of a cluster whose rows are elsewhere, and what a dump leaves behind.

CREATE OR REPLACE FUNCTION rolecall.is_distributed(relation regclass) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_is_distributed';
COMMENT ON FUNCTION rolecall.is_distributed(regclass) IS 'does Citus manage this table?';

CREATE OR REPLACE FUNCTION rolecall.require_directory() RETURNS void
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_require_directory';
COMMENT ON FUNCTION rolecall.require_directory() IS 'error 55000 on a worker of a Citus cluster whose users are the coordinator''s';

-- A dump without data has the triggers of watches, and no projections.
CREATE OR REPLACE FUNCTION rolecall.stray_watch_triggers(OUT relation regclass, OUT name name, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tgrelid::regclass, t.tgname, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
    FROM pg_trigger t
    WHERE t.tgfoid IN ('rolecall.watch_row()'::regprocedure, 'rolecall.watch_truncate()'::regprocedure) AND t.tgparentid = 0
      AND split_part(encode(t.tgargs, 'escape'), '\000', 1) NOT IN (SELECT p.id::text FROM rolecall.projections p)
    ORDER BY t.tgrelid::regclass::text, t.tgname
$$;
COMMENT ON FUNCTION rolecall.stray_watch_triggers() IS 'triggers of watches whose projection is not there: they do no harm, and cost each write a little';
