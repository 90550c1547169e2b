-- SuperTokens: one notification for each statement that changes users, for listeners that keep copies of their own.

-- From rows that a statement has changed (c) to the primary ids of the users whom they concern.
CREATE OR REPLACE FUNCTION rolecall.supertokens_changed(known_as text, layout text, rows text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN layout = 'document' THEN 'SELECT c.user_id::text FROM ' || rows || ' c'
        WHEN known_as IN ('app_id_to_user_id', 'all_auth_recipe_users') AND (known_as = 'app_id_to_user_id') = (layout = 'apps')
            THEN 'SELECT c.@primary@::text FROM ' || rows || ' c WHERE true @app_c@'
        WHEN known_as IN ('user_metadata', 'user_roles')
            THEN 'SELECT s.supertokens_user_id::text FROM ' || rows || ' c JOIN @into@.subjects s ON s.subject_id = c.user_id WHERE true @app_c@'
        ELSE format('SELECT m.@primary@::text FROM %s c JOIN @members@ m ON m.user_id = c.%s @app_m@ WHERE true @app_c@', rows,
                    CASE known_as WHEN 'userid_mapping' THEN 'supertokens_user_id' WHEN 'recipe_user_tenants' THEN 'recipe_user_id' ELSE 'user_id' END)
    END
$$;
COMMENT ON FUNCTION rolecall.supertokens_changed(text, text, text) IS 'a template of the query for whom changed rows of a table concern';

CREATE OR REPLACE FUNCTION rolecall.put_supertokens_notify(pack name, parts jsonb, known jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $put$
DECLARE
    layout text := known ->> 'layout';
    t record;
    event text;
BEGIN
    FOR t IN
        SELECT e.key AS known_as, e.value AS relation FROM jsonb_each_text(known -> 'tables') e
        WHERE e.key NOT IN ('apps', 'tenants', 'user_last_active', 'all_auth_recipe_users', 'recipe_user_tenants')
           OR e.key = known ->> 'tenants_from' OR (layout, e.key) = ('single', 'all_auth_recipe_users')
        ORDER BY e.key
    LOOP
        CONTINUE WHEN layout = 'document' AND t.known_as NOT IN ('emailpassword_users', 'user_metadata', 'user_roles');
        -- A notification holds 8000 bytes at most.
        PERFORM rolecall.put_pack_function(pack, format('notify_%s()', t.known_as), 'trigger', 'LANGUAGE plpgsql', 'tells listeners whom a statement concerns', replace(replace($body$
DECLARE
    ids text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ids := ARRAY(SELECT DISTINCT i.id FROM (@new@) i(id) ORDER BY i.id);
    ELSIF TG_OP = 'DELETE' THEN
        ids := ARRAY(SELECT DISTINCT i.id FROM (@old@) i(id) ORDER BY i.id);
    ELSIF TG_OP = 'UPDATE' THEN
        ids := ARRAY(SELECT i.id FROM (@old@ UNION @new@) i(id) ORDER BY i.id);
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(ids) > 150 THEN
        PERFORM pg_notify(@channel@, '{"all": true}');
    ELSIF cardinality(ids) > 0 THEN
        PERFORM pg_notify(@channel@, jsonb_build_object('users', ids)::text);
    END IF;
    RETURN NULL;
END
$body$, '@old@', rolecall.supertokens_changed(t.known_as, layout, 'old_rows')), '@new@', rolecall.supertokens_changed(t.known_as, layout, 'new_rows')),
            parts || jsonb_build_object('channel', quote_literal(pack)));
        FOREACH event IN ARRAY ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] LOOP
            EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION %I.%I()',
                           left(format('rolecall_notify_%s_%s', lower(event), pack), 63), event, t.relation,
                           CASE event WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows' WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS old_rows'
                                      WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows' ELSE '' END,
                           pack, 'notify_' || t.known_as);
        END LOOP;
    END LOOP;
END
$put$;
COMMENT ON FUNCTION rolecall.put_supertokens_notify(name, jsonb, jsonb) IS 'creates the triggers that tell listeners which users have changed';
