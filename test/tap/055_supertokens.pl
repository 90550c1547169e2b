# The pack for SuperTokens: on each layout of its tables, for every odd user, it answers what SuperTokens' core answers. The
# oracle is written from the core's rules, step by step, and shares nothing with the pack's view.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::SuperTokens;
use Rolecall::Test;

my $node = new_node('supertokens', "autovacuum = off\n");
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall; CREATE ROLE client; CREATE ROLE st_writer');

sub value { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

# Every id that anybody may ask for, of either kind, and ids that nobody has.
sub ids {
	my ($t) = @_;
	return "(SELECT user_id::text AS id FROM ${t}app_id_to_user_id UNION SELECT external_user_id FROM ${t}userid_mapping UNION VALUES ('nobody'), (''),
		('a0000000-0000-0000-0000-000000000001x'), ('external-1'))";
}

# Both rounds: read from the tables, and from memory.
sub is_as_in_core {
	my ($what, $pack, $oracle, $t, %without) = @_;
	for my $round ('first', 'again') {
		is(value("SELECT id, $pack.get_user(id), $oracle.get_user(id) FROM @{[ids($t)]} i WHERE $pack.get_user(id) IS DISTINCT FROM $oracle.get_user(id)"), '', "$what: get_user, $round");
	}
	is(value("SELECT g.id, g.doc FROM $pack.get_users(ARRAY(SELECT id FROM @{[ids($t)]} i)) g WHERE g.doc IS DISTINCT FROM $oracle.get_user(g.id)"), '', "$what: get_users");
	is(value("SELECT e.value, tenant FROM (SELECT DISTINCT address AS value FROM (SELECT email FROM ${t}emailpassword_users UNION SELECT email FROM ${t}thirdparty_users UNION SELECT email FROM ${t}passwordless_users
			UNION SELECT email FROM ${t}webauthn_users UNION VALUES ('nobody\@example.org')) q(address)) e CROSS JOIN unnest('{public,t2,none}'::text[]) tenant
		WHERE ARRAY(SELECT $pack.users_by_email(upper(e.value) || ' ', tenant)) <> ARRAY(SELECT $oracle.users('email', e.value, tenant))"), '', "$what: users_by_email");
	is(value("SELECT e.value, tenant FROM (VALUES ('+491'), ('+492'), ('+4')) e(value) CROSS JOIN unnest('{public,t2,none}'::text[]) tenant
		WHERE ARRAY(SELECT $pack.users_by_phone(e.value, tenant)) <> ARRAY(SELECT $oracle.users('phone', e.value, tenant))"), '', "$what: users_by_phone") unless $without{phones};
	is(value("SELECT primary_user_id, doc FROM $pack.all_users(NULL, 1000) a FULL JOIN (SELECT p.id, $oracle.by_primary(p.id) AS expected FROM (SELECT DISTINCT primary_or_recipe_user_id::text AS id FROM ${t}app_id_to_user_id WHERE app_id = 'public') p) o
		ON o.id = a.primary_user_id WHERE a.doc IS DISTINCT FROM o.expected"), '', "$what: all_users");
	return if $without{view};
	is(value("SELECT user_id FROM $pack.user_full_view v WHERE jsonb_build_object('user_id', user_id, 'email', email, 'time_joined', time_joined, 'metadata', metadata, 'last_active_time', last_active_time, 'roles', roles,
			'primary_user_id', primary_user_id, 'login_methods', login_methods, 'emails', emails, 'phone_numbers', phone_numbers, 'tenants', tenants, 'roles_by_tenant', roles_by_tenant, 'metadata_broken', metadata_broken)
		IS DISTINCT FROM $oracle.by_primary(primary_user_id)"), '', "$what: user_full_view");
	return;
}

# ---- Install, take off, install again -----------------------------------------------------------------------

make_tables($node, 'auth', 'st_');
make_writes($node, 'old', 'auth.st_', 'old');
make_oracle($node, 'core', 'auth.st_', 'all_auth_recipe_users', 'user_id');
$node->safe_psql('postgres', fill_tables('old', 'auth.st_'));
my $catalogs = q(SELECT md5(string_agg(o, ' ' ORDER BY o)) FROM (
	SELECT format('%s %s %s', c.oid::regclass, c.relkind, c.relacl) FROM pg_class c WHERE c.relnamespace NOT IN ('pg_toast'::regnamespace, 'pg_catalog'::regnamespace) AND c.relname <> 'packs'
	UNION ALL SELECT format('%s %s', p.oid::regprocedure, p.proacl) FROM pg_proc p
	UNION ALL SELECT format('%s %s %s %s', t.tgname, t.tgrelid::regclass, t.tgenabled, t.tgfoid) FROM pg_trigger t
	UNION ALL SELECT format('%s %s', n.nspname, n.nspacl) FROM pg_namespace n WHERE n.nspname !~ '^pg_t'
	UNION ALL SELECT format('%s', p) FROM rolecall.projections p UNION ALL SELECT format('%s', w) FROM rolecall.watches w) q(o));
my $plain = q(rolecall.install_supertokens('users', source => 'auth', prefix => 'st'));
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA auth, old TO st_writer; GRANT ALL ON ALL TABLES IN SCHEMA auth TO st_writer');
my $before = value($catalogs);
is(value("SELECT count(*) FROM $plain"), 17, 'objects, as a list');
is(value(q(SELECT * FROM rolecall.check_projections())), '', 'nothing is in the way');
is(value(q(SELECT * FROM rolecall.check_pack('users'))), '', 'nor for the pack');
is_as_in_core('LEGACY', 'users', 'core', 'auth.st_');
is(value(q(SELECT users.user_id(old.u(14)::text))), value('SELECT old.u(13)'), 'where an external id is another user\'s own, the mapped user wins');
is(value(q(SELECT users.get_user(old.u(3)::text) -> 'roles')), '[]', 'no role is an empty list');
is(value(q(SELECT pg_typeof(roles), roles FROM users.user_full_view WHERE primary_user_id = old.u(3)::text)), 'text[]|{}', 'as an array, too');
unlike(value(q(SELECT string_agg(v::text, ' ') FROM users.user_full_view v)), qr/SECRET/, 'no secret is shown');

# What the cache knows of whom: a write evicts whom it concerns.
my $known = q(SELECT coalesce(string_agg(right(uid::text, 2), ',' ORDER BY uid), '') FROM users.user_documents WHERE NOT (rolecall.cache_entry('users', uid::text)).usable);
my $others = 0;  # a few, because keys may share a stamp
sub evicts {
	my ($what, $write, $expected) = @_;
	value('SELECT count(rolecall.project(\'users\', user_id::text)) FROM auth.st_app_id_to_user_id');
	is(value($known), '', "before $what, all are cached") if $what eq 'a touch';
	value($write);
	my %evicted = map { $_ => 1 } split /,/, value($known);
	is(join(',', grep { $evicted{$_} } split /,/, $expected), $expected, "$what evicts " . ($expected || 'nobody'));
	is(join(',', keys %evicted), '', '... for certain') if $what eq 'a touch';
	delete @evicted{split /,/, $expected};
	$others += keys %evicted;
	is(value("SELECT id FROM @{[ids('auth.st_')]} i WHERE users.get_user(id) IS DISTINCT FROM core.get_user(id)"), '', "... and then all are right");
	return;
}
evicts('a touch', q(INSERT INTO auth.st_user_last_active SELECT 'public', user_id, 5 FROM auth.st_app_id_to_user_id WHERE app_id = 'public' ON CONFLICT (app_id, user_id) DO UPDATE SET last_active_time = 6), '');
evicts('an address', q(UPDATE auth.st_emailpassword_users SET email = 'new@example.org' WHERE user_id = old.u(1) AND app_id = 'public'), '01');
evicts('an address of a linked member', q(UPDATE auth.st_thirdparty_users SET email = 'new@example.org' WHERE user_id = old.u(6)), '05');
evicts('a role', q(INSERT INTO auth.st_user_roles VALUES ('public', 'public', old.u(2)::text, 'writer')), '02');
evicts('a role of a mapped id', q(DELETE FROM auth.st_user_roles WHERE user_id = 'external-12'), '12');
evicts('a role that nobody has by this id', q(INSERT INTO auth.st_user_roles VALUES ('public', 'public', old.u(12)::text, 'another')), '');
evicts('metadata', q(INSERT INTO auth.st_user_metadata VALUES ('public', old.u(4)::text, '{"a": 1}')), '04');
evicts('a mapping', q(INSERT INTO auth.st_userid_mapping VALUES ('public', old.u(17), 'external-17')), '17');
evicts('a mapping of a linked member', q(UPDATE auth.st_userid_mapping SET external_user_id = 'external-16-new' WHERE supertokens_user_id = old.u(16)), '15');
evicts('the end of a mapping', q(DELETE FROM auth.st_userid_mapping WHERE supertokens_user_id = old.u(12)), '12');
evicts('a tenant', q(CALL old.enter(old.u(20), 'emailpassword', 't2')), '20');
evicts('leaving a tenant', q(CALL old.leave(old.u(18), 'public')), '18');
evicts('linking', q(CALL old.link(old.u(2), old.u(1))), '01');
evicts('unlinking', q(CALL old.link(old.u(2), old.u(2))), '01,02');
evicts('a new user', q(CALL old.signup(old.u(30), 'passwordless', NULL, 3000, phone => '+491')), '30');
evicts('the end of a primary\'s method', q(CALL old.remove_method(old.u(15))), '15');
evicts('the end of a user', q(CALL old.remove(old.u(30))), '');
evicts('another app', q(DELETE FROM auth.st_user_roles WHERE app_id = 'second'; DELETE FROM auth.st_app_id_to_user_id WHERE app_id = 'second' AND user_id = old.u(27)), '01');
evicts('TRUNCATE', q(TRUNCATE auth.st_userid_mapping), '13,15,17,26,28,29');
cmp_ok($others, '<=', 5, 'and nobody else is evicted');
is_as_in_core('after all of that', 'users', 'core', 'auth.st_');

# ---- Rights -------------------------------------------------------------------------------------------------

like(error_of($node, q(SET ROLE client; SELECT users.get_user('x'))), qr/42501: permission denied for schema users/, 'nobody has any right');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA users TO client; GRANT EXECUTE ON FUNCTION users.get_user(text) TO client');
is(value(q(SET ROLE client; SELECT users.get_user('a0000000-0000-0000-0000-000000000001') ->> 'email')), 'new@example.org', 'what was granted works, and needs no more');
like(error_of($node, q(SET ROLE client; SELECT users.user_id('x'))), qr/42501: permission denied for function user_id/, '... and nothing else does');
like(error_of($node, "SET ROLE client; SELECT $plain"), qr/42501: permission denied for schema rolecall/, 'nobody else installs packs');
like(error_of($node, q(DROP TABLE auth.st_emailpassword_users)), qr/2BP01: cannot drop table auth.st_emailpassword_users because other objects depend on it\nDETAIL:.*view users.user_documents/, 'a migration of SuperTokens says which view is in the way');
# SuperTokens' own role has no right on the pack, and writes as before.
$node->safe_psql('postgres', q(SET ROLE st_writer; CALL old.signup(old.u(50), 'emailpassword', 'own@example.org', 5000); INSERT INTO auth.st_userid_mapping VALUES ('public', old.u(50), 'external-50')));
is(value(q(SELECT users.get_user('external-50') = core.get_user('external-50'), users.get_user('external-50') ->> 'user_id')), 't|external-50', 'SuperTokens writes with its own rights');
$node->safe_psql('postgres', q(SET ROLE st_writer; CALL old.remove(old.u(50))));
value(q(SELECT rolecall.uninstall_pack('users')));
is(value($catalogs), $before, 'nothing stays of a pack that was taken off');
like(error_of($node, q(SELECT rolecall.uninstall_pack('users'))), qr/55000: the pack in schema "users" is not installed/, 'once');
is(value(q(SELECT problem FROM rolecall.check_pack('users'))), 'the pack is not installed', 'check_pack() says so');
$node->safe_psql('postgres', 'ALTER TABLE auth.st_emailpassword_users ALTER email TYPE varchar(300)');
value(q(SELECT rolecall.reinstall_pack('users')));
is(value(q(SET ROLE client; SELECT users.get_user('a0000000-0000-0000-0000-000000000001') ->> 'email')), 'new@example.org', 'put back, with the rights that were granted');
value(q(SELECT rolecall.reinstall_pack('users')));
is_as_in_core('put back twice', 'users', 'core', 'auth.st_');

# What goes wrong with a pack, and the repair.
$node->safe_psql('postgres', 'ALTER TABLE auth.st_userid_mapping DISABLE TRIGGER rolecall_subjects_users');
$node->safe_psql('postgres', q(INSERT INTO auth.st_userid_mapping VALUES ('public', old.u(12), 'external-12')));
is(value(q(SELECT problem FROM rolecall.check_pack('users'))), "trigger \"rolecall_subjects_users\" on auth.st_userid_mapping is not in place\nthe helper table is wrong about 1 users", 'a trigger that was disabled');
value(value(q(SELECT repair FROM rolecall.check_pack('users') LIMIT 1)));
is(value(q(SELECT count(*) FROM rolecall.check_pack('users'))), 0, 'the repair repairs');
is_as_in_core('repaired', 'users', 'core', 'auth.st_');

# ---- Errors -------------------------------------------------------------------------------------------------

my @errors = (
	[ q('users', source => 'auth', prefix => 'st'), qr/42710: schema "users" has a pack already/ ],
	[ q('u2', source => 'auth'), qr/42P01: tables of SuperTokens are missing in schema "auth": emailpassword_users, user_metadata, user_roles, user_last_active\nHINT/ ],
	[ q('u2', source => 'auth', prefix => 'st', tables => '{"user_roles": "elsewhere"}'), qr/42P01: .*: user_roles\n/ ],
	[ q('u2', source => 'auth', prefix => 'st', tables => '{"sessions": "x"}'), qr/22023: the pack reads no table sessions/ ],
	[ q('u2', source => 'auth', prefix => 'st', tables => '[]'), qr/22023: invalid tables/ ],
	[ q('u2', source => 'auth', prefix => 'st', app => 'third'), qr/42704: app "third" does not exist/ ],
	[ q('u2', source => 'auth', prefix => 'st', tenant => 't3'), qr/42704: tenant "t3" of app "public" does not exist/ ],
	[ q('u2', source => 'auth', prefix => 'st', layout => 'single'), qr/0A000: the layout of the tables in schema "auth" is not recognized/ ],
	[ q('u2', source => 'auth', prefix => 'st', layout => 'other'), qr/22023: invalid layout: other/ ],
	[ q('u2', source => 'auth', prefix => 'st', tenants_from => 'other'), qr/22023: invalid tenants_from: other/ ],
	[ q('u2', source => 'auth', prefix => 'st', owner => 'client'), qr/42501: documents of view u2.user_documents cannot be read|42501: / ],
	[ q('auth', source => 'auth', prefix => 'st'), qr/42P06: schema "auth" already exists/ ],
	[ q(NULL), qr/22004: only layout, tenants_from and owner may be NULL/ ]);
for (@errors) {
	my ($arguments, $error) = @$_;
	like(error_of($node, "SELECT rolecall.install_supertokens($arguments)"), $error, "install_supertokens($arguments)");
}
like(error_of($node, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT rolecall.reinstall_pack('users')"), qr/25001: a pack is installed in READ COMMITTED only/, 'an old snapshot is refused');
is(value(q(SELECT count(*) FROM pg_namespace WHERE nspname = 'u2')), 0, 'errors leave nothing');


# ---- Other layouts ------------------------------------------------------------------------------------------

# MIGRATED: tenants are in another table, and what the old one has is not true any more. Names need quotes, and a table was renamed.
make_tables($node, '"Auth @ $1"', '');
my $migrated = '"Auth @ $1".';
make_writes($node, 'new', $migrated, 'new');
make_oracle($node, 'core_new', $migrated, 'recipe_user_tenants', 'recipe_user_id');
$node->safe_psql('postgres', fill_tables('new', $migrated));
$node->safe_psql('postgres', qq(INSERT INTO ${migrated}all_auth_recipe_users VALUES ('public', 't2', new.u(1))));
my $arguments = q("into" => 'Users of $pack$', source => 'Auth @ $1');
like(error_of($node, "SELECT rolecall.install_supertokens($arguments)"), qr/22023: it is not clear which table has the tenants of the users\nDETAIL: .*\nHINT:  Pass tenants_from/, 'stale tenants');
value("SELECT rolecall.install_supertokens($arguments, tenants_from => 'recipe_user_tenants')");
is_as_in_core('MIGRATED', '"Users of $pack$"', 'core_new', $migrated);
value(q(SELECT rolecall.uninstall_pack('Users of $pack$')));
$node->safe_psql('postgres', qq(TRUNCATE ${migrated}all_auth_recipe_users; ALTER TABLE ${migrated}user_metadata RENAME TO "Meta""data"));
value(qq(SELECT rolecall.install_supertokens($arguments, tables => '{"user_metadata": "Meta\\"data"}')));
$node->safe_psql('postgres', qq(CREATE VIEW ${migrated}user_metadata AS SELECT * FROM ${migrated}"Meta""data"));
is_as_in_core('MIGRATED, found out, with a table that was renamed', '"Users of $pack$"', 'core_new', $migrated);

# Another app of the same tables.
value(q(SELECT rolecall.install_supertokens('second_users', source => 'auth', prefix => 'st', app => 'second')));
is(value(q(SELECT string_agg(doc ->> 'email', ',') FROM second_users.all_users())), 'ada.second@example.org', 'another app has its own users');
value(q(SELECT rolecall.uninstall_pack('second_users')));
is_as_in_core('with the other pack of the same owner gone', 'users', 'core', 'auth.st_');

# ---- Before there were apps and tenants ----------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA single;
CREATE TABLE single.all_auth_recipe_users (user_id char(36) PRIMARY KEY, recipe_id varchar(128), time_joined bigint);
CREATE TABLE single.userid_mapping (supertokens_user_id char(36) UNIQUE REFERENCES single.all_auth_recipe_users ON DELETE CASCADE, external_user_id varchar(128) UNIQUE, external_user_id_info text);
CREATE TABLE single.emailpassword_users (user_id char(36) PRIMARY KEY, email varchar(256) UNIQUE, password_hash varchar(128) DEFAULT 'SECRET', time_joined bigint);
CREATE TABLE single.thirdparty_users (third_party_id varchar(28), third_party_user_id varchar(128), user_id char(36) UNIQUE, email varchar(256), time_joined bigint, PRIMARY KEY (third_party_id, third_party_user_id));
CREATE TABLE single.passwordless_users (user_id char(36) PRIMARY KEY, email varchar(256) UNIQUE, phone_number varchar(256) UNIQUE, time_joined bigint);
CREATE TABLE single.user_metadata (user_id varchar(128) PRIMARY KEY, user_metadata text NOT NULL);
CREATE TABLE single.user_roles (user_id varchar(128), role varchar(255), PRIMARY KEY (user_id, role));
CREATE TABLE single.user_last_active (user_id varchar(128) PRIMARY KEY, last_active_time bigint);
INSERT INTO single.all_auth_recipe_users SELECT user_id, recipe_id FROM auth.st_app_id_to_user_id WHERE app_id = 'public';
INSERT INTO single.userid_mapping SELECT new.u(n), CASE n WHEN 13 THEN new.u(14)::text ELSE 'external-' || n END FROM unnest('{12,13,20}'::int[]) n;
INSERT INTO single.emailpassword_users SELECT DISTINCT ON (email) user_id, email, 'SECRET', time_joined FROM auth.st_emailpassword_users WHERE app_id = 'public' ORDER BY email, user_id;
INSERT INTO single.thirdparty_users SELECT third_party_id, third_party_user_id, user_id, email, time_joined FROM auth.st_thirdparty_users;
INSERT INTO single.passwordless_users SELECT user_id, email, phone_number, time_joined FROM auth.st_passwordless_users;
INSERT INTO single.user_metadata SELECT user_id, user_metadata FROM auth.st_user_metadata WHERE app_id = 'public';
INSERT INTO single.user_roles SELECT user_id, role FROM auth.st_user_roles WHERE app_id = 'public' AND tenant_id = 'public';
INSERT INTO single.user_last_active VALUES (new.u(1), 9), ('external-12', 8);
CREATE SCHEMA document;
CREATE TABLE document.emailpassword_users (user_id uuid PRIMARY KEY, email text, password_hash text DEFAULT 'SECRET', time_joined bigint);
CREATE TABLE document.user_metadata (user_id uuid PRIMARY KEY, user_metadata text);
CREATE TABLE document.user_roles (user_id uuid, role text, PRIMARY KEY (user_id, role));
CREATE TABLE document.user_last_active (user_id uuid PRIMARY KEY, last_active_time bigint);
INSERT INTO document.emailpassword_users SELECT user_id::uuid, email, 'SECRET', time_joined FROM single.emailpassword_users WHERE user_id LIKE 'a0%';
INSERT INTO document.user_metadata SELECT user_id::uuid, user_metadata FROM single.user_metadata;
INSERT INTO document.user_roles SELECT user_id::uuid, role FROM single.user_roles WHERE user_id LIKE 'a0%';
INSERT INTO document.user_last_active VALUES (new.u(1)::uuid, 9);
-- The same tables as the oracle knows them.
CREATE SCHEMA single_core;
CREATE VIEW single_core.app_id_to_user_id AS SELECT 'public'::text AS app_id, user_id, user_id AS primary_or_recipe_user_id FROM single.all_auth_recipe_users;
CREATE VIEW single_core.all_auth_recipe_users AS SELECT 'public'::text AS app_id, 'public'::text AS tenant_id, user_id FROM single.all_auth_recipe_users;
CREATE VIEW single_core.userid_mapping AS SELECT 'public'::text AS app_id, * FROM single.userid_mapping;
CREATE VIEW single_core.webauthn_users AS SELECT 'public'::text AS app_id, user_id, email, time_joined FROM single.emailpassword_users WHERE false;
CREATE VIEW single_core.user_roles AS SELECT 'public'::text AS app_id, 'public'::text AS tenant_id, user_id, role FROM single.user_roles;
CREATE SCHEMA document_core;
CREATE VIEW document_core.app_id_to_user_id AS SELECT 'public'::text AS app_id, user_id::bpchar AS user_id, user_id::bpchar AS primary_or_recipe_user_id FROM document.emailpassword_users;
CREATE VIEW document_core.all_auth_recipe_users AS SELECT 'public'::text AS app_id, 'public'::text AS tenant_id, user_id::bpchar AS user_id FROM document.emailpassword_users;
CREATE VIEW document_core.userid_mapping AS SELECT * FROM single_core.userid_mapping WHERE false;
CREATE VIEW document_core.emailpassword_users AS SELECT 'public'::text AS app_id, user_id::bpchar AS user_id, email, time_joined FROM document.emailpassword_users;
CREATE VIEW document_core.user_metadata AS SELECT 'public'::text AS app_id, user_id::text AS user_id, user_metadata FROM document.user_metadata;
CREATE VIEW document_core.user_roles AS SELECT 'public'::text AS app_id, 'public'::text AS tenant_id, user_id::text AS user_id, role FROM document.user_roles;
CREATE VIEW document_core.user_last_active AS SELECT 'public'::text AS app_id, user_id::text AS user_id, last_active_time FROM document.user_last_active;
DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['emailpassword_users', 'thirdparty_users', 'passwordless_users', 'user_metadata', 'user_last_active'] LOOP
		EXECUTE format('CREATE VIEW single_core.%I AS SELECT ''public''::text AS app_id, * FROM single.%1$I', t);
	END LOOP;
	FOREACH t IN ARRAY ARRAY['thirdparty_users', 'passwordless_users', 'webauthn_users'] LOOP
		EXECUTE format('CREATE VIEW document_core.%I AS SELECT * FROM single_core.%1$I WHERE false', t);
	END LOOP;
END $$;
SQL
for my $layout ('single', 'document') {
	make_oracle($node, "core_$layout", "${layout}_core.", 'all_auth_recipe_users', 'user_id');
	value("SELECT rolecall.install_supertokens('${layout}_users', source => '$layout')");
	is(value("SELECT found ->> 'layout' FROM rolecall.packs WHERE schema = '${layout}_users'"), $layout, "layout $layout is found out");
	my %without = $layout eq 'document' ? (phones => 1, view => 1) : ();
	is_as_in_core($layout, "${layout}_users", "core_$layout", "${layout}_core.", %without);
	$node->safe_psql('postgres', "UPDATE $layout.emailpassword_users SET email = 'x' || email; DELETE FROM $layout.user_roles WHERE role = 'reader'; INSERT INTO $layout.user_roles VALUES (new.u(5)" . ($layout eq 'document' ? '::uuid' : '') . ", 'x');
		UPDATE $layout.user_metadata SET user_metadata = '{\"b\": 1}'; " . ($layout eq 'single' ? 'DELETE FROM single.userid_mapping WHERE supertokens_user_id = new.u(13); DELETE FROM single.all_auth_recipe_users WHERE user_id = new.u(20)' : 'DELETE FROM document.emailpassword_users WHERE user_id = new.u(21)::uuid'));
	is_as_in_core("$layout, after writes", "${layout}_users", "core_$layout", "${layout}_core.", %without);
	is(value("SELECT * FROM rolecall.check_pack('${layout}_users')"), '', "$layout: in order");
}
# An old snapshot still sees the mapping of a user who was removed meanwhile, and comes back.
my $old_snapshot = session($node);
$old_snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM single.userid_mapping');
$node->safe_psql('postgres', 'DELETE FROM single.all_auth_recipe_users WHERE user_id = new.u(12)');
$old_snapshot->query_safe('INSERT INTO single.all_auth_recipe_users VALUES (new.u(12)); COMMIT');
$old_snapshot->quit;
is(value(q(SELECT single_users.get_user(new.u(12)::text) ->> 'user_id' = new.u(12)::text, count(*) FROM rolecall.check_pack('single_users'))), 't|0', 'a user who came back in an older snapshot has no mapping');
is(value(q(SELECT count(*), count(email), string_agg(DISTINCT roles::text, ' ' ORDER BY roles::text) FROM document_users.user_full_view WHERE last_active_time = 9 OR roles = '{x}')), '2|2|{x} {}', 'the view over tables with uuids');

# ---- Notifications ------------------------------------------------------------------------------------------

value(q(SELECT rolecall.install_supertokens('told', source => 'auth', prefix => 'st', notify => true)));
# What a listener hears of it: the ends of the ids.
sub heard {
	my ($statements) = @_;
	my @payloads = value("LISTEN told; $statements; SELECT") =~ /notification "told" with payload "(.*)" received/g;
	return join ' ', map { s/[{}" ]//gr =~ s/a0000000-0000-0000-0000-0000000000//gr } @payloads;
}
is(heard(q(UPDATE auth.st_thirdparty_users SET email = 'told@example.org' WHERE user_id = old.u(6))), 'users:[05]', 'an address of a linked member: the primary');
is(heard(q(INSERT INTO auth.st_user_roles VALUES ('public', 'public', 'external-12', 'told'), ('public', 't2', old.u(1), 'told'), ('second', 'public', old.u(3), 'told'), ('public', 'public', 'nobody', 'told'))),
	'users:[01,12]', 'roles: one notification for a statement, without other apps');
is(heard(q(CALL old.link(old.u(2), old.u(1)))), 'users:[01,02]', 'linking: both');
is(heard(q(BEGIN; CALL old.link(old.u(2), old.u(2)); ROLLBACK)), '', 'a rollback tells nothing');
is(heard(q(UPDATE auth.st_user_last_active SET last_active_time = 7)), '', 'nor does a touch');
is(heard(q(DELETE FROM auth.st_userid_mapping WHERE supertokens_user_id = old.u(12))), 'users:[12]', 'the end of a mapping');
is(heard(q(CALL old.enter(old.u(21), 'emailpassword', 't2'))), 'users:[21]', 'a tenant');
is(heard(q(DELETE FROM auth.st_app_id_to_user_id WHERE app_id = 'public' AND user_id = old.u(20))), 'users:[20]', 'the end of a user');
is(heard(q(INSERT INTO auth.st_app_id_to_user_id SELECT 'public', old.u(n), 'emailpassword', old.u(n) FROM generate_series(200, 400) n)), 'all:true', 'many');
is(heard(q(TRUNCATE auth.st_user_metadata)), 'all:true', 'TRUNCATE');
is(value(q(SELECT * FROM rolecall.check_pack('told'))), '', 'the pack is in order');
value(q(SELECT rolecall.uninstall_pack('told')));
is(heard(q(UPDATE auth.st_thirdparty_users SET email = 'again@example.org' WHERE user_id = old.u(6))), '', 'a pack that was taken off tells nothing');
is(value(q(SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%told%')), 0, '... and has no triggers');
is_as_in_core('after that', 'users', 'core', 'auth.st_');

# ---- The commands of docs/supertokens.md, with an owner who may read those columns and nothing else ----------

my $documentation = slurp_file("$Rolecall::Test::root/docs/supertokens.md");
my ($grants) = $documentation =~ /```sql\n(CREATE ROLE users_owner.*?)```/s;
my ($rights) = $documentation =~ /```sql\n(CREATE ROLE backend.*?)```/s;
make_tables($node, 'public', '');
make_writes($node, 'doc', 'public.', 'old');
make_oracle($node, 'core_doc', 'public.', 'all_auth_recipe_users', 'user_id');
$node->safe_psql('postgres', fill_tables('doc', 'public.'));
$node->safe_psql('postgres', "$grants $rights");
is_as_in_core('an owner with rights on columns', 'auth_users', 'core_doc', 'public.');
like(error_of($node, 'SET ROLE users_owner; SELECT password_hash FROM emailpassword_users'), qr/42501/, 'the owner may read no secret');
is(value('SET ROLE backend; SELECT count(*) FROM auth_users.all_users(NULL, 1000)'), value(q(SELECT count(*) FROM auth_users.user_documents)), 'a role with the documented rights');
is(value(q(SELECT string_agg(c.grants, ',') FROM (SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'rolecall'::regnamespace AND has_function_privilege('users_owner', p.oid, 'EXECUTE') ORDER BY 1) c(grants))),
	'rolecall.invalidate(name,text),rolecall.project(name,text),rolecall.project_many(name,text[]),rolecall.reload(name),rolecall.try_jsonb(text)', 'what the owner was given');

# The same where the row of the user who comes back stands before the one that is gone: the check of the foreign key finds it first,
# and raises no error. The removed users make room.
$node->safe_psql('postgres', <<'SQL');
DO $$ BEGIN FOR n IN 500 .. 700 LOOP CALL doc.signup(doc.u(n), 'emailpassword', 'x' || n || '@x', n); END LOOP; END $$;
INSERT INTO userid_mapping VALUES ('public', doc.u(700), 'external-700');
DO $$ BEGIN FOR n IN 500 .. 600 LOOP CALL doc.remove(doc.u(n)); END LOOP; END $$;
VACUUM app_id_to_user_id;
SQL
$old_snapshot = session($node);
$old_snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM userid_mapping');
$node->safe_psql('postgres', 'CALL doc.remove(doc.u(700))');
$old_snapshot->query_safe(q(CALL doc.signup(doc.u(700), 'emailpassword', 'back@example.org', 1201); COMMIT));
$old_snapshot->quit;
is(value(q(SELECT auth_users.get_user(doc.u(700)::text) ->> 'user_id' = doc.u(700)::text)), 't', 'a user who came back in an older snapshot, with foreign keys');
$node->safe_psql('postgres', 'DO $$ BEGIN FOR n IN 601 .. 700 LOOP CALL doc.remove(doc.u(n)); END LOOP; END $$');

# ---- Writers against readers --------------------------------------------------------------------------------

# Each transaction does a few things at random to 40 users; what fails is rolled back. A comparison is one statement, so both
# sides see the same rows.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION doc.some() RETURNS bpchar LANGUAGE sql AS $$ SELECT doc.u(100 + (random() * 39)::int) $$;
CREATE PROCEDURE doc.write() LANGUAGE plpgsql AS $$
DECLARE
	id bpchar := doc.some();
	other bpchar := doc.some();
BEGIN
	CASE (random() * 19)::int
		WHEN 0, 1, 2, 3 THEN CALL doc.signup(id, (ARRAY['emailpassword', 'thirdparty', 'passwordless', 'webauthn'])[1 + (random() * 3)::int], 'a' || (random() * 9)::int || '@x', (random() * 1000)::bigint, phone => '+' || (random() * 9)::int);
		WHEN 4 THEN CALL doc.remove(id);
		WHEN 5, 6 THEN CALL doc.link(id, other);
		WHEN 7 THEN CALL doc.link(id, id);
		WHEN 8 THEN CALL doc.remove_method(id);
		WHEN 9, 10 THEN INSERT INTO userid_mapping VALUES ('public', id, CASE WHEN random() < 0.5 THEN other::text ELSE 'ext' || (random() * 20)::int END) ON CONFLICT (app_id, supertokens_user_id) DO UPDATE SET external_user_id = EXCLUDED.external_user_id;
		WHEN 11 THEN DELETE FROM userid_mapping WHERE app_id = 'public' AND supertokens_user_id = id;
		WHEN 12 THEN UPDATE emailpassword_users SET email = 'b' || random() WHERE app_id = 'public' AND user_id = id;
		WHEN 13, 14 THEN INSERT INTO user_metadata VALUES ('public', (ARRAY[id::text, 'ext' || (random() * 20)::int])[1 + (random() * 1)::int], (ARRAY['{"a": 1}', '{"a": 2}', '{'])[1 + (random() * 2)::int]) ON CONFLICT (app_id, user_id) DO UPDATE SET user_metadata = EXCLUDED.user_metadata;
		WHEN 15, 16 THEN INSERT INTO user_roles VALUES ('public', (ARRAY['public', 't2'])[1 + (random() * 1)::int], (ARRAY[id::text, 'ext' || (random() * 20)::int])[1 + (random() * 1)::int], 'r' || (random() * 3)::int) ON CONFLICT DO NOTHING;
		WHEN 17 THEN DELETE FROM user_roles WHERE user_id IN (id::text, 'ext' || (random() * 20)::int);
		WHEN 18 THEN CALL doc.enter(id, 'emailpassword', 't2');
		ELSE CALL doc.leave(id, 't2');
	END CASE;
END $$;
CREATE PROCEDURE doc.write_often(times int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		BEGIN
			FOR j IN 0 .. (random() * 2)::int LOOP CALL doc.write(); END LOOP;
			IF random() < 0.1 THEN RAISE EXCEPTION USING ERRCODE = 'ZZ001'; END IF;
		EXCEPTION WHEN SQLSTATE 'ZZ001' OR unique_violation OR foreign_key_violation OR deadlock_detected OR serialization_failure THEN NULL;
		END;
		COMMIT;
	END LOOP;
END $$;
CREATE TABLE doc.wrong (id text, isolation text, shown_by_view text, answer jsonb, expected jsonb);
CREATE TABLE doc.compared (n bigint);
CREATE PROCEDURE doc.read_often(times int) LANGUAGE plpgsql AS $$
DECLARE n bigint := 0; more bigint; found_here doc.wrong[];
BEGIN
	FOR i IN 1 .. times LOOP
		FOR j IN 1 .. 3 LOOP
			SELECT found_here || array_agg((q.id, current_setting('transaction_isolation'),
				(SELECT v.doc ->> 'user_id' FROM auth_users.user_documents v WHERE v.uid = core_doc.primary_of(q.id)::bpchar), q.answer, q.expected)::doc.wrong) FILTER (WHERE q.answer IS DISTINCT FROM q.expected), count(*)
			INTO found_here, more
			FROM (SELECT s.id, auth_users.get_user(s.id) AS answer, core_doc.get_user(s.id) AS expected
			      FROM (SELECT doc.u(100 + g)::text FROM generate_series(0, 39) g WHERE g % 8 = i % 8 UNION ALL SELECT 'ext' || g FROM generate_series(0, 20) g WHERE g % 8 = i % 8) s(id)) q;
			n := n + more;
		END LOOP;
		COMMIT;
	END LOOP;
	INSERT INTO doc.wrong SELECT * FROM unnest(found_here);
	INSERT INTO doc.compared VALUES (n);
END $$;
SQL
my $hits = value('SELECT hits FROM rolecall.stat_cache');
my @sessions = map { session($node) } 1 .. 5;
my @isolations = ('read committed', 'read committed', 'repeatable read', 'read committed', 'repeatable read');
begin_query($sessions[$_], "SET default_transaction_isolation = '$isolations[$_]'; " . ($_ < 3 ? 'CALL doc.write_often(600)' : 'CALL doc.read_often(300)')) for 0 .. 4;
is(finish_query($_), '', 'a session ends without an error') for @sessions;
is(value('SELECT id, isolation, shown_by_view, answer, expected FROM doc.wrong LIMIT 3'), '', 'random writers against readers: ' . value('SELECT sum(n) FROM doc.compared') . ' comparisons, none wrong');
cmp_ok(value('SELECT hits FROM rolecall.stat_cache') - $hits, '>', 500, '... and many answers came from memory');
is(value(q(SELECT * FROM rolecall.check_pack('auth_users'))), '', 'the helper table is right');
is_as_in_core('after random writes', 'auth_users', 'core_doc', 'public.');

# ---- All users are loaded, and no table is read as a whole ---------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
DO $$ BEGIN FOR n IN 1000 .. 5999 LOOP
	CALL doc.signup(doc.u(n), (ARRAY['emailpassword', 'thirdparty', 'passwordless', 'webauthn'])[1 + n % 4], 'user' || n || '@example.org', n, phone => '+' || n);
	INSERT INTO userid_mapping VALUES ('public', doc.u(n), 'mapped-' || n);
	INSERT INTO user_last_active VALUES ('public', doc.u(n), n);
	INSERT INTO user_roles VALUES ('public', 'public', 'mapped-' || n, 'r' || n % 10);
	INSERT INTO user_metadata VALUES ('public', 'mapped-' || n, '{"n": ' || n || '}');
END LOOP; END $$;
ANALYZE;
SELECT auth_users.reload();
SQL
my $progress = q(SELECT phase FROM rolecall.stat_progress WHERE projection = 'auth_users');
$node->poll_query_until('postgres', "$progress AND phase IN ('done', 'failed', 'cache full', 'not cached')", 'done') or diag(value($progress));
is(value(q(SELECT documents_loaded, documents_failed FROM rolecall.stat_progress WHERE projection = 'auth_users')), value('SELECT count(*), 0 FROM auth_users.user_full_view'), 'all users are loaded');
my $seen = q((SELECT coalesce(string_agg(relname || ' ' || seq_scan, ',' ORDER BY relname), 'no table') FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND schemaname IN ('public', 'auth_users')));
for my $read (q(auth_users.get_user(doc.u(1234)::text)), q(auth_users.get_user(doc.u(9999)::text)), q(ARRAY(SELECT u FROM auth_users.users_by_email('user1234@example.org') u)), q(ARRAY(SELECT u FROM auth_users.users_by_phone('+491') u)),
	q(ARRAY(SELECT u FROM auth_users.get_users(ARRAY(SELECT doc.u(n)::text FROM generate_series(2000, 2010) n)) u)), q(ARRAY(SELECT u FROM auth_users.all_users(doc.u(3000)::text, 10) u)),
	q(ARRAY(SELECT v FROM auth_users.user_documents v WHERE uid = doc.u(1234)))) {
	is(value("BEGIN; SELECT length(($read)::text) > 100; SELECT $seen; COMMIT"), ($read =~ /9999/ ? '' : 't') . "\nno table", "$read reads by indexes");
}

# ---- As me(), and in a dump ---------------------------------------------------------------------------------

value(q(SELECT rolecall.uninstall_pack('auth_users')));
value(q(SELECT rolecall.install_supertokens('auth_me', owner => 'users_owner', as_me => true)));
is(value(q(SELECT rolecall.me(doc.u(18)::text) -> 'roles', rolecall.has_role(doc.u(18)::text::uuid, 'a'), rolecall.has_role(doc.u(18)::text, 'there'))), '["a", "b"]|t|f', 'me() and has_role() answer from it');
$node->command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/dump.sql", '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-Xqb', '-v', 'ON_ERROR_STOP=1', '-f', "$PostgreSQL::Test::Utils::tmp_check/dump.sql", '-d', $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', q(SELECT * FROM rolecall.check_pack('auth_me') UNION ALL SELECT * FROM rolecall.check_pack('users'))), '', 'packs are in order in the copy');
is($node->safe_psql('restored', q(SELECT count(*) FROM app_id_to_user_id WHERE user_id < 'a0000000-0000-0000-0000-000000001100' AND auth_me.get_user(user_id::text) IS DISTINCT FROM core_doc.get_user(user_id::text))), 0, '... and answer');

# ---- try_jsonb() in databases of other encodings: NULL exactly where the cast is an error ----------------------

my %held = (sql_ascii => 1, latin1 => 2, euc_jp => 4, utf8 => 6);
for my $encoding (sort keys %held) {
	$node->safe_psql('postgres', "CREATE DATABASE in_$encoding ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql("in_$encoding", 'CREATE EXTENSION rolecall');
	is($node->safe_psql("in_$encoding", <<'SQL'), "6|$held{$encoding}", "try_jsonb() in $encoding");
CREATE FUNCTION pg_temp.cast_or_null(t text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN t::jsonb; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;
SELECT count(*), count(rolecall.try_jsonb(t)) FROM unnest(ARRAY['{"a": "\u0041"}', '"\u00e9"', '"\u3042"', '"\ud83d\ude00"', '["\u0416", "\u4e00"]', '{"\u20ac": 1}']) t
WHERE rolecall.try_jsonb(t) IS NOT DISTINCT FROM pg_temp.cast_or_null(t)
SQL
}

done_testing();
