-- SuperTokens: the functions that answer, and the triggers that keep the helper table. They run as the pack's owner.

CREATE OR REPLACE FUNCTION rolecall.put_pack_function(
    pack name, signature text, result text, attributes text, comment text, template text, parts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION %I.%s RETURNS %s %s SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
                   pack, signature, result, attributes, rolecall.fill(template, parts));
    EXECUTE format('COMMENT ON FUNCTION %I.%I IS %L', pack, split_part(signature, '(', 1), comment);
END
$$;
COMMENT ON FUNCTION rolecall.put_pack_function(name, text, text, text, text, text, jsonb) IS 'creates a function of a pack from a template';

-- By which id the other recipes know a user: the external id if the id is mapped.
CREATE OR REPLACE FUNCTION rolecall.put_supertokens_subjects(pack name, parts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $put$
BEGIN
    EXECUTE rolecall.fill($sql$
        CREATE TABLE @into@.subjects (supertokens_user_id char(36) PRIMARY KEY, subject_id varchar(128) NOT NULL);
        CREATE INDEX subjects_subject_id ON @into@.subjects (subject_id);
        COMMENT ON TABLE @into@.subjects IS 'by which id other recipes know a user; kept by triggers on the tables of users and of mapped ids'
    $sql$, parts);
    PERFORM rolecall.put_pack_function(pack, 'keep_subjects()', 'trigger', 'LANGUAGE plpgsql', 'keeps subjects when users come and go', $body$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.user_id = OLD.user_id @is_same_app@ THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM @into@.subjects s WHERE s.supertokens_user_id = OLD.user_id @is_old_app@;
    END IF;
    -- A mapping comes after its user, by a foreign key; one that an old snapshot still sees may be gone. Where replication brings
    -- it first, it stays.
    IF TG_OP <> 'DELETE' @is_new_app@ THEN
        INSERT INTO @into@.subjects VALUES (NEW.user_id, NEW.user_id::text) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$body$, parts);
    PERFORM rolecall.put_pack_function(pack, 'keep_mapped_subjects()', 'trigger', 'LANGUAGE plpgsql', 'keeps subjects when ids are mapped', $body$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE @into@.subjects s SET subject_id = OLD.supertokens_user_id::text WHERE s.supertokens_user_id = OLD.supertokens_user_id @is_old_app@;
    END IF;
    IF TG_OP <> 'DELETE' @is_new_app@ THEN
        INSERT INTO @into@.subjects VALUES (NEW.supertokens_user_id, NEW.external_user_id)
        ON CONFLICT (supertokens_user_id) DO UPDATE SET subject_id = EXCLUDED.subject_id;
    END IF;
    RETURN NULL;
END
$body$, parts);
    PERFORM rolecall.put_pack_function(pack, 'empty_subjects()', 'trigger', 'LANGUAGE plpgsql', 'keeps subjects when a table is truncated', $body$
BEGIN
    IF TG_ARGV[0] = 'members' THEN
        DELETE FROM @into@.subjects;
    ELSE
        UPDATE @into@.subjects s SET subject_id = s.supertokens_user_id::text WHERE s.subject_id <> s.supertokens_user_id::text;
    END IF;
    RETURN NULL;
END
$body$, parts);
    -- Also for what replication applies: there is no other copy of the helper table.
    EXECUTE rolecall.fill($sql$
        CREATE TRIGGER @subjects_trigger@ AFTER INSERT OR DELETE OR UPDATE ON @members@ FOR EACH ROW EXECUTE FUNCTION @into@.keep_subjects();
        CREATE TRIGGER @truncate_trigger@ AFTER TRUNCATE ON @members@ FOR EACH STATEMENT EXECUTE FUNCTION @into@.empty_subjects('members');
        CREATE TRIGGER @subjects_trigger@ AFTER INSERT OR DELETE OR UPDATE ON @mapping@ FOR EACH ROW EXECUTE FUNCTION @into@.keep_mapped_subjects();
        CREATE TRIGGER @truncate_trigger@ AFTER TRUNCATE ON @mapping@ FOR EACH STATEMENT EXECUTE FUNCTION @into@.empty_subjects('mapping');
        ALTER TABLE @members@ ENABLE ALWAYS TRIGGER @subjects_trigger@, ENABLE ALWAYS TRIGGER @truncate_trigger@;
        ALTER TABLE @mapping@ ENABLE ALWAYS TRIGGER @subjects_trigger@, ENABLE ALWAYS TRIGGER @truncate_trigger@;
        INSERT INTO @into@.subjects
        SELECT m.user_id, coalesce(x.external_user_id, m.user_id::text)
        FROM @members@ m LEFT JOIN @mapping@ x ON x.supertokens_user_id = m.user_id @app_x@ WHERE true @app_m@
    $sql$, parts);
END
$put$;
COMMENT ON FUNCTION rolecall.put_supertokens_subjects(name, jsonb) IS 'creates and fills the helper table of the pack, and the triggers that keep it';

CREATE OR REPLACE FUNCTION rolecall.put_supertokens_functions(pack name, parts jsonb, layout text) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $put$
DECLARE
    reads CONSTANT text := 'LANGUAGE sql STABLE STRICT PARALLEL SAFE';
    writes CONSTANT text := 'LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE';
    found_by CONSTANT text := $sql$
    SELECT d.doc || jsonb_build_object('last_active_time', @last_active_of_key@)
    FROM (SELECT DISTINCT m.@primary@::text AS key FROM (@found@) f JOIN @members@ m ON m.user_id = f.user_id @app_m@ WHERE @is_in_tenant@) k
    CROSS JOIN LATERAL rolecall.project(@projection@, k.key) d(doc)
    WHERE d.doc IS NOT NULL
    ORDER BY (d.doc -> 'time_joined')::bigint, k.key COLLATE "C"
$sql$;
    is_document CONSTANT boolean := layout = 'document';
    any_address CONSTANT text := 'SELECT e.user_id FROM @emailpassword@ e WHERE e.email = lower(btrim($1, E'' \t\n\r\f\v'')) @app_e@'
        || CASE WHEN is_document THEN '' ELSE '
        UNION ALL SELECT t.user_id FROM @thirdparty@ t WHERE t.email = lower(btrim($1, E'' \t\n\r\f\v'')) @app_t@
        UNION ALL SELECT w.user_id FROM @passwordless@ w WHERE w.email = lower(btrim($1, E'' \t\n\r\f\v'')) @app_w@
        UNION ALL SELECT a.user_id FROM @webauthn@ a WHERE a.email = lower(btrim($1, E'' \t\n\r\f\v'')) @app_a@' END;
    all_parts jsonb := parts || jsonb_build_object(
        'last_active_of_key', rolecall.fill(format('(SELECT l.last_active_time FROM @last_active@ l WHERE l.user_id = k.key%s @app_l@)', CASE WHEN is_document THEN '::uuid' END), parts));
    tenant CONSTANT text := format('tenant text DEFAULT %s', parts ->> 'tenant');
BEGIN
    IF is_document THEN
        all_parts := all_parts || jsonb_build_object('primary', 'user_id', 'members', parts ->> 'emailpassword');
    END IF;
    PERFORM rolecall.put_pack_function(pack, 'user_id(id text)', 'text', reads, 'the primary user''s SuperTokens id, by any id of a login method; NULL when there is none',
        CASE WHEN is_document THEN $body$
    SELECT e.user_id::text FROM @members@ e
    WHERE e.user_id = CASE WHEN $1 ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN $1::uuid END
$body$ ELSE $body$
    SELECT m.@primary@::text FROM @members@ m
    WHERE m.user_id = coalesce((SELECT x.supertokens_user_id FROM @mapping@ x WHERE x.supertokens_user_id = $1::bpchar @app_x@),
                               (SELECT x.supertokens_user_id FROM @mapping@ x WHERE x.external_user_id = $1 @app_x@), $1::bpchar) @app_m@
$body$ END, all_parts);
    PERFORM rolecall.put_pack_function(pack, 'get_user(id text)', 'jsonb', reads, 'the user, by any id of a login method; NULL when there is none', $body$
    SELECT d.doc || jsonb_build_object('last_active_time', @last_active_of_key@)
    FROM (SELECT @into@.user_id($1)) k(key) CROSS JOIN LATERAL rolecall.project(@projection@, k.key) d(doc)
    WHERE d.doc IS NOT NULL
$body$, all_parts);
    PERFORM rolecall.put_pack_function(pack, 'get_users(ids text[])', 'TABLE (id text, doc jsonb)', reads || ' ROWS 10',
        'many users, one row each, in the order of the ids; doc is NULL where there is no such user', $body$
    WITH k AS MATERIALIZED (SELECT i.id, i.n, @into@.user_id(i.id) AS key FROM unnest($1) WITH ORDINALITY i(id, n))
    SELECT k.id, CASE WHEN d.doc IS NOT NULL THEN d.doc || jsonb_build_object('last_active_time', @last_active_of_key@) END
    FROM k JOIN rolecall.project_many(@projection@, (SELECT array_agg(k.key ORDER BY k.n) FROM k)) WITH ORDINALITY d(key, doc, n) ON d.n = k.n
    ORDER BY k.n
$body$, all_parts);
    PERFORM rolecall.put_pack_function(pack, format('users_by_email(email text, %s)', tenant), 'SETOF jsonb', reads || ' ROWS 1',
        'the users with a login method that has this address in this tenant, by time joined', rolecall.fill_found(found_by, any_address), all_parts);
    IF NOT is_document THEN
        PERFORM rolecall.put_pack_function(pack, format('users_by_phone(phone_number text, %s)', tenant), 'SETOF jsonb', reads || ' ROWS 1',
            'the users with a login method that has this phone number in this tenant, by time joined',
            rolecall.fill_found(found_by, 'SELECT w.user_id FROM @passwordless@ w WHERE w.phone_number = btrim($1, E'' \t\n\r\f\v'') @app_w@'), all_parts);
    END IF;
    PERFORM rolecall.put_pack_function(pack, 'all_users(after text DEFAULT NULL, most integer DEFAULT 1000)', 'TABLE (primary_user_id text, doc jsonb)',
        'LANGUAGE sql STABLE PARALLEL SAFE', 'users in the order of their primary SuperTokens ids, after one of these; at most so many', $body$
    SELECT k.key, k.doc || jsonb_build_object('last_active_time', @last_active_of_key@)
    -- OFFSET keeps the planner from asking for documents twice.
    FROM (SELECT m.user_id::text AS key, rolecall.project(@projection@, m.user_id::text) AS doc
          FROM @members@ m WHERE @is_after@ @app_m@ ORDER BY m.user_id OFFSET 0) k
    WHERE k.doc IS NOT NULL
    LIMIT $2
$body$, all_parts || jsonb_build_object('is_after', CASE WHEN is_document THEN '($1 IS NULL OR m.user_id > $1::uuid)' ELSE 'm.user_id > coalesce($1::bpchar, '''')' END));
    PERFORM rolecall.put_pack_function(pack, 'reload()', 'void', writes, 'all users are read again, in the background',
        'SELECT rolecall.reload(@projection@)', all_parts);
    PERFORM rolecall.put_pack_function(pack, 'reload_user(id text)', 'void', writes, 'the user is read again when somebody asks, once this transaction has committed',
        'SELECT rolecall.invalidate(@projection@, coalesce(@into@.user_id($1), $1))', all_parts);
    PERFORM rolecall.put_pack_function(pack, 'forget_user(id text)', 'void', writes, 'what is in memory of the user is not used any more, once this transaction has committed',
        'SELECT rolecall.invalidate(@projection@, coalesce(@into@.user_id($1), $1))', all_parts);
END
$put$;
COMMENT ON FUNCTION rolecall.put_supertokens_functions(name, jsonb, text) IS 'creates the functions of the pack that answer';

-- What is found is a template itself.
CREATE OR REPLACE FUNCTION rolecall.fill_found(template text, found text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT replace(template, '@found@', found)
$$;
COMMENT ON FUNCTION rolecall.fill_found(text, text) IS 'a template of a search with the query that finds';
