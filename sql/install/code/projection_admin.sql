-- Making, watching, checking and dropping projections: for the extension's owner.

CREATE OR REPLACE FUNCTION rolecall.projection_problems(
    projection name, OUT relation regclass, OUT lasting boolean, OUT problem text, OUT repair text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_projection_problems';
COMMENT ON FUNCTION rolecall.projection_problems(name) IS 'why documents of a projection are not cached; lasting: no watch would help';

CREATE OR REPLACE FUNCTION rolecall.drop_watch_triggers(projection_id bigint, relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may_fail boolean := rolecall.is_distributed(relation);
    t record;
BEGIN
    -- What DROP TRIGGER takes, before looking which there are.
    IF NOT may_fail THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relation);
    END IF;
    FOR t IN
        SELECT g.tgname, g.tgrelid::regclass AS member
        FROM pg_trigger g
        WHERE g.tgrelid IN (SELECT rolecall.members_of(relation))
          AND g.tgparentid = 0  -- those of partitions go with their parent's
          AND g.tgfoid IN ('rolecall.watch_row()'::regprocedure, 'rolecall.watch_truncate()'::regprocedure)
          AND position(convert_to(projection_id::text, 'SQL_ASCII') || '\x00'::bytea IN g.tgargs) = 1
    LOOP
        BEGIN
            EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.member);
        EXCEPTION WHEN OTHERS THEN
            IF NOT may_fail THEN
                RAISE;
            END IF;
            RAISE WARNING 'trigger "%" on table % could not be dropped', t.tgname, t.member
                USING DETAIL = SQLERRM, HINT = 'It does no harm. Drop it when Citus does not manage the table any more.';
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.drop_watch_triggers(bigint, regclass) IS 'drops the triggers of a projection''s watches on a table and its children';

-- pg_dump does not dump triggers on the extension's own tables: those of an application's projections come back
-- with their watches.
CREATE OR REPLACE FUNCTION rolecall.restore_watch() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_depend d
               WHERE (d.classid, d.objid, d.deptype) = ('pg_class'::regclass, NEW.relation, 'e')
                 AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE e.extname = 'rolecall')) THEN
        PERFORM rolecall.put_watch_triggers(NEW.id, NULL::regclass);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION rolecall.restore_watch() IS 'creates the triggers of a watch on one of the extension''s own tables';

CREATE OR REPLACE TRIGGER restore_watch AFTER INSERT ON rolecall.watches
FOR EACH ROW WHEN (NOT NEW.builtin) EXECUTE FUNCTION rolecall.restore_watch();

CREATE OR REPLACE FUNCTION rolecall.application_projection(projection name) RETURNS rolecall.projections
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_row rolecall.projections;
BEGIN
    SELECT p.* INTO found_row FROM rolecall.projections p WHERE p.name = projection ORDER BY p.builtin LIMIT 1;
    IF found_row.id IS NULL THEN
        RAISE EXCEPTION 'projection "%" does not exist', projection
            USING ERRCODE = 'undefined_object', HINT = 'The table rolecall.projections lists them.';
    ELSIF found_row.builtin THEN
        RAISE EXCEPTION 'projection "%" is built in', projection
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'rolecall.create_projection() makes one of yours that takes its place.';
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION rolecall.application_projection(name) IS 'the row of a projection that may be changed, or an error';

CREATE OR REPLACE FUNCTION rolecall.add_watch(projection name, relation regclass, is_lookup boolean, key_column name) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    watch bigint;
    wrong text;
BEGIN
    IF relation IS NULL THEN
        RAISE EXCEPTION 'a watch needs a relation' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    PERFORM rolecall.application_projection(projection);
    IF rolecall.is_distributed(relation) THEN
        RAISE EXCEPTION 'relation % cannot be watched', relation
            USING ERRCODE = 'wrong_object_type', DETAIL = 'Citus manages it: its rows are in shards, whose changes go unseen.',
                  HINT = 'A projection over it needs a ttl.';
    END IF;
    IF (SELECT c.relkind NOT IN ('r', 'p') OR c.relpersistence = 't' OR c.oid < 16384 FROM pg_class c WHERE c.oid = relation) THEN
        RAISE EXCEPTION 'relation % cannot be watched', relation
            USING ERRCODE = 'wrong_object_type',
                  DETAIL = 'Changes are known of ordinary tables and partitioned tables that are not temporary.',
                  HINT = 'A projection over anything else needs a ttl.';
    END IF;
    IF key_column IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = key_column
                                              AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RAISE EXCEPTION 'column "%" of relation % does not exist', key_column, relation USING ERRCODE = 'undefined_column';
    END IF;
    BEGIN
        INSERT INTO rolecall.watches AS w (projection, relation, is_lookup, key_column)
        VALUES (projection, relation, is_lookup, key_column) RETURNING w.id INTO watch;
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'projection "%" watches % already', projection, relation
            USING ERRCODE = 'duplicate_object', HINT = 'See rolecall.watches, and rolecall.unwatch().';
    END;
    PERFORM rolecall.put_watch_triggers(watch, NULL::regclass);
    IF is_lookup AND key_column IS NOT NULL THEN
        RETURN watch;  -- not complete without what refers to it
    END IF;
    SELECT p.problem INTO wrong FROM rolecall.projection_problems(projection) p WHERE p.relation = add_watch.relation LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'relation % cannot be watched by column "%"', relation, key_column
            USING ERRCODE = 'datatype_mismatch', DETAIL = format('In the way: %s.', wrong),
                  HINT = 'The column must have a type that fits the key''s, and a deterministic collation, and must be stored.';
    END IF;
    RETURN watch;
END
$$;
COMMENT ON FUNCTION rolecall.add_watch(name, regclass, boolean, name) IS 'what watch() and watch_lookup() share';

CREATE OR REPLACE FUNCTION rolecall.watch(projection name, relation regclass, key_column name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF key_column IS NULL THEN
        RAISE EXCEPTION 'a watch needs the column that holds the key'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Tables whose rows belong to many documents are watched with rolecall.watch_lookup().';
    END IF;
    PERFORM rolecall.add_watch(projection, relation, false, key_column);
END
$$;
COMMENT ON FUNCTION rolecall.watch(name, regclass, name) IS 'a changed row belongs to the document whose key is in this column';

CREATE OR REPLACE FUNCTION rolecall.add_lookup(projection name, relation regclass, key_column name, referencing jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_watch bigint := rolecall.add_watch(projection, relation, true, key_column);
    wrong text;
BEGIN
    IF key_column IS NULL THEN
        IF referencing IS NOT NULL THEN
            RAISE EXCEPTION 'references to a lookup need its key column' USING ERRCODE = 'null_value_not_allowed';
        END IF;
        RETURN;
    END IF;
    INSERT INTO rolecall.watch_references (watch, relation, column_name)
    SELECT new_watch, r.key::regclass, r.value FROM jsonb_each_text(referencing) r
    UNION
    SELECT new_watch, k.conrelid, a.attname
    FROM pg_constraint k
    JOIN rolecall.watches w ON w.projection = add_lookup.projection AND NOT w.builtin AND NOT w.is_lookup AND w.relation = k.conrelid
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE referencing IS NULL AND k.contype = 'f' AND k.confrelid = add_lookup.relation AND cardinality(k.conkey) = 1
      AND k.confkey[1] = (SELECT f.attnum FROM pg_attribute f WHERE f.attrelid = k.confrelid AND f.attname = add_lookup.key_column);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nothing refers to column "%" of %', key_column, relation
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'No table that is watched by key has a foreign key to this column.',
                  HINT = 'Watch such tables first, or say which columns refer to it: referencing => ''{"schema.table": "column"}''.';
    END IF;
    -- From now on groups are read from the tables that refer to it, as their owners.
    PERFORM rolecall.refuse_unsafe(projection);
    SELECT p.problem INTO wrong FROM rolecall.projection_problems(projection) p WHERE p.relation = add_lookup.relation LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'relation % cannot be watched by column "%"', relation, key_column
            USING ERRCODE = 'datatype_mismatch', DETAIL = format('In the way: %s.', wrong),
                  HINT = 'Columns that refer to it must have a type that fits its own, in tables that are watched by key.';
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.add_lookup(name, regclass, name, jsonb) IS 'watch_lookup() where the tables of referencing have their schemas';

-- In C, so that names in referencing are found by the caller's search_path, as that of the relation is.
CREATE OR REPLACE FUNCTION rolecall.watch_lookup(projection name, relation regclass, key_column name DEFAULT NULL, referencing jsonb DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_watch_lookup';
COMMENT ON FUNCTION rolecall.watch_lookup(name, regclass, name, jsonb) IS 'a changed row belongs to all documents; with key_column: to those whose rows refer to it';

CREATE OR REPLACE FUNCTION rolecall.unwatch(projection name, relation regclass, key_column name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections := rolecall.application_projection(projection);
BEGIN
    DELETE FROM rolecall.watches w
    WHERE w.projection = unwatch.projection AND NOT w.builtin AND w.relation = unwatch.relation
      AND (unwatch.key_column IS NULL OR w.key_column = unwatch.key_column);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'projection "%" does not watch %', projection, relation
            USING ERRCODE = 'undefined_object', HINT = 'See rolecall.watches.';
    END IF;
    PERFORM rolecall.drop_watch_triggers(p.id, relation);
    PERFORM rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w
    WHERE w.projection = unwatch.projection AND NOT w.builtin AND w.relation = unwatch.relation;
END
$$;
COMMENT ON FUNCTION rolecall.unwatch(name, regclass, name) IS 'ends the watches on a table, or the one by a column';

CREATE OR REPLACE FUNCTION rolecall.refuse_unsafe(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_refuse_unsafe';
COMMENT ON FUNCTION rolecall.refuse_unsafe(name) IS 'raises an error where a projection would run others'' code with the rights of its view''s owner';

CREATE OR REPLACE FUNCTION rolecall.read_one(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_read_one';
COMMENT ON FUNCTION rolecall.read_one(name) IS 'reads one document as it will be read, or raises the error that every reader would get';

CREATE OR REPLACE FUNCTION rolecall.add_projection(
    projection name, view regclass, key_column name, doc_column name, ttl interval, strict boolean, watches jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    w record;
    wrong text;
    repairs text;
BEGIN
    IF num_nulls(projection, view, key_column, doc_column, strict, watches) > 0 THEN
        RAISE EXCEPTION 'a projection needs a name, a view, a key column and a document column' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF ttl <= interval '0' THEN
        RAISE EXCEPTION 'invalid ttl: %', ttl USING ERRCODE = 'invalid_parameter_value', HINT = 'It must be longer than zero.';
    END IF;
    BEGIN
        INSERT INTO rolecall.projections (name, view, key_column, doc_column, ttl)
        VALUES (projection, view, add_projection.key_column, doc_column, ttl);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'projection "%" already exists', projection
            USING ERRCODE = 'duplicate_object', HINT = 'rolecall.drop_projection() drops it.';
    END;
    PERFORM rolecall.refuse_unsafe(projection);
    -- What cannot be exact is refused before any table gets a trigger.
    SELECT 'In the way: ' || string_agg(p.problem, '; ') || '.' INTO wrong
    FROM rolecall.projection_problems(projection) p WHERE p.lasting;
    IF wrong IS NOT NULL AND ttl IS NULL THEN
        RAISE EXCEPTION 'documents of view % cannot be kept exact', view
            USING ERRCODE = 'invalid_object_definition', DETAIL = wrong,
                  HINT = 'Change the view (what holds for a time needs columns valid_from and valid_until), or give a ttl for which documents may be out of date.';
    END IF;

    FOR w IN SELECT e.key::regclass AS relation, e.value AS what FROM jsonb_each(watches) e
             ORDER BY jsonb_typeof(e.value) <> 'string'  -- lookups are referred to by what is watched by key
    LOOP
        CASE
            WHEN jsonb_typeof(w.what) = 'string' THEN
                PERFORM rolecall.watch(projection, w.relation, (w.what #>> '{}')::name);
            WHEN jsonb_typeof(w.what) = 'null' THEN
                PERFORM rolecall.add_lookup(projection, w.relation, NULL::name, NULL::jsonb);
            WHEN jsonb_typeof(w.what -> 'lookup') = 'string' THEN
                PERFORM rolecall.add_lookup(projection, w.relation, (w.what ->> 'lookup')::name, w.what -> 'referencing');
            ELSE
                RAISE EXCEPTION 'invalid watch on %: %', w.relation, w.what
                    USING ERRCODE = 'invalid_parameter_value',
                          HINT = 'Give the column that holds the key, or {"lookup": "column"}, or null for a lookup whose rows belong to all documents.';
        END CASE;
    END LOOP;

    SELECT 'In the way: ' || string_agg(p.problem, '; ') || '.', string_agg(p.repair, '; ')
    INTO wrong, repairs FROM rolecall.projection_problems(projection) p;
    IF wrong IS NOT NULL AND ttl IS NULL AND strict THEN
        RAISE EXCEPTION 'changes behind view % would go unseen', view
            USING ERRCODE = 'object_not_in_prerequisite_state', DETAIL = wrong,
                  HINT = 'Name these tables in watches => ''{"schema.table": "key column", ...}'', or pass strict => false and watch them before it is used.';
    END IF;
    BEGIN
        PERFORM rolecall.read_one(projection);
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION 'documents of view % cannot be read', view
            USING ERRCODE = SQLSTATE, DETAIL = format('In the way: %s.', SQLERRM),
                  HINT = 'They are read as the owner of the view, with search_path = pg_catalog, pg_temp.';
    END;
    IF wrong IS NOT NULL AND ttl IS NULL THEN
        RAISE WARNING 'documents of projection "%" are not cached yet', projection USING DETAIL = wrong, HINT = repairs;
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.add_projection(name, regclass, name, name, interval, boolean, jsonb) IS 'create_projection() where the tables of watches have their schemas';

-- In C, so that names in watches are found by the caller's search_path, as that of the view is.
CREATE OR REPLACE FUNCTION rolecall.create_projection(
    projection name, view regclass, key_column name, doc_column name, ttl interval DEFAULT NULL,
    strict boolean DEFAULT true, watches jsonb DEFAULT '{}') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_create_projection';
COMMENT ON FUNCTION rolecall.create_projection(name, regclass, name, name, interval, boolean, jsonb) IS 'caches a view''s documents by key; one named me takes the place of the built-in one';

CREATE OR REPLACE FUNCTION rolecall.cancel_load(projection bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_cancel_load';
COMMENT ON FUNCTION rolecall.cancel_load(bigint) IS 'ends the load of a projection, by its id';

CREATE OR REPLACE FUNCTION rolecall.drop_projection(projection name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections := rolecall.application_projection(projection);
BEGIN
    PERFORM rolecall.cancel_load(p.id);  -- it reads what is to be locked
    PERFORM rolecall.drop_watch_triggers(p.id, w.relation)
    FROM rolecall.watches w
    WHERE w.projection = drop_projection.projection AND NOT w.builtin AND w.relation IN (SELECT c.oid FROM pg_class c);
    DELETE FROM rolecall.projections WHERE id = p.id;
END
$$;
COMMENT ON FUNCTION rolecall.drop_projection(name) IS 'drops a projection with its watches; the built-in me comes back when yours goes';

CREATE OR REPLACE FUNCTION rolecall.follow_columns(projection name, builtin boolean) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_watches bigint[];
BEGIN
    -- Rows that were restored while the triggers were off have numbers of another database, and such a trigger does not
    -- come back as ALWAYS.
    IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = 'rolecall.set_column_number()'::regprocedure AND t.tgenabled <> 'A') THEN
        UPDATE rolecall.watches w SET key_number = rolecall.column_number(w.relation::oid, w.key_column);
        UPDATE rolecall.watch_references r SET column_number = rolecall.column_number(r.relation::oid, r.column_name);
        ALTER TABLE rolecall.watches ENABLE ALWAYS TRIGGER set_number;
        ALTER TABLE rolecall.watch_references ENABLE ALWAYS TRIGGER set_number;
    END IF;
    of_watches := ARRAY(
        SELECT w.id FROM rolecall.watches w JOIN pg_attribute a ON a.attrelid = w.relation AND a.attnum = w.key_number
        WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin)
          AND NOT a.attisdropped AND a.attname <> w.key_column);
    -- Two columns may have changed places, and no two watches have one column's name at any time.
    UPDATE rolecall.watches w SET key_column = '@' || w.key_number WHERE w.id = ANY (of_watches);
    UPDATE rolecall.watches w SET key_column = a.attname FROM pg_attribute a
    WHERE w.id = ANY (of_watches) AND a.attrelid = w.relation AND a.attnum = w.key_number;

    UPDATE rolecall.watch_references r SET column_name = '@' || r.column_number
    FROM rolecall.watches w, pg_attribute a
    WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin) AND r.watch = w.id
      AND a.attrelid = r.relation AND a.attnum = r.column_number AND NOT a.attisdropped AND a.attname <> r.column_name;
    UPDATE rolecall.watch_references r SET column_name = a.attname
    FROM rolecall.watches w, pg_attribute a
    WHERE (w.projection, w.builtin) = (follow_columns.projection, follow_columns.builtin) AND r.watch = w.id
      AND a.attrelid = r.relation AND a.attnum = r.column_number AND NOT a.attisdropped AND a.attname <> r.column_name;
END
$$;
COMMENT ON FUNCTION rolecall.follow_columns(name, boolean) IS 'gives watches and references the names that their columns have by now';

CREATE OR REPLACE FUNCTION rolecall.repair_projection(projection name) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p rolecall.projections;
BEGIN
    FOR p IN SELECT * FROM rolecall.projections q WHERE q.name = projection FOR UPDATE LOOP
        -- Notes its name and its owner, if it is there.
        UPDATE rolecall.projections q
        SET view = CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = q.view) THEN q.view ELSE coalesce(rolecall.view_by_name(q.id), q.view) END
        WHERE q.id = p.id;
        DELETE FROM rolecall.watches w
        WHERE (w.projection, w.builtin) = (p.name, p.builtin) AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.relation);
        PERFORM rolecall.follow_columns(p.name, p.builtin);
        PERFORM rolecall.drop_watch_triggers(p.id, w.relation)
        FROM (SELECT DISTINCT relation FROM rolecall.watches WHERE (watches.projection, builtin) = (p.name, p.builtin)) w;
        PERFORM rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w
        WHERE (w.projection, w.builtin) = (p.name, p.builtin) AND NOT rolecall.is_distributed(w.relation);
    END LOOP;
    IF NOT FOUND THEN
        PERFORM rolecall.application_projection(projection);
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.repair_projection(name) IS 'takes the view that has the name of a dropped one, follows columns to their names, and creates the triggers of a projection''s watches anew';

CREATE OR REPLACE FUNCTION rolecall.check_projections(
    OUT projection name, OUT relation regclass, OUT problem text, OUT repair text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    remedy text;
BEGIN
    FOR projection IN SELECT DISTINCT p.name FROM rolecall.projections p ORDER BY 1 LOOP
        BEGIN
            RETURN QUERY SELECT check_projections.projection, p.relation, p.problem, p.repair
                         FROM rolecall.projection_problems(check_projections.projection) p
                         -- With a ttl it need not be exact, only safe.
                         WHERE p.lasting OR EXISTS (SELECT FROM rolecall.projections q
                                                    WHERE q.name = check_projections.projection AND q.ttl IS NULL);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS remedy = PG_EXCEPTION_HINT;
            relation := NULL;
            problem := SQLERRM;
            repair := coalesce(nullif(remedy, ''), 'restore the view, or drop the projection');
            RETURN NEXT;
        END;
    END LOOP;
    projection := NULL;
    RETURN QUERY SELECT NULL::name, t.relation, format('trigger "%s" is of no projection of this database', t.name), t.repair
                 FROM rolecall.stray_watch_triggers() t;
END
$$;
COMMENT ON FUNCTION rolecall.check_projections() IS 'what keeps documents from being cached, and the command that repairs it; no row: all is in order';

CREATE OR REPLACE FUNCTION rolecall.reload(projection name) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_reload';
COMMENT ON FUNCTION rolecall.reload(name) IS 'every document of the projection is read anew from its view, in the background';

CREATE OR REPLACE FUNCTION rolecall.cancel_reload(projection name) RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(bool_or(rolecall.cancel_load(p.id)), false) FROM rolecall.projections p WHERE p.name = projection
$$;
COMMENT ON FUNCTION rolecall.cancel_reload(name) IS 'ends the load of a projection; documents that are loaded stay; false: there is none';

CREATE OR REPLACE FUNCTION rolecall.invalidate(projection name, key text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_invalidate';
COMMENT ON FUNCTION rolecall.invalidate(name, text) IS 'the document of one key is read anew from the view';

CREATE OR REPLACE FUNCTION rolecall.cache_entry(
    projection name, key text, OUT cached boolean, OUT usable boolean, OUT reason text, OUT loaded_at timestamptz,
    OUT changed_by xid8, OUT valid_from timestamptz, OUT valid_until timestamptz, OUT document_bytes integer)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rolecall_cache_entry';
COMMENT ON FUNCTION rolecall.cache_entry(name, text) IS 'is a document cached, since when, for whom; and if not, why not';
