-- What a user looks like as one row. Each column is worked out per user by index, and only when it is asked for.

CREATE OR REPLACE VIEW rolecall.user_profile AS
SELECT u.id AS user_id,
       u.external_id,
       u.tenant_id,
       u.email,
       u.display_name,
       u.function,
       u.provider,
       u.institutional_id,
       u.is_active AND coalesce(t.is_active, true) AS is_active,
       u.is_superuser,
       u.roles_synced,
       u.roles_stale,
       coalesce((
           SELECT jsonb_agg(
                      jsonb_build_object(
                          'role', held.role,
                          'on', CASE held.scope_kind
                                    WHEN 'global' THEN '"global"'::jsonb
                                    WHEN 'institutional' THEN jsonb_build_object('institutional_id', held.scope_id)
                                    ELSE jsonb_build_object(held.scope_kind, held.scope_id)
                                END)
                      ORDER BY held.priority, held.role COLLATE "C", held.scope_kind COLLATE "C", held.scope_id COLLATE "C")
           -- A join would read all roles for each user.
           FROM (SELECT DISTINCT (SELECT r.priority FROM rolecall.roles r WHERE r.name = g.role) AS priority,
                        g.role, g.scope_kind, g.scope_id
                 FROM rolecall.user_roles g
                 WHERE g.user_id = u.id AND (g.expires_at IS NULL OR g.expires_at > now())) held
       ), '[]'::jsonb) AS roles,
       coalesce((
           SELECT jsonb_agg(
                      jsonb_build_object('institutional_id', n.institutional_id, 'name', n.name, 'role', m.role)
                      ORDER BY n.institutional_id COLLATE "C", n.id)
           FROM rolecall.user_units m
           JOIN rolecall.units n ON n.id = m.unit_id
           WHERE m.user_id = u.id
       ), '[]'::jsonb) AS units,
       u.metadata,
       (SELECT max(g.expires_at) FROM rolecall.user_roles g
        WHERE g.user_id = u.id AND g.expires_at <= now()) AS valid_from,
       (SELECT min(g.expires_at) FROM rolecall.user_roles g
        WHERE g.user_id = u.id AND g.expires_at > now()) AS valid_until
FROM rolecall.users u
LEFT JOIN rolecall.tenants t ON t.id = u.tenant_id;
COMMENT ON VIEW rolecall.user_profile IS 'one row per user, without what syncs remember';
COMMENT ON COLUMN rolecall.user_profile.is_active IS 'the user is active, and so is the tenant if there is one';
COMMENT ON COLUMN rolecall.user_profile.valid_from IS 'roles are the same for every now() from here ...';
COMMENT ON COLUMN rolecall.user_profile.valid_until IS '... to before here: when the next grant expires';

CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT p.user_id AS uid,
       jsonb_build_object(
           'id', p.user_id,
           'email', p.email,
           'display_name', p.display_name,
           'function', p.function,
           'tenant_id', p.tenant_id,
           'provider', p.provider,
           'institutional_id', p.institutional_id,
           'is_active', p.is_active,
           'is_superuser', p.is_superuser,
           'roles', p.roles,
           'units', p.units,
           'roles_synced', p.roles_synced,
           'roles_stale', p.roles_stale,
           'metadata', p.metadata) AS doc,
       p.valid_from,
       p.valid_until,
       p.email,
       p.tenant_id
FROM rolecall.user_profile p;
COMMENT ON VIEW rolecall.me_view IS 'the document of me(uid); email and tenant_id are what me_by_email() goes by';

CREATE OR REPLACE VIEW rolecall.user_full_view AS
SELECT p.user_id, p.external_id, p.tenant_id, p.email, p.display_name, p.function, p.provider, p.institutional_id,
       p.is_active, p.is_superuser, p.roles_synced, p.roles_stale, p.roles, p.units, p.metadata,
       s.last_roles_sync_at
FROM rolecall.user_profile p
LEFT JOIN rolecall.sync_state s ON s.user_id = p.user_id;
COMMENT ON VIEW rolecall.user_full_view IS 'one row per user, with everything known about the user';

