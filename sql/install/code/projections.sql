-- Projections: views whose documents are held in shared memory, and the watches that keep them fresh.

CREATE OR REPLACE FUNCTION rolecall.set_projection_query() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v record;
BEGIN
    NEW.query := format('SELECT v.%I FROM %s v WHERE v.%I = $1', NEW.doc_column, NEW.view, NEW.key_column);
    SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner INTO v
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = NEW.view;
    IF FOUND THEN
        NEW.view_schema := v.nspname;
        NEW.view_name := v.relname;
        NEW.view_owner := v.owner;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION rolecall.set_projection_query() IS 'keeps projections.query, and the name and the owner of the view';

CREATE OR REPLACE TRIGGER set_query BEFORE INSERT OR UPDATE ON rolecall.projections
FOR EACH ROW EXECUTE FUNCTION rolecall.set_projection_query();

CREATE OR REPLACE FUNCTION rolecall.view_by_name(projection_id bigint) RETURNS regclass
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid FROM rolecall.projections p
    JOIN pg_namespace n ON n.nspname = p.view_schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.view_name
    WHERE p.id = projection_id AND c.relkind = 'v' AND pg_get_userbyid(c.relowner) = p.view_owner
$$;
COMMENT ON FUNCTION rolecall.view_by_name(bigint) IS 'the view that has the name and the owner of a projection''s now; NULL: there is none';

CREATE OR REPLACE FUNCTION rolecall.column_number(relation oid, column_name name) RETURNS smallint
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.attnum FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION rolecall.column_number(oid, name) IS 'the number of a column; NULL: there is none';

-- A restore inserts rows with numbers of another database.
CREATE OR REPLACE FUNCTION rolecall.set_column_number() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_RELID = 'rolecall.watches'::regclass THEN
        NEW.key_number := rolecall.column_number(NEW.relation::oid, NEW.key_column);
    ELSE
        NEW.column_number := rolecall.column_number(NEW.relation::oid, NEW.column_name);
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION rolecall.set_column_number() IS 'keeps watches.key_number and watch_references.column_number';

CREATE OR REPLACE TRIGGER set_number BEFORE INSERT ON rolecall.watches
FOR EACH ROW EXECUTE FUNCTION rolecall.set_column_number();
CREATE OR REPLACE TRIGGER set_number BEFORE INSERT ON rolecall.watch_references
FOR EACH ROW EXECUTE FUNCTION rolecall.set_column_number();
ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER set_number;
ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER set_number;

CREATE OR REPLACE FUNCTION rolecall.definition_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_definition_changed';
COMMENT ON FUNCTION rolecall.definition_changed() IS 'makes every backend read its definitions again';

CREATE OR REPLACE TRIGGER definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rolecall.projections
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.definition_changed();
CREATE OR REPLACE TRIGGER definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rolecall.watches
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.definition_changed();
CREATE OR REPLACE TRIGGER definition_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rolecall.watch_references
FOR EACH STATEMENT EXECUTE FUNCTION rolecall.definition_changed();
ALTER TABLE rolecall.projections ENABLE ALWAYS TRIGGER definition_changed;
ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER definition_changed;
ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER definition_changed;

CREATE OR REPLACE FUNCTION rolecall.projection_dropped() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_projection_dropped';
COMMENT ON FUNCTION rolecall.projection_dropped() IS 'gives back the memory of a projection''s documents';

CREATE OR REPLACE TRIGGER projection_dropped AFTER DELETE ON rolecall.projections
FOR EACH ROW EXECUTE FUNCTION rolecall.projection_dropped();
ALTER TABLE rolecall.projections ENABLE ALWAYS TRIGGER projection_dropped;

-- ---- Watches ------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.watch_row() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_watch_row';
COMMENT ON FUNCTION rolecall.watch_row() IS 'raises the stamp of the keys that a changed row belongs to';

CREATE OR REPLACE FUNCTION rolecall.watch_truncate() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_watch_truncate';
COMMENT ON FUNCTION rolecall.watch_truncate() IS 'raises the floor of a projection when a table behind it is truncated';

CREATE OR REPLACE FUNCTION rolecall.members_of(relation regclass) RETURNS SETOF regclass
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE members AS (
        SELECT relation AS oid
        UNION
        SELECT i.inhrelid::regclass FROM members m JOIN pg_inherits i ON i.inhparent = m.oid
    )
    SELECT m.oid FROM members m
$$;
COMMENT ON FUNCTION rolecall.members_of(regclass) IS 'a table with its partitions and children, on every level';

CREATE OR REPLACE FUNCTION rolecall.put_watch_triggers(watch bigint, part regclass DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    w rolecall.watches := (SELECT w FROM rolecall.watches w WHERE w.id = watch);
    projection_id text := (SELECT p.id FROM rolecall.projections p WHERE (p.name, p.builtin) = (w.projection, w.builtin));
    prefix text := 'rolecall_' || to_hex(projection_id::bigint);
    row_trigger text := concat_ws('_', prefix, CASE WHEN w.is_lookup THEN 'lookup' END,
        (SELECT attnum FROM pg_attribute WHERE attrelid = w.relation AND attname = w.key_column));
    arguments text := (SELECT string_agg(quote_literal(a), ', ') FROM unnest(ARRAY[
        projection_id, w.key_column::text, CASE WHEN w.is_lookup AND w.key_column IS NOT NULL THEN watch::text END]) a
        WHERE a IS NOT NULL);
    member regclass;
BEGIN
    -- Changes of foreign tables are made elsewhere: they are a problem of the projection, and no error here.
    -- Each table by itself: with its partitions the server evaluates the partition key, and this may be called for a new
    -- partition with the rights of the extension's owner.
    FOR member IN SELECT m FROM rolecall.members_of(coalesce(part, w.relation)) m JOIN pg_class c ON c.oid = m WHERE c.relkind IN ('r', 'p') LOOP
        -- A partition has its parent's row trigger already; no other child has.
        IF row_trigger NOT IN (SELECT tgname FROM pg_trigger WHERE tgrelid = member) THEN
            EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW
                            EXECUTE FUNCTION rolecall.watch_row(%s)', row_trigger, member, arguments);
        END IF;
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', member, row_trigger);
        IF prefix || '_truncate' NOT IN (SELECT tgname FROM pg_trigger WHERE tgrelid = member) THEN
            EXECUTE format('CREATE TRIGGER %I AFTER TRUNCATE ON %s FOR EACH STATEMENT
                            EXECUTE FUNCTION rolecall.watch_truncate(%L)', prefix || '_truncate', member, projection_id);
        END IF;
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', member, prefix || '_truncate');
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.put_watch_triggers(bigint, regclass) IS 'creates the triggers of one watch on a table and its children, or on a part of them, where they are missing';

CREATE OR REPLACE FUNCTION rolecall.watch_member(member regclass) RETURNS void
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH RECURSIVE ancestors AS (
        SELECT i.inhparent AS oid FROM pg_inherits i WHERE i.inhrelid = member
        UNION
        SELECT i.inhparent FROM ancestors a JOIN pg_inherits i ON i.inhrelid = a.oid
    )
    SELECT rolecall.put_watch_triggers(w.id, member) FROM rolecall.watches w JOIN ancestors a ON a.oid = w.relation
$$;
COMMENT ON FUNCTION rolecall.watch_member(regclass) IS 'creates the triggers of the watches on a table''s parents on it, and on what is below it; a new partition or child gets them by itself';
