-- What packs of every kind share.

-- A template's parts between @ and @ are names of members of `parts`, whose values take their places. A value is not looked
-- at again, so that no name in it is mistaken for another.
CREATE OR REPLACE FUNCTION rolecall.fill(template text, parts jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    unknown text;
    filled text;
BEGIN
    SELECT string_agg(CASE WHEN t.n % 2 = 0 THEN parts ->> t.part ELSE t.part END, '' ORDER BY t.n),
           string_agg(t.part, ', ') FILTER (WHERE t.n % 2 = 0 AND parts ->> t.part IS NULL)
    INTO filled, unknown FROM string_to_table(template, '@') WITH ORDINALITY t(part, n);
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'a template has parts that are not given: %', unknown USING ERRCODE = 'internal_error';
    END IF;
    RETURN filled;
END
$$;
COMMENT ON FUNCTION rolecall.fill(text, jsonb) IS 'a template with its parts filled in';

-- The objects of a pack, and nothing else that may be in its schema.
CREATE OR REPLACE FUNCTION rolecall.pack_objects(pack name) RETURNS TABLE (kind text, object text, owner oid, acl aclitem[])
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'SCHEMA', format('%I', n.nspname), n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname = pack
    UNION ALL
    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, format('%I.%I', n.nspname, c.relname), c.relowner, c.relacl
    FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = pack AND (c.relname, c.relkind) IN (('subjects', 'r'), ('user_documents', 'v'), ('user_full_view', 'v'))
    UNION ALL
    SELECT 'FUNCTION', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), p.proowner, p.proacl
    FROM pg_namespace n JOIN pg_proc p ON p.pronamespace = n.oid AND p.prokind = 'f'
    WHERE n.nspname = pack AND (p.proname LIKE 'notify\_%' OR p.proname IN ('keep_subjects', 'keep_mapped_subjects', 'empty_subjects', 'user_id', 'get_user', 'get_users', 'users_by_email',
                                             'users_by_phone', 'all_users', 'reload', 'reload_user', 'forget_user'))
$$;
COMMENT ON FUNCTION rolecall.pack_objects(name) IS 'the objects that a pack has made in its schema, and the schema';

-- Gives the objects to the pack's owner, and takes away what PUBLIC and default privileges have.
CREATE OR REPLACE FUNCTION rolecall.settle_pack(pack name, owner name) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT p.kind, p.object FROM rolecall.pack_objects(pack) p LOOP
        EXECUTE format('ALTER %s %s OWNER TO %I', o.kind, o.object, owner);
    END LOOP;
    FOR o IN
        SELECT DISTINCT CASE p.kind WHEN 'VIEW' THEN 'TABLE' ELSE p.kind END AS kind, p.object,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM rolecall.pack_objects(pack) p
        CROSS JOIN LATERAL aclexplode(coalesce(p.acl, acldefault(CASE p.kind WHEN 'SCHEMA' THEN 'n' WHEN 'FUNCTION' THEN 'f' ELSE 'r' END::"char", p.owner))) a
        WHERE a.grantee <> p.owner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', o.kind, o.object, o.grantee);
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.settle_pack(name, name) IS 'gives a pack''s objects to its owner, with rights for nobody else';

-- What the pack's functions call, which run as its owner. Returns what the owner did not have.
CREATE OR REPLACE FUNCTION rolecall.give_to_pack(owner name) RETURNS text[]
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given text[] := '{}';
    f text;
BEGIN
    IF NOT has_schema_privilege(owner, 'rolecall', 'USAGE') THEN
        given := given || 'USAGE ON SCHEMA rolecall'::text;
    END IF;
    FOREACH f IN ARRAY ARRAY['rolecall.try_jsonb(text)', 'rolecall.project(name, text)', 'rolecall.project_many(name, text[])',
                             'rolecall.reload(name)', 'rolecall.invalidate(name, text)'] LOOP
        IF NOT has_function_privilege(owner, f, 'EXECUTE') THEN
            given := given || ('EXECUTE ON FUNCTION ' || f);
        END IF;
    END LOOP;
    FOREACH f IN ARRAY given LOOP
        EXECUTE format('GRANT %s TO %I', f, owner);
    END LOOP;
    RETURN given;
END
$$;
COMMENT ON FUNCTION rolecall.give_to_pack(name) IS 'lets the owner of a pack call what its functions call; returns what was granted';

CREATE OR REPLACE FUNCTION rolecall.installed_pack(pack name) RETURNS rolecall.packs
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_row rolecall.packs;
BEGIN
    SELECT p.* INTO found_row FROM rolecall.packs p WHERE p.schema = pack;
    IF found_row.schema IS NULL THEN
        RAISE EXCEPTION 'no pack was installed into schema "%"', pack
            USING ERRCODE = 'undefined_object', HINT = 'The table rolecall.packs lists them.';
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION rolecall.installed_pack(name) IS 'the row of a pack, or an error';

CREATE OR REPLACE FUNCTION rolecall.uninstall_pack("into" name) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack rolecall.packs := rolecall.installed_pack("into");
    heir name;
    part text;
    o record;
BEGIN
    IF NOT pack.is_installed THEN
        RAISE EXCEPTION 'the pack in schema "%" is not installed', "into"
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'rolecall.reinstall_pack() puts it back.';
    END IF;
    UPDATE rolecall.packs p SET is_installed = false, given = '{}', grants = ARRAY(
        SELECT format('GRANT %s ON %s %s TO %s%s', a.privilege_type, CASE q.kind WHEN 'VIEW' THEN 'TABLE' ELSE q.kind END, q.object,
                      CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END)
        FROM rolecall.pack_objects(p.schema) q CROSS JOIN LATERAL aclexplode(q.acl) a WHERE a.grantee <> q.owner)
    WHERE p.schema = "into";
    PERFORM rolecall.lock_pack_tables(pack.found, 'ACCESS EXCLUSIVE');
    IF EXISTS (SELECT FROM rolecall.projections p WHERE p.name = pack.projection AND NOT p.builtin) THEN
        PERFORM rolecall.drop_projection(pack.projection);
    END IF;
    FOR o IN
        SELECT g.tgname, g.tgrelid::regclass AS relation FROM pg_trigger g
        JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = "into" AND (p.proname LIKE 'notify\_%' OR p.proname IN ('keep_subjects', 'keep_mapped_subjects', 'empty_subjects')) AND NOT g.tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', o.tgname, o.relation);
    END LOOP;
    FOR o IN SELECT q.kind, q.object FROM rolecall.pack_objects("into") q
             ORDER BY q.kind = 'SCHEMA', q.object NOT LIKE '%.user\_full\_view', q.object NOT LIKE '%.user\_documents' LOOP
        EXECUTE format('DROP %s %s', o.kind, o.object);
    END LOOP;
    -- Another pack of the same owner goes on using what was given.
    SELECT p.schema INTO heir FROM rolecall.packs p WHERE p.owner = pack.owner AND p.is_installed LIMIT 1;
    IF heir IS NOT NULL THEN
        UPDATE rolecall.packs p SET given = p.given || pack.given WHERE p.schema = heir;
    ELSE
        FOREACH part IN ARRAY pack.given LOOP
            EXECUTE format('REVOKE %s FROM %I', part, pack.owner);
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.uninstall_pack(name) IS 'takes a pack off: drops its projection, its triggers and its objects; reinstall_pack() puts it back';

-- In the order of their names, so that two of these calls do not wait for each other.
CREATE OR REPLACE FUNCTION rolecall.lock_pack_tables(known jsonb, mode text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation text;
BEGIN
    FOR relation IN SELECT t.value FROM jsonb_each_text(known -> 'tables') t
        WHERE t.key NOT IN ('apps', 'tenants', 'user_last_active') AND to_regclass(t.value) IS NOT NULL ORDER BY t.value COLLATE "C" LOOP
        EXECUTE format('LOCK TABLE %s IN %s MODE', relation, mode);
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.lock_pack_tables(jsonb, text) IS 'locks the tables behind a pack, always in the same order';

CREATE OR REPLACE FUNCTION rolecall.reinstall_pack("into" name) RETURNS TABLE (object text, kind text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack rolecall.packs := rolecall.installed_pack("into");
    rights text[];
    right_again text;
BEGIN
    IF pack.is_installed THEN
        PERFORM rolecall.uninstall_pack("into");
    END IF;
    SELECT p.grants INTO rights FROM rolecall.packs p WHERE p.schema = "into";
    RETURN QUERY SELECT i.object, i.kind FROM rolecall.put_supertokens("into", pack.options) i;
    FOREACH right_again IN ARRAY rights LOOP
        BEGIN
            EXECUTE right_again;
        EXCEPTION WHEN undefined_object OR undefined_function OR undefined_table THEN
            RAISE WARNING 'a right was not granted again: %', right_again USING DETAIL = SQLERRM;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.reinstall_pack(name) IS 'installs a pack again, as it was installed, with the rights that were granted on its objects';

CREATE OR REPLACE FUNCTION rolecall.check_pack("into" name, OUT problem text, OUT repair text) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack rolecall.packs := rolecall.installed_pack("into");
BEGIN
    repair := format('SELECT rolecall.reinstall_pack(%L)', "into");
    IF NOT pack.is_installed THEN
        problem := 'the pack is not installed';
        RETURN NEXT;
        RETURN;
    END IF;
    PERFORM FROM rolecall.projections p WHERE p.name = pack.projection AND NOT p.builtin;
    IF NOT FOUND THEN
        problem := format('projection "%s" does not exist', pack.projection);
        RETURN NEXT;
    ELSE
        RETURN QUERY SELECT p.problem, coalesce(p.repair, format('SELECT rolecall.reinstall_pack(%L)', "into"))
                     FROM rolecall.projection_problems(pack.projection) p;
    END IF;
    RETURN QUERY SELECT s.problem, check_pack.repair FROM rolecall.supertokens_problems(pack) s;
END
$$;
COMMENT ON FUNCTION rolecall.check_pack(name) IS 'what keeps a pack from answering, or from answering out of memory, and the command that repairs it; no row: all is in order';
