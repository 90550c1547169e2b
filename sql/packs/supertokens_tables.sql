-- SuperTokens: which tables there are, and how they are laid out.

CREATE OR REPLACE FUNCTION rolecall.supertokens_options(options jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tables jsonb := options -> 'tables';
    unknown text;
BEGIN
    IF jsonb_typeof(tables) <> 'object' OR EXISTS (SELECT FROM jsonb_each(tables) t WHERE jsonb_typeof(t.value) <> 'string') THEN
        RAISE EXCEPTION 'invalid tables: %', tables
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give an object: {"emailpassword_users": "the name that the table has"}.';
    END IF;
    SELECT string_agg(t.name, ', ') INTO unknown FROM jsonb_object_keys(tables) t(name)
    WHERE t.name <> ALL (ARRAY['apps', 'tenants', 'app_id_to_user_id', 'all_auth_recipe_users', 'recipe_user_tenants', 'userid_mapping',
                               'emailpassword_users', 'thirdparty_users', 'passwordless_users', 'webauthn_users',
                               'user_metadata', 'user_roles', 'user_last_active']);
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'the pack reads no table %', unknown USING ERRCODE = 'invalid_parameter_value';
    ELSIF options ->> 'layout' NOT IN ('apps', 'single', 'document') THEN
        RAISE EXCEPTION 'invalid layout: %', options ->> 'layout'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is "apps", "single" or "document"; NULL: it is found out.';
    ELSIF options ->> 'tenants_from' NOT IN ('all_auth_recipe_users', 'recipe_user_tenants') THEN
        RAISE EXCEPTION 'invalid tenants_from: %', options ->> 'tenants_from'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is "all_auth_recipe_users" or "recipe_user_tenants"; NULL: it is found out.';
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_options(jsonb) IS 'refuses arguments of install_supertokens() that mean nothing';

-- A table that is not there is not in the result.
CREATE OR REPLACE FUNCTION rolecall.supertokens_tables(options jsonb) RETURNS jsonb
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(jsonb_object_agg(t.known_as, format('%I.%I', n.nspname, c.relname)), '{}')
    FROM unnest(ARRAY['apps', 'tenants', 'app_id_to_user_id', 'all_auth_recipe_users', 'recipe_user_tenants', 'userid_mapping',
                      'emailpassword_users', 'thirdparty_users', 'passwordless_users', 'webauthn_users',
                      'user_metadata', 'user_roles', 'user_last_active']) t(known_as)
    JOIN pg_namespace n ON n.nspname = options ->> 'source'
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
         AND c.relname = coalesce(options -> 'tables' ->> t.known_as,
                                  concat_ws('_', nullif(options ->> 'prefix', ''), t.known_as))
$$;
COMMENT ON FUNCTION rolecall.supertokens_tables(jsonb) IS 'SuperTokens'' tables that there are: its name of each, and the name in this database';

CREATE OR REPLACE FUNCTION rolecall.has_columns(relation text, VARIADIC columns text[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT relation IS NOT NULL AND NOT EXISTS (
        SELECT FROM unnest(columns) c(name)
        WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation::regclass AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped))
$$;
COMMENT ON FUNCTION rolecall.has_columns(text, text[]) IS 'is there a relation, and does it have all of these columns?';

CREATE OR REPLACE FUNCTION rolecall.supertokens_layout(options jsonb, tables jsonb) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    layout text := coalesce(options ->> 'layout', CASE
        WHEN tables ? 'app_id_to_user_id' THEN 'apps'
        WHEN tables ? 'all_auth_recipe_users' THEN 'single'
        WHEN tables ? 'emailpassword_users' AND EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = (tables ->> 'emailpassword_users')::regclass AND (a.attname, a.atttypid) = ('user_id', 'uuid'::regtype))
            THEN 'document'
    END);
    needed text[] := ARRAY['emailpassword_users', 'user_metadata', 'user_roles', 'user_last_active'] || CASE layout
        WHEN 'apps' THEN ARRAY['app_id_to_user_id', 'userid_mapping', 'thirdparty_users', 'passwordless_users']
        WHEN 'single' THEN ARRAY['all_auth_recipe_users', 'userid_mapping', 'thirdparty_users', 'passwordless_users']
    END;
    missing text;
    fits boolean;
BEGIN
    SELECT string_agg(n.name, ', ') INTO missing FROM unnest(needed) n(name) WHERE NOT tables ? n.name;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'tables of SuperTokens are missing in schema "%": %', options ->> 'source', missing
            USING ERRCODE = 'undefined_table',
                  HINT = 'Say where they are: source (the schema), prefix, and tables for tables that were renamed.';
    END IF;
    fits := rolecall.has_columns(tables ->> 'emailpassword_users', VARIADIC '{user_id,email,time_joined}'::text[])
        AND rolecall.has_columns(tables ->> 'user_metadata', VARIADIC '{user_id,user_metadata}'::text[])
        AND rolecall.has_columns(tables ->> 'user_roles', VARIADIC '{user_id,role}'::text[])
        AND rolecall.has_columns(tables ->> 'user_last_active', VARIADIC '{user_id,last_active_time}'::text[])
        AND CASE layout
            WHEN 'apps' THEN rolecall.has_columns(tables ->> 'app_id_to_user_id', VARIADIC '{app_id,user_id,primary_or_recipe_user_id}'::text[])
                AND rolecall.has_columns(tables ->> 'emailpassword_users', VARIADIC '{app_id}'::text[])
                AND rolecall.has_columns(tables ->> 'user_roles', VARIADIC '{app_id,tenant_id}'::text[])
            WHEN 'single' THEN rolecall.has_columns(tables ->> 'all_auth_recipe_users', VARIADIC '{user_id}'::text[])
                AND NOT rolecall.has_columns(tables ->> 'all_auth_recipe_users', VARIADIC '{app_id}'::text[])
            ELSE layout = 'document' AND NOT rolecall.has_columns(tables ->> 'emailpassword_users', VARIADIC '{app_id}'::text[])
        END;
    IF fits IS NOT TRUE THEN
        RAISE EXCEPTION 'the layout of the tables in schema "%" is not recognized', options ->> 'source'
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = 'Known are the tables of SuperTokens with apps and tenants and linked accounts, those before there were tenants, and emailpassword_users, user_metadata, user_roles and user_last_active with uuids.';
    END IF;
    RETURN layout;
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_layout(jsonb, jsonb) IS 'apps, single or document';

-- The mode of SuperTokens' migration may be set in a file. What the tables say is used where it is clear.
CREATE OR REPLACE FUNCTION rolecall.supertokens_tenants_from(options jsonb, tables jsonb) RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen text := options ->> 'tenants_from';
    is_new_empty boolean;
    is_old_within_new boolean;
BEGIN
    IF chosen IS NULL AND tables ? 'all_auth_recipe_users' AND tables ? 'recipe_user_tenants' THEN
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s n WHERE n.app_id = $1), NOT EXISTS (
                            SELECT o.tenant_id::text, o.user_id FROM %s o WHERE o.app_id = $1
                            EXCEPT SELECT n.tenant_id::text, n.recipe_user_id FROM %1$s n WHERE n.app_id = $1)',
                       tables ->> 'recipe_user_tenants', tables ->> 'all_auth_recipe_users')
        INTO is_new_empty, is_old_within_new USING options ->> 'app';
        chosen := CASE WHEN is_new_empty THEN 'all_auth_recipe_users' WHEN is_old_within_new THEN 'recipe_user_tenants' END;
        IF chosen IS NULL THEN
            RAISE EXCEPTION 'it is not clear which table has the tenants of the users'
                USING ERRCODE = 'invalid_parameter_value',
                      DETAIL = format('Both %s and %s have rows, and the second lacks some of the first.', tables ->> 'all_auth_recipe_users', tables ->> 'recipe_user_tenants'),
                      HINT = 'Pass tenants_from => ''all_auth_recipe_users'' if SuperTokens'' migration_mode is LEGACY or DUAL_WRITE_READ_OLD, and ''recipe_user_tenants'' otherwise.';
        END IF;
    ELSIF chosen IS NULL THEN
        chosen := CASE WHEN tables ? 'recipe_user_tenants' THEN 'recipe_user_tenants' ELSE 'all_auth_recipe_users' END;
    END IF;
    IF NOT tables ? chosen THEN
        RAISE EXCEPTION 'tables of SuperTokens are missing in schema "%": %', options ->> 'source', chosen USING ERRCODE = 'undefined_table';
    END IF;
    RETURN chosen;
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_tenants_from(jsonb, jsonb) IS 'the table that has the tenants of users; for the layout with apps';

CREATE OR REPLACE FUNCTION rolecall.supertokens_found(options jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tables jsonb := rolecall.supertokens_tables(options);
    layout text := rolecall.supertokens_layout(options, tables);
    app text := options ->> 'app';
    tenant text := options ->> 'tenant';
    known boolean;
BEGIN
    IF layout <> 'apps' THEN
        IF (app, tenant) <> ('public', 'public') OR options ->> 'tenants_from' IS NOT NULL THEN
            RAISE EXCEPTION 'tables with layout "%" have no apps and no tenants', layout USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RETURN jsonb_build_object('tables', tables, 'layout', layout);
    END IF;
    IF tables ? 'apps' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s a WHERE a.app_id = $1)', tables ->> 'apps') INTO known USING app;
        IF NOT known THEN
            RAISE EXCEPTION 'app "%" does not exist', app USING ERRCODE = 'undefined_object';
        END IF;
    END IF;
    IF tables ? 'tenants' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s t WHERE (t.app_id, t.tenant_id) = ($1, $2))', tables ->> 'tenants') INTO known USING app, tenant;
        IF NOT known THEN
            RAISE EXCEPTION 'tenant "%" of app "%" does not exist', tenant, app USING ERRCODE = 'undefined_object';
        END IF;
    END IF;
    RETURN jsonb_build_object('tables', tables, 'layout', layout, 'tenants_from', rolecall.supertokens_tenants_from(options, tables));
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_found(jsonb) IS 'the tables, the layout and the table of tenants that these arguments of install_supertokens() mean';
