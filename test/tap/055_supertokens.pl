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
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall; CREATE ROLE st_owner; CREATE ROLE st_reader; CREATE ROLE client');

sub value { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

# Every id that anybody may ask for, of either kind, and ids that nobody has.
sub ids {
	my ($t) = @_;
	return "(SELECT user_id::text AS id FROM ${t}app_id_to_user_id UNION SELECT external_user_id FROM ${t}userid_mapping UNION VALUES ('nobody'), (''),
		('a0000000-0000-0000-0000-000000000001x'), ('external-1'))";
}

# Both rounds: read from the tables, and from memory.
sub is_as_in_core {
	my ($what, $pack, $oracle, $t) = @_;
	for my $round ('first', 'again') {
		is(value("SELECT id, $pack.get_user(id), $oracle.get_user(id) FROM @{[ids($t)]} i WHERE $pack.get_user(id) IS DISTINCT FROM $oracle.get_user(id)"), '', "$what: get_user, $round");
	}
	is(value("SELECT g.id, g.doc FROM $pack.get_users(ARRAY(SELECT id FROM @{[ids($t)]} i)) g WHERE g.doc IS DISTINCT FROM $oracle.get_user(g.id)"), '', "$what: get_users");
	is(value("SELECT e.value, tenant FROM (SELECT DISTINCT address AS value FROM (SELECT email FROM ${t}emailpassword_users UNION SELECT email FROM ${t}thirdparty_users UNION SELECT email FROM ${t}passwordless_users
			UNION SELECT email FROM ${t}webauthn_users UNION VALUES ('nobody\@example.org')) q(address)) e CROSS JOIN unnest('{public,t2,none}'::text[]) tenant
		WHERE ARRAY(SELECT $pack.users_by_email(upper(e.value) || ' ', tenant)) <> ARRAY(SELECT $oracle.users('email', e.value, tenant))"), '', "$what: users_by_email");
	is(value("SELECT e.value, tenant FROM (VALUES ('+491'), ('+492'), ('+4')) e(value) CROSS JOIN unnest('{public,t2,none}'::text[]) tenant
		WHERE ARRAY(SELECT $pack.users_by_phone(e.value, tenant)) <> ARRAY(SELECT $oracle.users('phone', e.value, tenant))"), '', "$what: users_by_phone");
	is(value("SELECT primary_user_id, doc FROM $pack.all_users(NULL, 1000) a FULL JOIN (SELECT p.id, $oracle.by_primary(p.id) AS expected FROM (SELECT DISTINCT primary_or_recipe_user_id::text AS id FROM ${t}app_id_to_user_id WHERE app_id = 'public') p) o
		ON o.id = a.primary_user_id WHERE a.doc IS DISTINCT FROM o.expected"), '', "$what: all_users");
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
sub evicts {
	my ($what, $write, $expected) = @_;
	value('SELECT count(rolecall.project(\'users\', user_id::text)) FROM auth.st_app_id_to_user_id');
	is(value($known), '', "before $what, all are cached") if $what eq 'a touch';
	value($write);
	is(value($known), $expected, "$what evicts " . ($expected || 'nobody'));
	is(value("SELECT id FROM @{[ids('auth.st_')]} i WHERE users.get_user(id) IS DISTINCT FROM core.get_user(id)"), '', "... and then all are right");
	return;
}
evicts('a touch', q(INSERT INTO auth.st_user_last_active SELECT 'public', user_id, 5 FROM auth.st_app_id_to_user_id WHERE app_id = 'public' ON CONFLICT (app_id, user_id) DO UPDATE SET last_active_time = 6), '');
evicts('an address', q(UPDATE auth.st_emailpassword_users SET email = 'new@example.org' WHERE user_id = old.u(1) AND app_id = 'public'), '01');
evicts('an address of a linked member', q(UPDATE auth.st_thirdparty_users SET email = 'new@example.org' WHERE user_id = old.u(6)), '05');
evicts('a password', q(UPDATE auth.st_emailpassword_users SET password_hash = 'SECRET2' WHERE user_id = old.u(2)), '');
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
evicts('TRUNCATE', q(TRUNCATE auth.st_userid_mapping), '13,15,17,26');
is_as_in_core('after all of that', 'users', 'core', 'auth.st_');

# ---- Rights -------------------------------------------------------------------------------------------------

like(error_of($node, q(SET ROLE client; SELECT users.get_user('x'))), qr/42501: permission denied for schema users/, 'nobody has any right');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA users TO client; GRANT EXECUTE ON FUNCTION users.get_user(text) TO client');
is(value(q(SET ROLE client; SELECT users.get_user('a0000000-0000-0000-0000-000000000001') ->> 'email')), 'new@example.org', 'what was granted works, and needs no more');
like(error_of($node, q(SET ROLE client; SELECT users.user_id('x'))), qr/42501: permission denied for function user_id/, '... and nothing else does');
like(error_of($node, "SET ROLE client; SELECT $plain"), qr/42501: permission denied for schema rolecall/, 'nobody else installs packs');
like(error_of($node, q(DROP TABLE auth.st_emailpassword_users)), qr/2BP01: cannot drop table auth.st_emailpassword_users because other objects depend on it\nDETAIL:.*view users.user_documents/, 'a migration of SuperTokens says which view is in the way');
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

done_testing();
