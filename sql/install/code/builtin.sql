-- The built-in projection. An upgrade keeps its row, and its id with it, and makes its watches anew. That the row is written
-- lets sessions read their definitions again.

INSERT INTO rolecall.projections (name, builtin, view, key_column, doc_column)
VALUES ('me', true, 'rolecall.me_view', 'uid', 'doc')
ON CONFLICT (name, builtin) DO UPDATE SET view = excluded.view, key_column = excluded.key_column, doc_column = excluded.doc_column;

SELECT rolecall.drop_watch_triggers(p.id, w.relation)
FROM rolecall.projections p JOIN rolecall.watches w ON (w.projection, w.builtin) = (p.name, p.builtin) WHERE p.builtin;
DELETE FROM rolecall.watches WHERE builtin;

INSERT INTO rolecall.watches (projection, builtin, relation, is_lookup, key_column)
VALUES ('me', true, 'rolecall.users', false, 'id'),
       ('me', true, 'rolecall.user_roles', false, 'user_id'),
       ('me', true, 'rolecall.user_units', false, 'user_id'),
       ('me', true, 'rolecall.roles', true, 'name'),
       ('me', true, 'rolecall.units', true, 'id'),
       ('me', true, 'rolecall.tenants', true, 'id');

INSERT INTO rolecall.watch_references (watch, builtin, relation, column_name)
SELECT w.id, true, r.relation, r.column_name
FROM rolecall.watches w
JOIN (VALUES ('rolecall.roles'::regclass, 'rolecall.user_roles'::regclass, 'role'::name),
             ('rolecall.units', 'rolecall.user_units', 'unit_id'),
             ('rolecall.tenants', 'rolecall.users', 'tenant_id')) r(lookup, relation, column_name) ON r.lookup = w.relation
WHERE w.builtin;

SELECT rolecall.put_watch_triggers(w.id, NULL::regclass) FROM rolecall.watches w WHERE w.builtin;
