# Every statement that the server has, by the node tags of its headers: either it is on the list of what is harmless
# (src/invalidation/reach.cpp), which is repeated here so that nothing gets onto it unseen, or an example shows that
# it makes documents unusable. A tag that is neither fails.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('statements', "autovacuum = off\nwal_level = logical\n");

# ---- The tags

sub tags {
	my $include = $node->config_data('--includedir-server');
	$include = `pg_config --includedir-server` =~ s/\n//r unless -e "$include/nodes/nodes.h";
	my %tags;
	my $file = "$include/nodes/nodetags.h";
	if (-e $file) {    # PostgreSQL 16 and later
		my $text = slurp_file($file);
		$tags{$1} = $2 while $text =~ /^\s*T_(\w+) = (\d+),/mg;
	} else {
		my ($list) = slurp_file("$include/nodes/nodes.h") =~ /typedef enum NodeTag\s*\{(.*?)\}\s*NodeTag;/s;
		$list =~ s{/\*.*?\*/}{}gs;
		my $number = 0;
		for (split /,/, $list) {
			/T_(\w+)(?:\s*=\s*(\d+))?/ or next;
			$number = $2 if defined $2;
			$tags{$1} = $number++;
		}
	}
	return map { $_ => $tags{$_} } grep { /Stmt$/ } keys %tags;
}
my %tags = tags();
cmp_ok(scalar(keys %tags), '>', 100, scalar(keys %tags) . ' kinds of statements');

# ---- What is harmless

my %harmless = map { $_ => 1 } qw(
  TransactionStmt ConstraintsSetStmt LockStmt CheckPointStmt
  RawStmt PlannedStmt SelectStmt InsertStmt UpdateStmt DeleteStmt MergeStmt ReturnStmt PLAssignStmt SetOperationStmt
  DeclareCursorStmt FetchStmt ClosePortalStmt PrepareStmt ExecuteStmt DeallocateStmt ExplainStmt DoStmt CallStmt
  CopyStmt TruncateStmt NotifyStmt ListenStmt UnlistenStmt
  VariableSetStmt VariableShowStmt AlterSystemStmt AlterRoleSetStmt AlterDatabaseSetStmt LoadStmt DiscardStmt
  IndexStmt ReindexStmt ClusterStmt VacuumStmt CreateTableSpaceStmt DropTableSpaceStmt AlterTableSpaceOptionsStmt AlterTableMoveAllStmt
  CommentStmt AlterDefaultPrivilegesStmt CreatedbStmt AlterDatabaseStmt AlterDatabaseRefreshCollStmt DropdbStmt
  CreateEventTrigStmt AlterEventTrigStmt CreatePublicationStmt AlterPublicationStmt CreateSubscriptionStmt AlterSubscriptionStmt DropSubscriptionStmt
  CreateFdwStmt AlterFdwStmt CreateForeignServerStmt AlterForeignServerStmt CreateUserMappingStmt AlterUserMappingStmt DropUserMappingStmt ImportForeignSchemaStmt);

# What is no statement by itself, but a part of ALTER TABLE
my %parts = map { $_ => 1 } qw(ReplicaIdentityStmt);

# ---- What is not: an example for each, and another, if there is one, that is bound to a relation behind no projection.
# `before` is run first, and does not count.

my %examples = (
	AlterCollationStmt => [ 'ALTER COLLATION app.c REFRESH VERSION' ],
	AlterDomainStmt => [ 'ALTER DOMAIN app.d SET DEFAULT 1' ],
	AlterEnumStmt => [ q(ALTER TYPE app.mood ADD VALUE 'new') ],
	AlterExtensionContentsStmt => [ 'ALTER EXTENSION rolecall ADD TABLE app.unrelated', undef, undef, 'ALTER EXTENSION rolecall DROP TABLE app.unrelated' ],
	AlterExtensionStmt => [ q(ALTER EXTENSION app_functions UPDATE TO '2') ],
	AlterFunctionStmt => [ 'ALTER FUNCTION app.f() STABLE' ],
	AlterObjectDependsStmt => [ 'ALTER FUNCTION app.f() DEPENDS ON EXTENSION plpgsql' ],
	AlterObjectSchemaStmt => [ 'ALTER TABLE app.users SET SCHEMA public', 'ALTER TABLE app.unrelated SET SCHEMA public', undef, 'ALTER TABLE public.users SET SCHEMA app; ALTER TABLE public.unrelated SET SCHEMA app' ],
	AlterOperatorStmt => [ 'ALTER OPERATOR app.=== (int, int) SET (RESTRICT = eqsel)' ],
	AlterOpFamilyStmt => [ 'ALTER OPERATOR FAMILY app.fam USING btree ADD OPERATOR 1 < (int4, int4)' ],
	AlterOwnerStmt => [ 'ALTER FUNCTION app.f() OWNER TO CURRENT_USER', undef, 'CREATE ROLE o; ALTER FUNCTION app.f() OWNER TO o' ],
	AlterPolicyStmt => [ 'ALTER POLICY p ON app.users USING (id > 0)', 'ALTER POLICY q ON app.unrelated USING (id > 0)' ],
	AlterRoleStmt => [ 'ALTER ROLE app_owner BYPASSRLS', 'ALTER ROLE nobody BYPASSRLS' ],
	AlterSeqStmt => [ undef, 'ALTER SEQUENCE app.s CACHE 2' ],
	AlterStatsStmt => [ 'ALTER STATISTICS app.st SET STATISTICS 10', 'ALTER STATISTICS app.su SET STATISTICS 10' ],
	AlterTableStmt => [ 'ALTER TABLE app.users ADD COLUMN y int', 'ALTER TABLE app.unrelated ADD COLUMN y int' ],
	AlterTSConfigurationStmt => [ 'ALTER TEXT SEARCH CONFIGURATION app.conf ALTER MAPPING FOR word WITH simple' ],
	AlterTSDictionaryStmt => [ 'ALTER TEXT SEARCH DICTIONARY app.dict (StopWords = english)' ],
	AlterTypeStmt => [ 'ALTER TYPE app.b SET (STORAGE = main)' ],
	CompositeTypeStmt => [ 'CREATE TYPE app.row AS (x int)' ],
	CreateAmStmt => [ 'CREATE ACCESS METHOD a TYPE TABLE HANDLER heap_tableam_handler' ],
	CreateCastStmt => [ 'CREATE CAST (app.mood AS json) WITH INOUT' ],
	CreateConversionStmt => [ q(CREATE CONVERSION app.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8) ],
	CreateDomainStmt => [ 'CREATE DOMAIN app.dd AS int' ],
	CreateEnumStmt => [ q(CREATE TYPE app.e AS ENUM ('x')) ],
	CreateExtensionStmt => [ 'CREATE EXTENSION app_functions', undef, 'DROP EXTENSION app_functions' ],
	CreateForeignTableStmt => [ undef, 'CREATE FOREIGN TABLE app.ft (id int) SERVER srv' ],
	CreateFunctionStmt => [ 'CREATE FUNCTION app.ff() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$' ],
	CreateOpClassStmt => [ 'CREATE OPERATOR CLASS app.cls FOR TYPE int USING btree AS OPERATOR 1 <' ],
	CreateOpFamilyStmt => [ 'CREATE OPERATOR FAMILY app.fa USING btree' ],
	CreatePLangStmt => [ 'CREATE OR REPLACE LANGUAGE l HANDLER plpgsql_call_handler' ],
	CreatePolicyStmt => [ 'CREATE POLICY pp ON app.users USING (true)', 'CREATE POLICY pp ON app.unrelated USING (true)' ],
	CreateRangeStmt => [ 'CREATE TYPE app.rng AS RANGE (SUBTYPE = int)' ],
	CreateRoleStmt => [ 'CREATE ROLE r ROLE app_owner', 'CREATE ROLE r2 ROLE nobody' ],
	CreateSchemaStmt => [ 'CREATE SCHEMA another' ],
	CreateSeqStmt => [ undef, 'CREATE SEQUENCE app.sq' ],
	CreateStatsStmt => [ 'CREATE STATISTICS app.sta ON id, name FROM app.users', 'CREATE STATISTICS app.stb ON id, k FROM app.unrelated' ],
	CreateStmt => [ 'CREATE TABLE app.child () INHERITS (app.users)', 'CREATE TABLE app.child2 () INHERITS (app.unrelated)' ],
	CreateTableAsStmt => [ undef, 'CREATE TABLE app.copy AS SELECT * FROM app.users' ],
	CreateTransformStmt => [ 'CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal))' ],
	CreateTrigStmt => [ 'CREATE TRIGGER t BEFORE UPDATE ON app.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
		'CREATE TRIGGER t BEFORE UPDATE ON app.unrelated FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	DefineStmt => [ 'CREATE AGGREGATE app.agg (int) (SFUNC = int4pl, STYPE = int)' ],
	DropOwnedStmt => [ 'DROP OWNED BY nobody', undef, 'GRANT SELECT ON app.unrelated TO nobody' ],
	DropRoleStmt => [ 'DROP ROLE parent', 'DROP ROLE nobody2', 'CREATE ROLE parent ROLE app_owner; CREATE ROLE nobody2' ],
	DropStmt => [ 'DROP POLICY p ON app.users', 'DROP POLICY q ON app.unrelated' ],
	GrantRoleStmt => [ 'GRANT grp TO app_owner', 'GRANT grp TO nobody' ],
	GrantStmt => [ 'REVOKE SELECT ON app.users FROM app_owner', 'REVOKE SELECT ON app.users FROM nobody' ],
	ReassignOwnedStmt => [ 'REASSIGN OWNED BY nobody TO app_owner', undef, 'CREATE TABLE app.owned (id int); ALTER TABLE app.owned OWNER TO nobody' ],
	RefreshMatViewStmt => [ undef, 'REFRESH MATERIALIZED VIEW app.m' ],
	RenameStmt => [ 'ALTER TABLE app.users RENAME COLUMN name TO other', 'ALTER TABLE app.unrelated RENAME COLUMN k TO other' ],
	RuleStmt => [ 'CREATE RULE r AS ON INSERT TO app.users DO ALSO NOTHING', 'CREATE RULE r AS ON INSERT TO app.unrelated DO ALSO NOTHING' ],
	SecLabelStmt => [ q(SECURITY LABEL ON TABLE app.users IS 'x'), undef, undef, undef, qr/no security label providers/ ],
	ViewStmt => [ q(CREATE OR REPLACE VIEW app.v AS SELECT id AS uid, '{}'::jsonb AS doc FROM app.users), 'CREATE OR REPLACE VIEW app.w AS SELECT id FROM app.users' ],
);

my $share = $node->config_data('--sharedir') . '/extension';
unlink glob("$share/app_functions*");
append_to_file("$share/app_functions.control", "default_version = '1'\nrelocatable = true\n");
append_to_file("$share/app_functions--1.sql", 'CREATE FUNCTION app_version() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 1::text $$;');
append_to_file("$share/app_functions--1--2.sql", 'CREATE OR REPLACE FUNCTION app_version() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 2::text $$;');
create_extension($node);
$node->safe_psql('postgres', q(CREATE FUNCTION test.reach(tag int) RETURNS text LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_reach'));
my %reach = map { split /\|/ } split /\n/,
  $node->safe_psql('postgres', 'SELECT t.name, test.reach(t.tag) FROM (VALUES ' . join(', ', map { "('$_', $tags{$_})" } sort keys %tags) . ') t(name, tag)');

$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION app_functions;
CREATE ROLE app_owner; CREATE ROLE grp; CREATE ROLE nobody;
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO app_owner;
CREATE TABLE app.users (id int PRIMARY KEY, name text);
INSERT INTO app.users VALUES (1, 'ada');
GRANT SELECT ON app.users TO app_owner;
CREATE TABLE app.unrelated (id int, k int);
CREATE POLICY p ON app.users USING (true);
CREATE POLICY q ON app.unrelated USING (true);
CREATE STATISTICS app.st ON id, name FROM app.users;
CREATE STATISTICS app.su ON id, k FROM app.unrelated;
CREATE SEQUENCE app.s;
CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS x;
CREATE COLLATION app.c (provider = libc, locale = 'C');
CREATE DOMAIN app.d AS int;
CREATE TYPE app.mood AS ENUM ('calm');
CREATE TYPE app.b;
CREATE FUNCTION app.b_in(cstring) RETURNS app.b LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION app.b_out(app.b) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE app.b (INPUT = app.b_in, OUTPUT = app.b_out, LIKE = text);
CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.eq(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 = $2';
CREATE OPERATOR app.=== (leftarg = int, rightarg = int, function = app.eq);
CREATE OPERATOR FAMILY app.fam USING btree;
CREATE TEXT SEARCH CONFIGURATION app.conf (COPY = simple);
CREATE TEXT SEARCH DICTIONARY app.dict (TEMPLATE = simple);
CREATE FOREIGN DATA WRAPPER fdw;
CREATE SERVER srv FOREIGN DATA WRAPPER fdw;
CREATE VIEW app.w AS SELECT id FROM app.users;
CREATE VIEW app.v AS SELECT id AS uid, jsonb_build_object('name', name) AS doc FROM app.users;
ALTER VIEW app.v OWNER TO app_owner;
SELECT rolecall.create_projection('p', 'app.v', 'uid', 'doc', strict => false, watches => '{"app.users": "id"}');
SQL

sub count { return $node->safe_psql('postgres', q(SELECT invalidations FROM rolecall.stat_projection WHERE projection = 'p')); }

for my $tag (sort keys %tags) {
	if ($harmless{$tag}) {
		is($reach{$tag}, 'nothing', "$tag is harmless");
		next;
	}
	isnt($reach{$tag}, 'nothing', "$tag is not on the list of what is harmless");
	next if $parts{$tag};
	my ($behind, $elsewhere, $before, $after, $refused) = @{ $examples{$tag} // [] };
	ok(defined($behind) || defined($elsewhere), "$tag has an example") or next;
	$node->safe_psql('postgres', $before) if $before;
	if (defined $elsewhere) {
		my $count = count();
		$node->safe_psql('postgres', $elsewhere);
		is(count(), $count, "nothing is made unusable by $elsewhere");
	}
	if (defined $behind) {
		my $count = count();
		if ($refused) {
			like(error_of($node, $behind), $refused, "refused in this server: $behind");
		} else {
			$node->safe_psql('postgres', $behind);
			cmp_ok(count(), '>', $count, "documents are made unusable by $behind");
		}
	}
	$node->safe_psql('postgres', $after) if $after;
}
is_deeply([ grep { !exists $tags{$_} } sort keys %examples ], [], 'there is no example of what is no statement');
$node->stop;
unlink glob("$share/app_functions*");

done_testing();
