-- SuperTokens: the views. Aliases: p primary, m member, s and o subjects, e, t, w and a the recipes, n tenants, d metadata,
-- r roles, l last activity, x mapped ids, c rows that a statement has changed. A part named app_x is "AND x.app_id = ..." where there are apps.

CREATE OR REPLACE FUNCTION rolecall.supertokens_parts(pack name, options jsonb, known jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tables jsonb := known -> 'tables';
    layout text := known ->> 'layout';
    has_apps boolean := layout = 'apps';
    tenants text := tables ->> (known ->> 'tenants_from');
    tenant_user text := CASE known ->> 'tenants_from' WHEN 'recipe_user_tenants' THEN 'recipe_user_id' ELSE 'user_id' END;
BEGIN
    RETURN (SELECT jsonb_object_agg('app_' || x.alias, CASE WHEN has_apps THEN format('AND %s.app_id = %L', x.alias, options ->> 'app') ELSE '' END)
            FROM unnest(ARRAY['p', 'm', 'e', 't', 'w', 'a', 'n', 'd', 'r', 'l', 'x', 'c']) x(alias))
        || jsonb_build_object(
            'into', format('%I', pack),
            'members', tables ->> CASE WHEN has_apps THEN 'app_id_to_user_id' ELSE 'all_auth_recipe_users' END,
            'primary', CASE WHEN has_apps THEN 'primary_or_recipe_user_id' ELSE 'user_id' END,
            'mapping', tables ->> 'userid_mapping',
            'emailpassword', tables ->> 'emailpassword_users',
            'thirdparty', tables ->> 'thirdparty_users',
            'passwordless', tables ->> 'passwordless_users',
            'webauthn', coalesce(tables ->> 'webauthn_users', '(SELECT NULL::varchar AS app_id, NULL::bpchar AS user_id, NULL::varchar AS email, NULL::bigint AS time_joined WHERE false)'),
            'metadata', tables ->> 'user_metadata',
            'roles', tables ->> 'user_roles',
            'last_active', tables ->> 'user_last_active',
            'tenant', quote_literal(options ->> 'tenant'),
            'role_tenant', CASE WHEN has_apps THEN 'r.tenant_id::text' ELSE '''public''::text' END,
            'tenants_of_member', CASE WHEN has_apps THEN format(
                '(SELECT array_agg(DISTINCT n.tenant_id::text COLLATE "C" ORDER BY n.tenant_id::text COLLATE "C") FROM %s n WHERE n.%I = m.user_id AND n.app_id = %L)',
                tenants, tenant_user, options ->> 'app') ELSE '''{public}''::text[]' END,
            'is_in_tenant', CASE WHEN has_apps THEN format(
                'EXISTS (SELECT FROM %s n WHERE n.%I = f.user_id AND n.tenant_id = $2 AND n.app_id = %L)',
                tenants, tenant_user, options ->> 'app') ELSE '$2 = ''public''' END);
END
$$;
COMMENT ON FUNCTION rolecall.supertokens_parts(name, jsonb, jsonb) IS 'what the templates of the pack are filled with';

CREATE OR REPLACE FUNCTION rolecall.supertokens_views(layout text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN layout = 'document' THEN ARRAY[$document$ CREATE VIEW @into@.user_documents AS
SELECT e.user_id AS uid,
       jsonb_build_object(
           'user_id', e.user_id::text,
           'primary_user_id', e.user_id::text,
           'email', e.email,
           'emails', jsonb_build_array(e.email),
           'phone_numbers', '[]'::jsonb,
           'time_joined', e.time_joined,
           'login_methods', jsonb_build_array(jsonb_build_object('recipe_id', 'emailpassword', 'recipe_user_id', e.user_id::text,
                                                                 'time_joined', e.time_joined, 'email', e.email, 'phone_number', NULL::text,
                                                                 'third_party_id', NULL::text, 'third_party_user_id', NULL::text, 'tenants', '["public"]'::jsonb)),
           'tenants', '["public"]'::jsonb,
           'roles', g.roles,
           'roles_by_tenant', CASE WHEN g.roles = '[]' THEN '{}' ELSE jsonb_build_object('public', g.roles) END,
           'metadata', CASE jsonb_typeof(j.value) WHEN 'object' THEN j.value ELSE '{}' END,
           'metadata_broken', d.user_metadata IS NOT NULL AND jsonb_typeof(j.value) IS DISTINCT FROM 'object') AS doc
FROM @emailpassword@ e
CROSS JOIN LATERAL (SELECT coalesce(jsonb_agg(r.role::text ORDER BY r.role::text COLLATE "C"), '[]') AS roles FROM @roles@ r WHERE r.user_id = e.user_id) g
LEFT JOIN @metadata@ d ON d.user_id = e.user_id
LEFT JOIN LATERAL (SELECT rolecall.try_jsonb(d.user_metadata::text) AS value) j ON true
$document$, $document$ CREATE VIEW @into@.user_full_view AS
SELECT e.user_id, e.email, e.time_joined, v.doc -> 'metadata' AS metadata, l.last_active_time,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'roles')) AS roles,
       e.user_id AS primary_user_id, v.doc -> 'login_methods' AS login_methods,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'emails')) AS emails, '{}'::text[] AS phone_numbers, '{public}'::text[] AS tenants,
       v.doc -> 'roles_by_tenant' AS roles_by_tenant, (v.doc -> 'metadata_broken')::boolean AS metadata_broken
FROM @into@.user_documents v
JOIN @emailpassword@ e ON e.user_id = v.uid
LEFT JOIN @last_active@ l ON l.user_id = v.uid
$document$] ELSE ARRAY[$apps$ CREATE VIEW @into@.user_documents AS
SELECT p.user_id AS uid,
       jsonb_build_object(
           'user_id', s.subject_id,
           'primary_user_id', p.user_id::text,
           'email', u.email,
           'emails', coalesce(u.emails, '[]'),
           'phone_numbers', coalesce(u.phone_numbers, '[]'),
           'time_joined', u.time_joined,
           'login_methods', u.login_methods,
           'tenants', (SELECT coalesce(jsonb_agg(DISTINCT i.tenant COLLATE "C" ORDER BY i.tenant COLLATE "C"), '[]')
                       FROM jsonb_array_elements(u.login_methods) y(method) CROSS JOIN LATERAL jsonb_array_elements_text(y.method -> 'tenants') i(tenant)),
           'roles', coalesce(g.roles_by_tenant -> @tenant@, '[]'),
           'roles_by_tenant', coalesce(g.roles_by_tenant, '{}'),
           'metadata', CASE jsonb_typeof(j.value) WHEN 'object' THEN j.value ELSE '{}' END,
           'metadata_broken', d.user_metadata IS NOT NULL AND jsonb_typeof(j.value) IS DISTINCT FROM 'object') AS doc
FROM @members@ p
JOIN @into@.subjects s ON s.supertokens_user_id = p.user_id
CROSS JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_object(
               'recipe_id', c.recipe_id, 'recipe_user_id', c.subject_id, 'time_joined', c.time_joined, 'email', c.email,
               'phone_number', c.phone_number, 'third_party_id', c.third_party_id, 'third_party_user_id', c.third_party_user_id,
               'tenants', coalesce(to_jsonb(c.tenants), '[]')) ORDER BY c.time_joined, c.user_id COLLATE "C") AS login_methods,
           min(c.time_joined) AS time_joined,
           (array_agg(c.email ORDER BY c.time_joined, c.user_id COLLATE "C") FILTER (WHERE c.email IS NOT NULL))[1] AS email,
           jsonb_agg(DISTINCT c.email COLLATE "C" ORDER BY c.email COLLATE "C") FILTER (WHERE c.email IS NOT NULL) AS emails,
           jsonb_agg(DISTINCT c.phone_number COLLATE "C" ORDER BY c.phone_number COLLATE "C") FILTER (WHERE c.phone_number IS NOT NULL) AS phone_numbers
    FROM (
        SELECT m.user_id::text AS user_id, o.subject_id,
               CASE WHEN e.user_id IS NOT NULL THEN 'emailpassword' WHEN t.user_id IS NOT NULL THEN 'thirdparty'
                    WHEN w.user_id IS NOT NULL THEN 'passwordless' ELSE 'webauthn' END AS recipe_id,
               coalesce(e.time_joined, t.time_joined, w.time_joined, a.time_joined) AS time_joined,
               coalesce(e.email, t.email, w.email, a.email)::text AS email,
               w.phone_number::text AS phone_number, t.third_party_id, t.third_party_user_id,
               @tenants_of_member@ AS tenants
        FROM @members@ m
        JOIN @into@.subjects o ON o.supertokens_user_id = m.user_id
        LEFT JOIN @emailpassword@ e ON e.user_id = m.user_id @app_e@
        LEFT JOIN @thirdparty@ t ON t.user_id = m.user_id @app_t@
        LEFT JOIN @passwordless@ w ON w.user_id = m.user_id @app_w@
        LEFT JOIN @webauthn@ a ON a.user_id = m.user_id @app_a@
        WHERE m.@primary@ = p.user_id @app_m@ AND num_nonnulls(e.user_id, t.user_id, w.user_id, a.user_id) > 0
    ) c
) u
CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(h.tenant_id, h.roles) AS roles_by_tenant
    FROM (SELECT @role_tenant@ AS tenant_id, jsonb_agg(r.role::text ORDER BY r.role::text COLLATE "C") AS roles
          FROM @roles@ r WHERE r.user_id = s.subject_id @app_r@ GROUP BY 1) h
) g
LEFT JOIN @metadata@ d ON d.user_id = s.subject_id @app_d@
LEFT JOIN LATERAL (SELECT rolecall.try_jsonb(d.user_metadata::text) AS value) j ON true
WHERE u.login_methods IS NOT NULL @app_p@
$apps$, $apps$ CREATE VIEW @into@.user_full_view AS
SELECT v.doc ->> 'user_id' AS user_id, v.doc ->> 'email' AS email, (v.doc -> 'time_joined')::bigint AS time_joined,
       v.doc -> 'metadata' AS metadata, l.last_active_time,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'roles')) AS roles,
       v.uid::text AS primary_user_id, v.doc -> 'login_methods' AS login_methods,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'emails')) AS emails,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'phone_numbers')) AS phone_numbers,
       ARRAY(SELECT jsonb_array_elements_text(v.doc -> 'tenants')) AS tenants,
       v.doc -> 'roles_by_tenant' AS roles_by_tenant, (v.doc -> 'metadata_broken')::boolean AS metadata_broken
FROM @into@.user_documents v
LEFT JOIN @last_active@ l ON l.user_id = v.uid::text @app_l@
$apps$] END
$$;
COMMENT ON FUNCTION rolecall.supertokens_views(text) IS 'templates of the views for a layout';
