# Kits of rights: row-level security of the view's owner, memberships, privileges; and the built-in directory.
package Rights;

use strict;
use warnings;

use World;

my @numbers = map { "$_" } 1 .. 12;

my $may = sub { "CREATE OR REPLACE FUNCTION po.may(id bigint) RETURNS boolean IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS \$\$ BEGIN RETURN id % 4 <> $_[0]; END \$\$" };
kit(
	name => 'po', key => 'bigint', keys => \@numbers, owner => 'po_owner', roles => [qw(po_owner po_group po_other po_between)],
	watches => '{"po.users": "id", "po.allowed": "user_id"}', tables => { 'po.users' => 'id', 'po.allowed' => 'user_id' },
	setup => join(";\n", 'ALTER ROLE po_owner NOSUPERUSER NOBYPASSRLS INHERIT', 'REVOKE po_group, po_between FROM po_owner', 'REVOKE po_group FROM po_between',
		'GRANT USAGE ON SCHEMA po TO PUBLIC',
		'CREATE TABLE po.users (id bigint PRIMARY KEY, name text)', 'CREATE TABLE po.allowed (user_id bigint PRIMARY KEY)',
		q(INSERT INTO po.users SELECT g, 'user' FROM generate_series(1, 12) g), 'INSERT INTO po.allowed SELECT g FROM generate_series(1, 9) g',
		$may->(0), 'GRANT SELECT ON po.users, po.allowed TO po_owner, po_other',
		'ALTER TABLE po.users ENABLE ROW LEVEL SECURITY', 'CREATE POLICY few ON po.users USING (EXISTS (SELECT FROM po.allowed a WHERE a.user_id = id) AND po.may(id))',
		'CREATE POLICY more ON po.users TO po_group USING (id > 9)', ''),
	view => q(CREATE VIEW po.v AS SELECT id AS uid, jsonb_build_object('name', name, 'count', (SELECT count(*) FROM po.allowed a WHERE a.user_id = id)) AS doc FROM po.users),
	rows => [
		sub { sprintf q(UPDATE po.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(DELETE FROM po.allowed WHERE user_id = %d), one_of(@_) },
		sub { sprintf q(INSERT INTO po.allowed VALUES (%d) ON CONFLICT DO NOTHING), one_of(@_) },
		sub { sprintf q(INSERT INTO po.users VALUES (%d, 'new') ON CONFLICT DO NOTHING), one_of(@_) },
		sub { sprintf q(UPDATE po.allowed SET user_id = %d WHERE user_id = %d AND NOT EXISTS (SELECT FROM po.allowed WHERE user_id = %d)), (one_of(@_)) x 3 },
	],
	ddl => [
		[ 'grant group', sub { 'GRANT po_group TO po_owner' } ], [ 'revoke group', sub { 'REVOKE po_group FROM po_owner' } ],
		[ 'add to group', sub { 'ALTER GROUP po_group ADD USER po_owner' } ], [ 'drop from group', sub { 'ALTER GROUP po_group DROP USER po_owner' } ],
		[ 'grant through another', sub { ('GRANT po_group TO po_between', 'GRANT po_between TO po_owner') } ],
		[ 'revoke in between', sub { 'REVOKE po_group FROM po_between' } ], [ 'revoke from another', sub { 'REVOKE po_between FROM po_owner' } ],
		[ 'role between comes', sub { 'CREATE ROLE po_new IN ROLE po_group ROLE po_owner' } ],
		[ 'role between comes, with admin', sub { 'CREATE ROLE po_new IN ROLE po_group ADMIN po_owner' } ],
		[ 'role between goes', sub { 'DROP ROLE IF EXISTS po_new' } ],
		[ 'inherit', sub { 'ALTER ROLE po_owner ' . pick('NOINHERIT', 'INHERIT') } ],
		[ 'inherit of the group', sub { 'ALTER ROLE po_between ' . pick('NOINHERIT', 'INHERIT') } ],
		[ 'bypass', sub { 'ALTER ROLE po_owner ' . pick('BYPASSRLS', 'NOBYPASSRLS') } ],
		[ 'superuser', sub { 'ALTER ROLE po_owner ' . pick('SUPERUSER', 'NOSUPERUSER', 'NOSUPERUSER') } ],
		[ 'row security', sub { 'ALTER TABLE po.users ' . pick('ENABLE', 'ENABLE', 'DISABLE') . ' ROW LEVEL SECURITY' } ],
		[ 'row security of what the policy reads', sub { 'ALTER TABLE po.allowed ' . pick('ENABLE', 'DISABLE', 'DISABLE') . ' ROW LEVEL SECURITY' } ],
		[ 'force', sub { 'ALTER TABLE po.users ' . pick('FORCE', 'NO FORCE') . ' ROW LEVEL SECURITY' } ],
		[ 'policy altered', sub { sprintf 'ALTER POLICY more ON po.users USING (id > %d)', number(12) } ],
		[ 'policy for others', sub { 'ALTER POLICY more ON po.users TO ' . pick('po_group', 'PUBLIC', 'po_other', 'po_owner') } ],
		[ 'policy comes', sub { sprintf 'CREATE POLICY even ON po.users AS %s USING (id %% 2 = 0)', pick('RESTRICTIVE', 'PERMISSIVE') } ],
		[ 'policy goes', sub { 'DROP POLICY IF EXISTS even ON po.users' } ],
		[ 'policy asks a setting', sub { q(CREATE POLICY tenant ON po.users TO po_group USING (name <> current_setting('app.tenant', true))) } ],
		[ '... and is gone', sub { 'DROP POLICY IF EXISTS tenant ON po.users' } ],
		[ 'function of the policy', sub { $may->(number(4)) } ],
		[ 'revoke what the policy reads', sub { 'REVOKE SELECT ON po.allowed FROM po_owner' } ], [ 'grant what the policy reads', sub { 'GRANT SELECT ON po.allowed TO po_owner' } ],
		[ 'grant it to the group', sub { 'GRANT SELECT ON po.allowed TO po_group' } ], [ 'revoke it from the group', sub { 'REVOKE SELECT ON po.allowed FROM po_group' } ],
		[ 'grant a column', sub { 'GRANT SELECT (user_id) ON po.allowed TO po_owner' } ], [ 'revoke a column', sub { 'REVOKE SELECT (user_id) ON po.allowed FROM po_owner' } ],
		[ 'revoke all of the schema', sub { 'REVOKE ALL ON ALL TABLES IN SCHEMA po FROM po_owner' } ], [ 'grant all of the schema', sub { 'GRANT SELECT ON ALL TABLES IN SCHEMA po TO po_owner' } ],
		[ 'revoke the schema', sub { 'REVOKE USAGE ON SCHEMA po FROM PUBLIC' } ], [ 'grant the schema', sub { 'GRANT USAGE ON SCHEMA po TO PUBLIC' } ],
		[ 'revoke the function', sub { 'REVOKE EXECUTE ON FUNCTION po.may(bigint) FROM PUBLIC' } ], [ 'grant the function', sub { 'GRANT EXECUTE ON FUNCTION po.may(bigint) TO PUBLIC' } ],
		[ 'view has another owner', sub { ('ALTER VIEW po.v OWNER TO po_other', map { "ALTER FUNCTION checker.$_ OWNER TO po_other" } 'own_po', 'own1_po') } ],
		[ 'view has its owner', sub { ('ALTER VIEW po.v OWNER TO po_owner', map { "ALTER FUNCTION checker.$_ OWNER TO po_owner" } 'own_po', 'own1_po') } ],
		[ 'reassigned', sub { 'REASSIGN OWNED BY po_owner TO po_other' } ], [ 'reassigned back', sub { 'REASSIGN OWNED BY po_other TO po_owner' } ],
		[ 'table of the owner', sub { 'ALTER TABLE po.users OWNER TO po_owner' } ], [ 'table of the superuser', sub { 'ALTER TABLE po.users OWNER TO postgres' } ],
		[ 'drop owned', sub { 'DROP OWNED BY po_between' } ],
		[ 'triggers off where the policy reads', sub { ('ALTER TABLE po.allowed DISABLE TRIGGER USER', sprintf('DELETE FROM po.allowed WHERE user_id > %d', 2 + number(9)), 'ALTER TABLE po.allowed ENABLE TRIGGER USER') } ],
	]);

# --- The built-in directory, with its own way of asking.
my $role = sub { 'role' . (1 + number(4)) };
kit(
	name => 'me', key => 'bigint', keys => \@numbers, builtin => 1, oracle => 'rolecall.me_view',
	tables => { 'rolecall.users' => 'id', 'rolecall.user_roles' => 'user_id', 'rolecall.user_units' => 'user_id' },
	project => 'checker.me(k::bigint)',
	setup => <<'SQL',
INSERT INTO rolecall.tenants (slug, name) SELECT 't' || g, 'Tenant ' || g FROM generate_series(1, 2) g;
INSERT INTO rolecall.roles (name, priority) SELECT 'role' || g, g FROM generate_series(1, 4) g;
INSERT INTO rolecall.units (id, institutional_id, name) SELECT g, 'unit' || g, 'Unit ' || g FROM generate_series(1, 4) g;
INSERT INTO rolecall.users (id, email, tenant_id) SELECT g, 'user' || g, (SELECT id FROM rolecall.tenants WHERE slug = 't' || (1 + g % 2)) FROM generate_series(1, 12) g;
INSERT INTO rolecall.user_roles (user_id, role) SELECT g, 'role' || (1 + g % 4) FROM generate_series(1, 12) g;
INSERT INTO rolecall.user_units SELECT g, 1 + g % 4, 'role1' FROM generate_series(1, 12) g;
-- The document, if all ways of asking agree.
CREATE FUNCTION checker.me(uid bigint) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN doc IS DISTINCT FROM rolecall.me_json(uid)::jsonb THEN jsonb_build_object('me_json', rolecall.me_json(uid))
                WHEN doc IS DISTINCT FROM (SELECT m.doc FROM rolecall.me_many(ARRAY[uid]) m) THEN jsonb_build_object('me_many', uid)
                WHEN rolecall.has_role(uid, 'role1') IS DISTINCT FROM
                     coalesce((doc ->> 'is_active')::boolean AND doc -> 'roles' @> '[{"role": "role1"}]', false) THEN jsonb_build_object('has_role', uid)
                ELSE doc END
    FROM (SELECT rolecall.me(uid) AS doc OFFSET 0) d
$$;
SQL
	rows => [
		sub { sprintf q(UPDATE rolecall.users SET display_name = 'name %d', is_active = %s WHERE id = %d), number(1000), pick(qw(true true false)), one_of(@_) },
		sub { sprintf q(UPDATE rolecall.users SET function = 'bulk %d'), number(1000) },
		sub { sprintf q(INSERT INTO rolecall.user_roles (user_id, role, expires_at) VALUES (%d, '%s', clock_timestamp() + %d * interval '1 ms') ON CONFLICT DO NOTHING), one_of(@_), $role->(), number(60) },
		sub { sprintf q(DELETE FROM rolecall.user_roles WHERE user_id = %d AND role = '%s'), one_of(@_), $role->() },
		sub { sprintf q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (%d, '%s') ON CONFLICT DO NOTHING), one_of(@_), $role->() },
		sub { sprintf q(UPDATE rolecall.roles SET priority = %d WHERE name = '%s'), number(1000), $role->() },
		sub { sprintf q(UPDATE rolecall.units SET name = 'unit %d' WHERE id = %d), number(1000), 1 + number(4) },
		sub { sprintf q(UPDATE rolecall.tenants SET is_active = %s WHERE slug = 't%d'), pick(qw(true true false)), 1 + number(2) },
		sub { sprintf q(DELETE FROM rolecall.user_units WHERE user_id = %d), one_of(@_) },
		sub { sprintf q(INSERT INTO rolecall.user_units VALUES (%d, %d, '%s') ON CONFLICT (user_id, unit_id) DO UPDATE SET role = excluded.role), one_of(@_), 1 + number(4), $role->() },
	],
	ddl => [
		[ 'a role has another name', sub { (q(UPDATE rolecall.roles SET name = 'role5' WHERE name = 'role4'), q(UPDATE rolecall.roles SET name = 'role4' WHERE name = 'role5')) } ],
		[ 'the view is decorated', sub { (sprintf(q(CREATE OR REPLACE VIEW rolecall.me_view AS SELECT p.user_id AS uid, jsonb_build_object('id', p.user_id, 'is_active', p.is_active, 'roles', p.roles, 'units', p.units, 'version', %d) AS doc,
			p.valid_from, p.valid_until, p.email, p.tenant_id FROM rolecall.user_profile p), number(1000))) } ],
		[ 'unrelated function', sub { sprintf 'CREATE OR REPLACE FUNCTION checker.unrelated() RETURNS int LANGUAGE sql AS $$ SELECT %d $$', number(1000) } ],
		[ 'foreign keys of units', sub { ('ALTER TABLE rolecall.user_units ALTER COLUMN role SET STATISTICS 20') } ],
	]);

1;
