-- SuperTokens: installing the pack, and what may be wrong with it.

CREATE OR REPLACE FUNCTION rolecall.put_supertokens(pack name, options jsonb) RETURNS TABLE (object text, kind text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known jsonb;
    parts jsonb;
    layout text;
    view text;
    projection name := CASE WHEN (options -> 'as_me')::boolean THEN 'me' ELSE pack END;
    pack_owner name;
    members text;
    subjects text := format('%I.subjects', pack);
    lookup_by_member jsonb;
    lookup_by_subject jsonb;
    watches jsonb;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a pack is installed in READ COMMITTED only'
            USING ERRCODE = 'active_sql_transaction', DETAIL = 'An older snapshot would miss rows that were committed before the tables were locked.';
    END IF;
    PERFORM rolecall.supertokens_options(options);
    known := rolecall.supertokens_found(options);
    layout := known ->> 'layout';
    -- Rights before effects: who may not write this table makes nothing.
    INSERT INTO rolecall.packs AS p (schema, kind, options, projection, owner, found)
    VALUES (pack, 'supertokens', options, projection, '', known)
    ON CONFLICT (schema) DO UPDATE SET (options, projection, owner, found, is_installed) = (EXCLUDED.options, EXCLUDED.projection, '', EXCLUDED.found, true)
    WHERE NOT p.is_installed;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'schema "%" has a pack already', pack
            USING ERRCODE = 'duplicate_object', HINT = 'rolecall.reinstall_pack() installs it again, rolecall.uninstall_pack() takes it off.';
    END IF;
    PERFORM rolecall.lock_pack_tables(known, 'SHARE ROW EXCLUSIVE');
    pack_owner := coalesce(options ->> 'owner', (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = (known -> 'tables' ->> 'emailpassword_users')::regclass));
    EXECUTE format('CREATE SCHEMA %I', pack);
    parts := rolecall.supertokens_parts(pack, options, known) || jsonb_build_object(
        'projection', quote_literal(projection),
        'subjects_trigger', quote_ident(left('rolecall_subjects_' || pack, 63)), 'truncate_trigger', quote_ident(left('rolecall_truncate_' || pack, 63)),
        'is_same_app', CASE WHEN layout = 'apps' THEN 'AND NEW.app_id = OLD.app_id' ELSE '' END,
        'is_old_app', CASE WHEN layout = 'apps' THEN format('AND OLD.app_id = %L', options ->> 'app') ELSE '' END,
        'is_new_app', CASE WHEN layout = 'apps' THEN format('AND NEW.app_id = %L', options ->> 'app') ELSE '' END);
    IF layout <> 'document' THEN
        PERFORM rolecall.put_supertokens_subjects(pack, parts);
    END IF;
    FOREACH view IN ARRAY rolecall.supertokens_views(layout) LOOP
        EXECUTE rolecall.fill(view, parts);
    END LOOP;
    EXECUTE rolecall.fill($sql$
        COMMENT ON VIEW @into@.user_documents IS 'the document of each user, without the last activity';
        COMMENT ON VIEW @into@.user_full_view IS 'one row per user, with everything known about the user'
    $sql$, parts);
    PERFORM rolecall.put_supertokens_functions(pack, parts, layout);
    IF (options -> 'notify')::boolean THEN
        PERFORM rolecall.put_supertokens_notify(pack, parts, known);
    END IF;
    PERFORM rolecall.settle_pack(pack, pack_owner);
    UPDATE rolecall.packs p SET owner = pack_owner, given = rolecall.give_to_pack(pack_owner) WHERE p.schema = pack;

    members := parts ->> 'members';
    IF layout = 'apps' THEN
        lookup_by_member := jsonb_build_object('lookup', 'user_id', 'referencing', jsonb_build_object(members, 'user_id'));
        watches := jsonb_build_object(
            members, 'primary_or_recipe_user_id', subjects, 'supertokens_user_id',
            known -> 'tables' ->> (known ->> 'tenants_from'), lookup_by_member
                || jsonb_build_object('lookup', CASE known ->> 'tenants_from' WHEN 'recipe_user_tenants' THEN 'recipe_user_id' ELSE 'user_id' END),
            parts ->> 'emailpassword', lookup_by_member, parts ->> 'thirdparty', lookup_by_member, parts ->> 'passwordless', lookup_by_member);
        IF known -> 'tables' ? 'webauthn_users' THEN
            watches := watches || jsonb_build_object(parts ->> 'webauthn', lookup_by_member);
        END IF;
    ELSIF layout = 'single' THEN
        watches := jsonb_build_object(
            members, 'user_id', subjects, 'supertokens_user_id',
            parts ->> 'emailpassword', 'user_id', parts ->> 'thirdparty', 'user_id', parts ->> 'passwordless', 'user_id');
    ELSE
        watches := jsonb_build_object(parts ->> 'emailpassword', 'user_id', parts ->> 'metadata', 'user_id', parts ->> 'roles', 'user_id');
    END IF;
    IF layout <> 'document' THEN
        lookup_by_subject := jsonb_build_object('lookup', 'user_id', 'referencing', jsonb_build_object(subjects, 'subject_id'));
        watches := watches || jsonb_build_object(parts ->> 'metadata', lookup_by_subject, parts ->> 'roles', lookup_by_subject);
    END IF;
    PERFORM rolecall.create_projection(projection, format('%I.user_documents', pack)::regclass, 'uid'::name, 'doc'::name, watches => watches);
    IF layout = 'apps' THEN
        PERFORM rolecall.watch_lookup(projection, subjects::regclass, 'supertokens_user_id'::name, jsonb_build_object(members, 'user_id'));
    END IF;
    RETURN QUERY SELECT o.object, lower(o.kind) FROM rolecall.pack_objects(pack) o UNION ALL SELECT projection::text, 'projection';
END
$$;
COMMENT ON FUNCTION rolecall.put_supertokens(name, jsonb) IS 'what install_supertokens() and reinstall_pack() share';

CREATE OR REPLACE FUNCTION rolecall.install_supertokens(
    "into" name, source name DEFAULT 'public', prefix text DEFAULT '', tables jsonb DEFAULT '{}', app text DEFAULT 'public', tenant text DEFAULT 'public',
    layout text DEFAULT NULL, tenants_from text DEFAULT NULL, owner name DEFAULT NULL, as_me boolean DEFAULT false, notify boolean DEFAULT false) RETURNS TABLE (object text, kind text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nulls("into", source, prefix, tables, app, tenant, as_me, notify) > 0 THEN
        RAISE EXCEPTION 'only layout, tenants_from and owner may be NULL' USING ERRCODE = 'null_value_not_allowed';
    END IF;
    RETURN QUERY SELECT p.object, p.kind FROM rolecall.put_supertokens("into", jsonb_build_object(
        'source', source, 'prefix', prefix, 'tables', tables, 'app', app, 'tenant', tenant,
        'layout', layout, 'tenants_from', tenants_from, 'owner', owner, 'as_me', as_me, 'notify', notify)) p;
END
$$;
COMMENT ON FUNCTION rolecall.install_supertokens(name, name, text, jsonb, text, text, text, text, name, boolean, boolean) IS 'makes a schema with the users of SuperTokens: a projection over its tables, and the functions that answer from it';

CREATE OR REPLACE FUNCTION rolecall.supertokens_problems(pack rolecall.packs) RETURNS TABLE (problem text)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts jsonb := rolecall.supertokens_parts(pack.schema, pack.options, pack.found);
    found_now jsonb;
    wrong bigint;
BEGIN
    BEGIN
        found_now := rolecall.supertokens_found(pack.options);
    EXCEPTION WHEN undefined_table OR undefined_object OR feature_not_supported OR invalid_parameter_value THEN
        RETURN QUERY SELECT SQLERRM;
    END;
    IF found_now <> pack.found THEN
        RETURN QUERY SELECT format('the tables are laid out in another way than when the pack was installed: %s', string_agg(d.member, ', '))
                     FROM (SELECT key FROM jsonb_each(found_now) n WHERE n.value IS DISTINCT FROM pack.found -> n.key) d(member);
    END IF;
    IF pack.found ->> 'layout' = 'document' THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT format('trigger "%s" on %s is not in place', t.name, t.relation)
    FROM (VALUES (left('rolecall_subjects_' || pack.schema, 63)), (left('rolecall_truncate_' || pack.schema, 63))) n(name)
    CROSS JOIN LATERAL (VALUES (n.name, parts ->> 'members'), (n.name, parts ->> 'mapping')) t(name, relation)
    WHERE to_regclass(t.relation) IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.relation::regclass AND g.tgname = t.name AND g.tgenabled = 'A');
    EXECUTE rolecall.fill($sql$
        SELECT count(*) FROM @members@ m
        LEFT JOIN @mapping@ x ON x.supertokens_user_id = m.user_id @app_x@
        LEFT JOIN @into@.subjects s ON s.supertokens_user_id = m.user_id
        WHERE s.subject_id IS DISTINCT FROM coalesce(x.external_user_id, m.user_id::text) @app_m@
    $sql$, parts) INTO wrong;
    IF wrong > 0 THEN
        RETURN QUERY SELECT format('the helper table is wrong about %s users', wrong);
    END IF;
EXCEPTION WHEN undefined_table OR undefined_column THEN
    RETURN QUERY SELECT SQLERRM;
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_problems(rolecall.packs) IS 'what check_pack() says of a pack of this kind';
