# Nobody runs anything inside the extension's functions: not by having made the schema, not by being able to create in
# it, nor by overloads, operators and casts in any schema; and installing hands out nothing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('overloads');
$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN; CREATE ROLE greedy; CREATE ROLE boss SUPERUSER LOGIN');
my $databases = 0;

# A database in which joe may create schemas, and public is open to all, as it was before PostgreSQL 15.
sub new_database {
	my ($setup) = @_;
	my $database = 'd' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $database; GRANT CREATE ON DATABASE $database TO joe");
	$node->safe_psql($database, "GRANT ALL ON SCHEMA public TO PUBLIC; $setup");
	return $database;
}

sub error_in {
	my ($database, $sql) = @_;
	my $error = '';
	$node->psql($database, $sql, stderr => \$error, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $error;
}

# ---- Who was there first -------------------------------------------------------------------------------------

my $revoke = q(CREATE FUNCTION rolecall.revoke_tokens(of_family text, of_user bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint');
for (
	[ 'a schema of somebody else', 'SET ROLE joe; CREATE SCHEMA rolecall', qr/schema rolecall belongs to role joe.*HINT:.*ALTER SCHEMA rolecall OWNER TO postgres/s ],
	[ 'with a function in it', "SET ROLE joe; CREATE SCHEMA rolecall; $revoke", qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema rolecall, and not of the extension.*HINT:.*DROP FUNCTION rolecall.revoke_tokens\(pg_catalog.text,bigint\)/s ],
	[ 'a schema in which somebody may create', 'CREATE SCHEMA rolecall; GRANT CREATE ON SCHEMA rolecall TO joe', qr/role joe may create objects in schema rolecall.*HINT:.*REVOKE CREATE ON SCHEMA rolecall FROM joe/s ],
	[ 'a schema in which everybody may create', 'CREATE SCHEMA rolecall; GRANT CREATE ON SCHEMA rolecall TO PUBLIC', qr/everybody may create objects in schema rolecall.*HINT:.*REVOKE CREATE ON SCHEMA rolecall FROM PUBLIC/s ],
	[ 'what somebody left', "CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; $revoke; RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe", qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema/ ],
	[ 'a type that somebody left', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE TYPE rolecall.t AS ENUM (); RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe', qr/type rolecall.t is in schema/ ],
	[ 'an operator that somebody left', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE OPERATOR rolecall.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = pg_catalog.int8eq); RESET ROLE; REVOKE ALL ON SCHEMA rolecall FROM joe',
		qr/operator rolecall.=\(bigint,bigint\) is in schema/ ],
	[ 'the check in advance', 'CREATE SCHEMA rolecall; GRANT ALL ON SCHEMA rolecall TO joe; SET ROLE joe; CREATE FUNCTION rolecall.check_installation(OUT problem text, OUT repair text) RETURNS SETOF record LANGUAGE sql AS $$ SELECT NULL, NULL WHERE false $$', qr/42723: function "check_installation" already exists/ ],
) {
	my ($what, $setup, $expected) = @$_;
	my $database = new_database($setup);
	for my $by ('postgres', 'boss') {
		my $expects = $expected;
		my $error = error_in($database, "SET SESSION AUTHORIZATION $by; CREATE EXTENSION rolecall");
		if ($by eq 'postgres') {
			like($error, $expects, "$what: refused");
		}
		like($error, qr/ERROR:  (55000: schema "rolecall" is not safe to install into|42723)/, "$what: refused for $by");
	}
	is($node->safe_psql($database, q(SELECT count(*) FROM pg_extension WHERE extname = 'rolecall')), '0', "$what: nothing is installed");
}
# A schema of the installer's own is in order: it is what a dump makes first.
for my $setup ('', 'CREATE SCHEMA rolecall', 'CREATE SCHEMA rolecall; GRANT USAGE ON SCHEMA rolecall TO joe', 'CREATE SCHEMA rolecall AUTHORIZATION boss') {
	my $database = new_database($setup);
	$node->safe_psql($database, 'CREATE EXTENSION rolecall');
	is($node->safe_psql($database, 'SELECT * FROM rolecall.check_installation()'), '', "in order: '$setup'");
}
# At an update, and afterwards.
my $old = new_database(q(CREATE EXTENSION rolecall VERSION '0.1.0'));
for ([ 'GRANT CREATE ON SCHEMA rolecall TO joe', 'REVOKE CREATE ON SCHEMA rolecall FROM joe', qr/role joe may create/ ], [ $revoke, 'DROP FUNCTION rolecall.revoke_tokens(text, bigint)', qr/function rolecall.revoke_tokens\(pg_catalog.text,bigint\) is in schema/ ],
	[ 'ALTER SCHEMA rolecall OWNER TO joe', 'ALTER SCHEMA rolecall OWNER TO postgres', qr/schema rolecall belongs to role joe/ ], [ 'ALTER FUNCTION rolecall.end_logins() OWNER TO joe', 'ALTER FUNCTION rolecall.end_logins() OWNER TO postgres', qr/function rolecall.end_logins\(\) belongs to role joe/ ]) {
	my ($break, $repair, $expected) = @$_;
	$node->safe_psql($old, $break);
	like(error_in($old, 'ALTER EXTENSION rolecall UPDATE'), qr/ERROR:  55000: schema "rolecall" is not safe to install into\nDETAIL:  In the way: [^\n]*$expected/, "$break: no update");
	$node->safe_psql($old, $repair);
}
$node->safe_psql($old, 'ALTER EXTENSION rolecall UPDATE');
is($node->safe_psql($old, 'SELECT * FROM rolecall.check_installation()'), '', 'an update, all repaired');
for my $break ('GRANT CREATE ON SCHEMA rolecall TO joe', $revoke, 'ALTER SCHEMA rolecall OWNER TO joe', 'ALTER FUNCTION rolecall.end_logins() OWNER TO joe', 'ALTER TABLE rolecall.users OWNER TO joe', 'ALTER EVENT TRIGGER rolecall_drop OWNER TO boss; ALTER ROLE boss NOSUPERUSER') {
	$node->safe_psql($old, $break);
	my $repairs = $node->safe_psql($old, q(SELECT string_agg(repair, '; ') FROM rolecall.check_installation()));
	isnt($repairs, '', "$break is named");
	$node->safe_psql($old, $repairs);
	is($node->safe_psql($old, 'SELECT * FROM rolecall.check_installation()'), '', "and repaired by $repairs");
}
$node->safe_psql($old, 'ALTER ROLE boss SUPERUSER');

# ---- Default privileges ---------------------------------------------------------------------------------------

my $generous = join '; ', map { "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO greedy WITH GRANT OPTION" } 'TABLES', 'SEQUENCES', 'FUNCTIONS', 'TYPES', 'SCHEMAS';
my $held = <<'SQL';
SELECT pg_describe_object(d.classid, d.objid, 0), a.privilege_type
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'rolecall'
CROSS JOIN LATERAL (SELECT relacl FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid UNION ALL SELECT proacl FROM pg_proc WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
    UNION ALL SELECT typacl FROM pg_type WHERE d.classid = 'pg_type'::regclass AND oid = d.objid UNION ALL SELECT fdwacl FROM pg_foreign_data_wrapper WHERE d.classid = 'pg_foreign_data_wrapper'::regclass AND oid = d.objid) o(acl)
CROSS JOIN LATERAL aclexplode(o.acl) a
WHERE d.deptype = 'e' AND a.grantee = 'greedy'::regrole
UNION ALL SELECT 'schema', a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'rolecall' AND a.grantee = 'greedy'::regrole
SQL
my $fresh = new_database("$generous; CREATE EXTENSION rolecall");
is($node->safe_psql($fresh, $held), '', 'default privileges hand out nothing');
is($node->safe_psql($fresh, q(CREATE TABLE public.t (); SELECT has_table_privilege('greedy', 'public.t', 'INSERT'))), 't', '... and are in force');
is($node->safe_psql($fresh, 'SELECT * FROM rolecall.check_installation()'), '', '... nor is anything to be repaired');
$old = new_database(q(CREATE EXTENSION rolecall VERSION '0.1.0'; GRANT USAGE ON SCHEMA rolecall TO joe; GRANT EXECUTE ON FUNCTION rolecall.me(bigint) TO joe));
$node->safe_psql($old, "$generous; ALTER EXTENSION rolecall UPDATE");
is($node->safe_psql($old, $held), '', 'nor at an update');
is($node->safe_psql($old, q(SELECT has_function_privilege('joe', 'rolecall.me(bigint)', 'EXECUTE'))), 't', 'what was granted is granted still');
$old = new_database(qq($generous; CREATE EXTENSION rolecall VERSION '0.1.0'));
isnt($node->safe_psql($old, $held), '', '0.1.0 gave what default privileges say');
like(error_in($old, 'ALTER EXTENSION rolecall UPDATE'), qr/default privileges gave role greedy [A-Z]+ on .*HINT:.*REVOKE ALL ON /s, 'an update wants it taken back');

# ---- Providers by their names ---------------------------------------------------------------------------------

my $provider = start_provider();
$provider->put_user('s1', { code => 's1', roles => ['boss'] });
my $directory = new_database('CREATE EXTENSION rolecall');
$node->safe_psql($directory, <<SQL);
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'a\@example.org', 'hr', 's1');
GRANT USAGE ON FOREIGN DATA WRAPPER rolecall TO joe;
SET ROLE joe;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
SQL
for my $call ('rolecall.sync_user_roles(1)', 'rolecall.force_sync_user_roles(1)', q(rolecall.sync_provider('hr')), q(rolecall.apply_provider_event('hr', '{"code": "s1", "roles": ["boss"]}'))) {
	like(error_in($directory, "SELECT $call"), qr/ERROR:  42501: the owner of provider "hr" may not write grants\nDETAIL:  Role "joe" lacks INSERT, UPDATE and DELETE on rolecall.user_roles, or UPDATE on rolecall.users.\nHINT:  Use ALTER SERVER/, "$call: not of joe's server");
}
is(scalar(@{ $provider->requests }), 0, 'which is not even asked');
$node->safe_psql($directory, 'ALTER SERVER hr OWNER TO CURRENT_USER; SELECT rolecall.force_sync_user_roles(1)');
is($node->safe_psql($directory, q(SELECT rolecall.has_role(1, 'boss'))), 't', 'a superuser\'s is');
$node->safe_psql($directory, 'ALTER SERVER hr OWNER TO joe; GRANT INSERT, UPDATE, DELETE ON rolecall.user_roles TO joe; GRANT UPDATE ON rolecall.users TO joe; SELECT rolecall.force_sync_user_roles(1)');
is($node->safe_psql($directory, q(SELECT last_roles_sync_at > now() - interval '1 hour' FROM rolecall.sync_state WHERE user_id = 1)), 't', 'and that of who may write grants anyway');

$node->stop;
done_testing();
