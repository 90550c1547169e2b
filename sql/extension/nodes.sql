-- What belongs to one node: tables of a cluster whose rows are elsewhere, and definitions, which are not replicated.

CREATE FUNCTION rolecall.is_distributed(relation regclass) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_is_distributed';
COMMENT ON FUNCTION rolecall.is_distributed(regclass) IS 'does Citus manage this table?';

-- A projection is about tables, triggers and views of its own database. Rows that a subscription brings are about the
-- publisher's, and those that are built in are there already.
CREATE FUNCTION rolecall.keep_definitions_local() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_keep_definitions_local';
COMMENT ON FUNCTION rolecall.keep_definitions_local() IS 'passes over what logical replication would change in the definitions of projections';

CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON rolecall.projections
FOR EACH ROW EXECUTE FUNCTION rolecall.keep_definitions_local();
CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON rolecall.watches
FOR EACH ROW EXECUTE FUNCTION rolecall.keep_definitions_local();
CREATE TRIGGER keep_local BEFORE INSERT OR UPDATE OR DELETE ON rolecall.watch_references
FOR EACH ROW EXECUTE FUNCTION rolecall.keep_definitions_local();
ALTER TABLE rolecall.projections ENABLE REPLICA TRIGGER keep_local;
ALTER TABLE rolecall.watches ENABLE REPLICA TRIGGER keep_local;
ALTER TABLE rolecall.watch_references ENABLE REPLICA TRIGGER keep_local;

-- It would take what is built in along, here and at every subscriber.
CREATE FUNCTION rolecall.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'table rolecall.% cannot be truncated', TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = 'It has rows that are built in.',
              HINT = 'rolecall.drop_projection() drops a projection.';
END
$$;
COMMENT ON FUNCTION rolecall.refuse_truncate() IS 'keeps the rows that are built in';

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON rolecall.projections
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.refuse_truncate();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON rolecall.watches
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.refuse_truncate();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON rolecall.watch_references
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.refuse_truncate();
ALTER TABLE rolecall.projections ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER refuse_truncate;
ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER refuse_truncate;

-- A dump without data has the triggers of watches, and no projections.
CREATE FUNCTION rolecall.stray_watch_triggers(OUT relation regclass, OUT name name, OUT repair text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tgrelid::regclass, t.tgname, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
    FROM pg_trigger t
    WHERE t.tgfoid IN ('rolecall.watch_row()'::regprocedure, 'rolecall.watch_truncate()'::regprocedure) AND t.tgparentid = 0
      AND split_part(encode(t.tgargs, 'escape'), '\000', 1) NOT IN (SELECT p.id::text FROM rolecall.projections p)
    ORDER BY t.tgrelid::regclass::text, t.tgname
$$;
COMMENT ON FUNCTION rolecall.stray_watch_triggers() IS 'triggers of watches whose projection is not there: they do no harm, and cost each write a little';
