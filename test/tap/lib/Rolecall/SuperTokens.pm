# A fixture of SuperTokens' tables with every odd user, what writes to them, and an oracle: what the core answers, from its
# rules, step by step. The oracle shares nothing with the pack.
package Rolecall::SuperTokens;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(make_tables make_oracle make_writes fill_tables);

# The tables of SuperTokens that matter, with the columns that must never be read. $schema and $prefix are where they are.
sub make_tables {
	my ($node, $schema, $prefix) = @_;
	my $t = "$schema.$prefix";
	my $user = 'app_id varchar(64) NOT NULL DEFAULT \'public\', user_id char(36) NOT NULL, PRIMARY KEY (app_id, user_id), time_joined bigint NOT NULL,
		FOREIGN KEY (app_id, user_id) REFERENCES ' . $t . 'app_id_to_user_id (app_id, user_id) ON DELETE CASCADE';
	$node->safe_psql('postgres', <<SQL);
CREATE SCHEMA IF NOT EXISTS $schema;
CREATE TABLE ${t}apps (app_id varchar(64) PRIMARY KEY);
CREATE TABLE ${t}tenants (app_id varchar(64) REFERENCES ${t}apps ON DELETE CASCADE, tenant_id varchar(64), PRIMARY KEY (app_id, tenant_id));
CREATE TABLE ${t}app_id_to_user_id (app_id varchar(64) NOT NULL DEFAULT 'public' REFERENCES ${t}apps ON DELETE CASCADE, user_id char(36) NOT NULL, recipe_id varchar(128) NOT NULL,
	primary_or_recipe_user_id char(36) NOT NULL, is_linked_or_is_a_primary_user boolean NOT NULL DEFAULT false, time_joined bigint NOT NULL DEFAULT 0, PRIMARY KEY (app_id, user_id),
	FOREIGN KEY (app_id, primary_or_recipe_user_id) REFERENCES ${t}app_id_to_user_id (app_id, user_id) ON DELETE CASCADE);
CREATE INDEX ON ${t}app_id_to_user_id (primary_or_recipe_user_id, app_id);
CREATE TABLE ${t}all_auth_recipe_users (app_id varchar(64) DEFAULT 'public', tenant_id varchar(64) DEFAULT 'public', user_id char(36) NOT NULL, recipe_id varchar(128), primary_or_recipe_user_id char(36),
	time_joined bigint, PRIMARY KEY (app_id, tenant_id, user_id), FOREIGN KEY (app_id, user_id) REFERENCES ${t}app_id_to_user_id ON DELETE CASCADE);
CREATE INDEX ON ${t}all_auth_recipe_users (user_id);
CREATE TABLE ${t}recipe_user_tenants (app_id varchar(64), recipe_user_id char(36), tenant_id varchar(64), account_info_type varchar(8), account_info_value text,
	PRIMARY KEY (app_id, tenant_id, account_info_type, account_info_value, recipe_user_id));
CREATE INDEX ON ${t}recipe_user_tenants (app_id, recipe_user_id);
CREATE TABLE ${t}userid_mapping (app_id varchar(64) DEFAULT 'public', supertokens_user_id char(36) NOT NULL, external_user_id varchar(128) NOT NULL, external_user_id_info text,
	UNIQUE (app_id, supertokens_user_id), UNIQUE (app_id, external_user_id), PRIMARY KEY (app_id, supertokens_user_id, external_user_id),
	FOREIGN KEY (app_id, supertokens_user_id) REFERENCES ${t}app_id_to_user_id (app_id, user_id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE ${t}emailpassword_users (email varchar(256) NOT NULL, password_hash varchar(256) NOT NULL DEFAULT 'SECRET', $user);
CREATE TABLE ${t}thirdparty_users (third_party_id varchar(28) NOT NULL, third_party_user_id varchar(256) NOT NULL, email varchar(256) NOT NULL, $user);
CREATE TABLE ${t}passwordless_users (email varchar(256), phone_number varchar(256), $user);
CREATE TABLE ${t}webauthn_users (email varchar(256) NOT NULL, rp_id varchar(256) NOT NULL DEFAULT 'rp', $user);
CREATE INDEX ON ${t}emailpassword_users (app_id, email); CREATE INDEX ON ${t}thirdparty_users (app_id, email); CREATE INDEX ON ${t}webauthn_users (app_id, email);
CREATE INDEX ON ${t}passwordless_users (app_id, email); CREATE INDEX ON ${t}passwordless_users (app_id, phone_number);
CREATE TABLE ${t}user_metadata (app_id varchar(64) DEFAULT 'public', user_id varchar(128) NOT NULL, user_metadata text NOT NULL, PRIMARY KEY (app_id, user_id));
CREATE TABLE ${t}user_roles (app_id varchar(64) DEFAULT 'public', tenant_id varchar(64) DEFAULT 'public', user_id varchar(128) NOT NULL, role varchar(255) NOT NULL, PRIMARY KEY (app_id, tenant_id, user_id, role));
CREATE INDEX ON ${t}user_roles (app_id, user_id);
CREATE TABLE ${t}user_last_active (app_id varchar(64) DEFAULT 'public', user_id varchar(128), last_active_time bigint, PRIMARY KEY (app_id, user_id));
INSERT INTO ${t}apps VALUES ('public'), ('second');
INSERT INTO ${t}tenants VALUES ('public', 'public'), ('public', 't2'), ('second', 'public');
SQL
	return;
}

# What the core answers, from its rules. $tenants is the table of tenants, and the column of the user in it.
sub make_oracle {
	my ($node, $name, $t, $tenants, $tenant_user) = @_;
	$node->safe_psql('postgres', <<SQL);
DROP SCHEMA IF EXISTS $name CASCADE;
CREATE SCHEMA $name;
CREATE FUNCTION $name.shown(st text) RETURNS text STABLE LANGUAGE plpgsql AS \$\$
DECLARE mapped text;
BEGIN
	SELECT x.external_user_id INTO mapped FROM ${t}userid_mapping x WHERE x.app_id = 'public' AND x.supertokens_user_id = st::bpchar;
	RETURN CASE WHEN FOUND THEN mapped ELSE st END;
END \$\$;
CREATE FUNCTION $name.primary_of(id text) RETURNS text STABLE LANGUAGE plpgsql AS \$\$
DECLARE st text; the_primary text;
BEGIN
	SELECT x.supertokens_user_id::text INTO st FROM ${t}userid_mapping x WHERE x.app_id = 'public' AND x.supertokens_user_id = id::bpchar;
	IF NOT FOUND THEN
		SELECT x.supertokens_user_id::text INTO st FROM ${t}userid_mapping x WHERE x.app_id = 'public' AND x.external_user_id = id;
		IF NOT FOUND THEN st := id; END IF;
	END IF;
	SELECT m.primary_or_recipe_user_id::text INTO the_primary FROM ${t}app_id_to_user_id m WHERE m.app_id = 'public' AND m.user_id = st::bpchar;
	RETURN the_primary;
END \$\$;
CREATE TYPE $name.method AS (st text, recipe text, joined bigint, email text, phone text, tp text, tp_user text, tenants text[]);
CREATE FUNCTION $name.methods(the_primary text) RETURNS SETOF $name.method STABLE LANGUAGE plpgsql AS \$\$
DECLARE m record; x $name.method;
BEGIN
	FOR m IN SELECT q.user_id FROM ${t}app_id_to_user_id q WHERE q.app_id = 'public' AND q.primary_or_recipe_user_id = the_primary::bpchar LOOP
		FOR x IN
			SELECT e.user_id::text, 'emailpassword', e.time_joined, e.email, NULL, NULL, NULL, NULL FROM ${t}emailpassword_users e WHERE e.app_id = 'public' AND e.user_id = m.user_id
			UNION ALL SELECT e.user_id::text, 'thirdparty', e.time_joined, e.email, NULL, e.third_party_id, e.third_party_user_id, NULL FROM ${t}thirdparty_users e WHERE e.app_id = 'public' AND e.user_id = m.user_id
			UNION ALL SELECT e.user_id::text, 'passwordless', e.time_joined, e.email, e.phone_number, NULL, NULL, NULL FROM ${t}passwordless_users e WHERE e.app_id = 'public' AND e.user_id = m.user_id
			UNION ALL SELECT e.user_id::text, 'webauthn', e.time_joined, e.email, NULL, NULL, NULL, NULL FROM ${t}webauthn_users e WHERE e.app_id = 'public' AND e.user_id = m.user_id
		LOOP
			x.tenants := ARRAY(SELECT DISTINCT n.tenant_id::text COLLATE "C" FROM ${t}$tenants n WHERE n.app_id = 'public' AND n.$tenant_user = m.user_id ORDER BY 1);
			RETURN NEXT x;
		END LOOP;
	END LOOP;
END \$\$;
CREATE FUNCTION $name.by_primary(the_primary text) RETURNS jsonb STABLE LANGUAGE plpgsql AS \$\$
DECLARE
	x $name.method; r record; shown text := $name.shown(the_primary); methods jsonb := '[]'; emails text[] := '{}'; phones text[] := '{}'; tenants text[] := '{}';
	roles jsonb := '{}'; joined bigint; first_email text; written text; metadata jsonb := '{}'; broken boolean := false; active bigint;
BEGIN
	FOR x IN SELECT * FROM $name.methods(the_primary) q ORDER BY q.joined, q.st COLLATE "C" LOOP
		methods := methods || jsonb_build_object('recipe_id', x.recipe, 'recipe_user_id', $name.shown(x.st), 'time_joined', x.joined, 'email', x.email, 'phone_number', x.phone,
			'third_party_id', x.tp, 'third_party_user_id', x.tp_user, 'tenants', x.tenants);
		joined := coalesce(joined, x.joined);
		first_email := coalesce(first_email, x.email);
		emails := emails || x.email; phones := phones || x.phone; tenants := tenants || x.tenants;
	END LOOP;
	IF methods = '[]' THEN RETURN NULL; END IF;
	FOR r IN SELECT q.tenant_id, q.role FROM ${t}user_roles q WHERE q.app_id = 'public' AND q.user_id = shown ORDER BY q.role COLLATE "C" LOOP
		roles := jsonb_set(roles, ARRAY[r.tenant_id::text], coalesce(roles -> r.tenant_id, '[]') || to_jsonb(r.role::text));
	END LOOP;
	SELECT q.user_metadata INTO written FROM ${t}user_metadata q WHERE q.app_id = 'public' AND q.user_id = shown;
	IF FOUND THEN
		BEGIN
			metadata := written::jsonb;
			broken := jsonb_typeof(metadata) <> 'object';
		EXCEPTION WHEN OTHERS THEN broken := true;
		END;
		IF broken THEN metadata := '{}'; END IF;
	END IF;
	SELECT q.last_active_time INTO active FROM ${t}user_last_active q WHERE q.app_id = 'public' AND q.user_id = the_primary;
	RETURN jsonb_build_object('user_id', shown, 'primary_user_id', the_primary, 'email', first_email, 'time_joined', joined, 'login_methods', methods,
		'emails', ARRAY(SELECT DISTINCT q COLLATE "C" FROM unnest(emails) q WHERE q IS NOT NULL ORDER BY 1), 'phone_numbers', ARRAY(SELECT DISTINCT q COLLATE "C" FROM unnest(phones) q WHERE q IS NOT NULL ORDER BY 1),
		'tenants', ARRAY(SELECT DISTINCT q COLLATE "C" FROM unnest(tenants) q ORDER BY 1), 'roles', coalesce(roles -> 'public', '[]'), 'roles_by_tenant', roles,
		'metadata', metadata, 'metadata_broken', broken, 'last_active_time', active);
END \$\$;
CREATE FUNCTION $name.get_user(id text) RETURNS jsonb STABLE LANGUAGE sql AS \$\$ SELECT $name.by_primary($name.primary_of(id)) \$\$;
CREATE FUNCTION $name.users(what text, value text, tenant text) RETURNS SETOF jsonb STABLE LANGUAGE sql AS \$\$
	SELECT $name.by_primary(p.id) FROM (
		SELECT DISTINCT m.primary_or_recipe_user_id::text AS id FROM ${t}app_id_to_user_id m WHERE m.app_id = 'public') p
	WHERE EXISTS (SELECT FROM $name.methods(p.id) q WHERE CASE what WHEN 'email' THEN q.email ELSE q.phone END = value AND tenant = ANY (q.tenants))
	ORDER BY ($name.by_primary(p.id) ->> 'time_joined')::bigint, p.id COLLATE "C" \$\$;
SQL
	return;
}

# What SuperTokens does to its tables: $name.signup(...) and so on. $mode is which tables of tenants it writes: old, new or both.
sub make_writes {
	my ($node, $name, $t, $mode) = @_;
	my $old = $mode ne 'new' ? "INSERT INTO ${t}all_auth_recipe_users SELECT app, tenant, id, recipe, m.primary_or_recipe_user_id, 0 FROM ${t}app_id_to_user_id m WHERE m.app_id = app AND m.user_id = id ON CONFLICT DO NOTHING;" : '';
	my $new = $mode ne 'old' ? "INSERT INTO ${t}recipe_user_tenants VALUES (app, id, tenant, 'email', 'x' || id), (app, id, tenant, 'phone', 'x' || id) ON CONFLICT DO NOTHING;" : '';
	$node->safe_psql('postgres', <<SQL);
DROP SCHEMA IF EXISTS $name CASCADE;
CREATE SCHEMA $name;
CREATE FUNCTION $name.u(n int) RETURNS bpchar IMMUTABLE LANGUAGE sql AS \$\$ SELECT ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::bpchar \$\$;
CREATE PROCEDURE $name.enter(id bpchar, recipe text, tenant text DEFAULT 'public', app text DEFAULT 'public') LANGUAGE plpgsql AS \$\$
BEGIN
	$old
	$new
END \$\$;
CREATE PROCEDURE $name.leave(id bpchar, tenant text) LANGUAGE sql AS \$\$
	DELETE FROM ${t}all_auth_recipe_users WHERE app_id = 'public' AND user_id = id AND tenant_id = tenant;
	DELETE FROM ${t}recipe_user_tenants WHERE app_id = 'public' AND recipe_user_id = id AND tenant_id = tenant \$\$;
CREATE PROCEDURE $name.signup(id bpchar, recipe text, address text, joined bigint, tenant text DEFAULT 'public', app text DEFAULT 'public', phone text DEFAULT NULL) LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO ${t}app_id_to_user_id VALUES (app, id, recipe, id);
	CASE recipe
		WHEN 'emailpassword' THEN INSERT INTO ${t}emailpassword_users (app_id, user_id, email, time_joined) VALUES (app, id, address, joined);
		WHEN 'thirdparty' THEN INSERT INTO ${t}thirdparty_users (app_id, user_id, email, time_joined, third_party_id, third_party_user_id) VALUES (app, id, address, joined, 'google', 'g' || id);
		WHEN 'passwordless' THEN INSERT INTO ${t}passwordless_users (app_id, user_id, email, phone_number, time_joined) VALUES (app, id, address, phone, joined);
		WHEN 'webauthn' THEN INSERT INTO ${t}webauthn_users (app_id, user_id, email, time_joined) VALUES (app, id, address, joined);
	END CASE;
	IF tenant IS NOT NULL THEN CALL $name.enter(id, recipe, tenant, app); END IF;
END \$\$;
CREATE PROCEDURE $name.link(id bpchar, the_primary bpchar) LANGUAGE sql AS \$\$
	UPDATE ${t}app_id_to_user_id SET primary_or_recipe_user_id = the_primary, is_linked_or_is_a_primary_user = true WHERE app_id = 'public' AND user_id = id \$\$;
CREATE PROCEDURE $name.remove_method(id bpchar) LANGUAGE sql AS \$\$
	DELETE FROM ${t}emailpassword_users WHERE app_id = 'public' AND user_id = id;
	DELETE FROM ${t}thirdparty_users WHERE app_id = 'public' AND user_id = id;
	DELETE FROM ${t}passwordless_users WHERE app_id = 'public' AND user_id = id;
	DELETE FROM ${t}webauthn_users WHERE app_id = 'public' AND user_id = id;
	DELETE FROM ${t}all_auth_recipe_users WHERE app_id = 'public' AND user_id = id;
	DELETE FROM ${t}recipe_user_tenants WHERE app_id = 'public' AND recipe_user_id = id \$\$;
CREATE PROCEDURE $name.remove(id bpchar) LANGUAGE sql AS \$\$
	DELETE FROM ${t}recipe_user_tenants WHERE app_id = 'public' AND recipe_user_id = id;
	DELETE FROM ${t}app_id_to_user_id WHERE app_id = 'public' AND user_id = id \$\$;
SQL
	return;
}

# Users 1 to 30, each odd in its own way. Returns statements.
sub fill_tables {
	my ($name, $t) = @_;
	return <<SQL;
CALL $name.signup($name.u(1), 'emailpassword', 'ada\@example.org', 100);
CALL $name.signup($name.u(2), 'thirdparty', 'bob\@example.org', 200);
CALL $name.signup($name.u(3), 'passwordless', NULL, 300, phone => '+491');           -- a phone only
CALL $name.signup($name.u(4), 'webauthn', 'eve\@example.org', 400);
CALL $name.signup($name.u(5), 'emailpassword', 'linked\@example.org', 500);           -- linked: 5 has 6, 7 and 8
CALL $name.signup($name.u(6), 'thirdparty', 'linked\@example.org', 450);
CALL $name.signup($name.u(7), 'passwordless', 'third\@example.org', 700, 't2', phone => '+492');
CALL $name.signup($name.u(8), 'webauthn', 'a.fourth\@example.org', 800);
CALL $name.link($name.u(6), $name.u(5)); CALL $name.link($name.u(7), $name.u(5)); CALL $name.link($name.u(8), $name.u(5));
CALL $name.signup($name.u(9), 'emailpassword', 'gone\@example.org', 900);             -- the primary's own method is gone
CALL $name.signup($name.u(10), 'thirdparty', 'stays\@example.org', 1000);
CALL $name.link($name.u(10), $name.u(9)); CALL $name.remove_method($name.u(9));
CALL $name.signup($name.u(11), 'emailpassword', 'nobody\@example.org', 1100); CALL $name.remove_method($name.u(11));  -- no method at all
CALL $name.signup($name.u(12), 'emailpassword', 'mapped\@example.org', 1200);
INSERT INTO ${t}userid_mapping VALUES ('public', $name.u(12), 'external-12');
INSERT INTO ${t}user_roles VALUES ('public', 'public', 'external-12', 'mapped'), ('public', 'public', $name.u(12), 'not its own');
CALL $name.signup($name.u(13), 'emailpassword', 'thief\@example.org', 1300);          -- its external id is 14's own
CALL $name.signup($name.u(14), 'emailpassword', 'robbed\@example.org', 1400);
INSERT INTO ${t}userid_mapping VALUES ('public', $name.u(13), $name.u(14)::text);
INSERT INTO ${t}user_roles VALUES ('public', 'public', $name.u(14)::text, 'of both');
CALL $name.signup($name.u(15), 'emailpassword', 'member\@example.org', 1500);         -- a linked member with a mapping and roles of its own
CALL $name.signup($name.u(16), 'thirdparty', 'member\@example.org', 1600);
CALL $name.link($name.u(16), $name.u(15));
INSERT INTO ${t}userid_mapping VALUES ('public', $name.u(16), 'external-16');
INSERT INTO ${t}user_roles VALUES ('public', 'public', 'external-16', 'of the member'), ('public', 'public', $name.u(16)::text, 'of the member too');
CALL $name.signup($name.u(17), 'emailpassword', 'no.tenant\@example.org', 1700, NULL);
CALL $name.signup($name.u(18), 'emailpassword', 'two.tenants\@example.org', 1800); CALL $name.enter($name.u(18), 'emailpassword', 't2');
INSERT INTO ${t}user_roles VALUES ('public', 'public', $name.u(18)::text, 'b'), ('public', 'public', $name.u(18)::text, 'a'), ('public', 't2', $name.u(18)::text, 'there');
CALL $name.signup($name.u(19), 'emailpassword', 'ada\@example.org', 50, 't2');        -- the same address in another tenant, and earlier
CALL $name.signup($name.u(20), 'emailpassword', 'zero\@example.org', 2000); INSERT INTO ${t}user_metadata VALUES ('public', $name.u(20)::text, '{"a": "\\u0000"}');
CALL $name.signup($name.u(21), 'emailpassword', 'broken\@example.org', 2100); INSERT INTO ${t}user_metadata VALUES ('public', $name.u(21)::text, '{"a": ');
CALL $name.signup($name.u(22), 'emailpassword', 'huge\@example.org', 2200); INSERT INTO ${t}user_metadata VALUES ('public', $name.u(22)::text, '{"a": 1e200000}');
CALL $name.signup($name.u(23), 'emailpassword', 'array\@example.org', 2300); INSERT INTO ${t}user_metadata VALUES ('public', $name.u(23)::text, '[1]');
CALL $name.signup($name.u(24), 'emailpassword', 'good\@example.org', 2400); INSERT INTO ${t}user_metadata VALUES ('public', $name.u(24)::text, '{"first_name": "G", "n": [1, 2.50]}');
CALL $name.signup('short-id', 'emailpassword', 'short\@example.org', 2500);           -- from an import
CALL $name.signup($name.u(26), 'emailpassword', 'active\@example.org', 2600);
INSERT INTO ${t}userid_mapping VALUES ('public', $name.u(26), 'external-26');
INSERT INTO ${t}user_last_active VALUES ('public', $name.u(26)::text, 777), ('public', 'external-26', 888), ('second', $name.u(1)::text, 999);
CALL $name.signup($name.u(1), 'emailpassword', 'ada.second\@example.org', 1, app => 'second');  -- the same id in another app
CALL $name.signup($name.u(27), 'emailpassword', 'second.only\@example.org', 1, app => 'second');
INSERT INTO ${t}userid_mapping VALUES ('second', $name.u(1), 'external-of-second');
INSERT INTO ${t}user_roles VALUES ('second', 'public', $name.u(1)::text, 'of second'), ('public', 'public', $name.u(1)::text, 'reader');
INSERT INTO ${t}user_metadata VALUES ('second', $name.u(1)::text, '{"of": "second"}');
CALL $name.signup($name.u(28), 'thirdparty', 'same\@example.org', 2801); CALL $name.signup($name.u(29), 'emailpassword', 'same\@example.org', 2800);
INSERT INTO ${t}userid_mapping VALUES ('public', $name.u(28), 'external-28'), ('public', $name.u(29), $name.u(28)::text);  -- 28 is mapped, too
SQL
}

1;
