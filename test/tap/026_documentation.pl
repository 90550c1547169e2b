# The SQL of the documentation: projections over an application's tables, and roles in row-security policies.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('documentation', "max_parallel_workers_per_gather = 2\n");
create_extension($node);
sub sql { my ($query) = @_; return $node->safe_psql('postgres', $query); }
sub blocks { my ($file) = @_; return slurp_file($file) =~ /```sql\n(.*?)```/gs; }

# Runs blocks in one session; fails the test where one of them does. Returns what they print.
sub run_blocks {
	my ($what, @blocks) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', join("\n", @blocks), on_error_stop => 1);
	is($err, '', "$what: the examples run") or diag($out);
	return $out;
}

# ---- docs/migrating.md, step by step

my $before = sql('SELECT rolecall.me(1)');
my $triggers = 'SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE $$shop.%$$';
my @steps = blocks('docs/migrating.md');
is(scalar @steps, 8, 'docs/migrating.md has its steps');
run_blocks('the application and its view', @steps[ 0, 1 ]);
my $call = $steps[2];
my $forgetful = $call =~ s/,\s+"shop.tenants":\s+\{.*?\}//r;
isnt($forgetful, $call, 'a call that forgets a table');
my ($shown) = slurp_file('docs/migrating.md') =~ /```text\n(.*?)```/s;
my $error = error_of($node, $forgetful) =~ s/^psql:<stdin>:\d+: ERROR:  \w+: /ERROR:  /r =~ s/^CONTEXT:.*//smr;
is($error, $shown, '... is told as the documentation says');
is(sql($triggers), '0', '... and nothing has been changed');
is(sql("BEGIN; $call; ROLLBACK; SELECT rolecall.me(1)") =~ s/^\n//r, $before, 'the call, rolled back: nothing has been changed');
run_blocks('the call', $call);
my $out = run_blocks('reading', $steps[3]);
is($out, join("\n", 'Acme', 't', 'f', 'ada@acme.example|t', 'bob@acme.example', 'ada@acme.example', 'b0000000-0000-0000-0000-000000000001'), '... says what the comments say');
like(error_of($node, 'SELECT rolecall.me(1)'), qr/42804: /, 'keys are uuids now');
$out = run_blocks('checking', @steps[ 4, 5 ]);
like($out, qr/^t\|t\|\|[^|]+\|[^|]*\|[^|]+\n0\z/, '... all is in order, and cached until the grant expires');
# What the text says of lookups, members and time
my $hits = 'SELECT hits FROM rolecall.stat_cache';
my ($ada, $bob) = map { "'b0000000-0000-0000-0000-00000000000$_'" } 1, 2;
sql("SELECT rolecall.me($ada), rolecall.me($bob)");
sql(q(UPDATE shop.roles SET name = 'writer' WHERE id = 2));
is(sql("SELECT usable FROM rolecall.cache_entry('me', $ada)"), 't', 'a role that was renamed: who does not have it stays cached');
is(sql("SELECT usable FROM rolecall.cache_entry('me', $bob)"), 'f', '... and who has it is read anew');
is(sql("SELECT rolecall.has_role($bob, 'writer', 'blue', 'team'), rolecall.has_role($bob, 'editor')"), 't|f', '... and has the new one');
my $old = session($node);
sql("UPDATE shop.user_roles SET expires_at = now() + interval '3 seconds' WHERE role_id = 2");
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($old->query_safe("SELECT rolecall.has_role($bob, 'writer')"), 't', 'a grant that is about to expire');
$node->poll_query_until('postgres', 'SELECT max(expires_at) <= now() FROM shop.user_roles') or die;
is(sql("SELECT rolecall.has_role($bob, 'writer')"), 'f', '... has expired');
is($old->query_safe("SELECT rolecall.has_role($bob, 'writer')"), 't', '... and not for a transaction that began before');
$old->query_safe('COMMIT');
$old->quit;
sql(q(UPDATE shop.tenants SET suspended = true));
like(error_of($node, "SELECT rolecall.require_user($ada)"), qr/RC002/, 'a suspended tenant');
sql(q(UPDATE shop.tenants SET suspended = false));
is(sql($steps[5]), '0', 'the comparison');
run_blocks('a table more', $steps[6]);
is(sql('SELECT count(*) FROM rolecall.check_projections()'), '0', '... is in order');
is(sql($steps[5]), '0', '... and the same as the view');
sql("INSERT INTO shop.phones VALUES ($ada, '123')");
is(sql("SELECT rolecall.me($ada) -> 'phones'"), '["123"]', '... and watched');
run_blocks('going back', $steps[7]);
is(sql('SELECT rolecall.me(1)'), $before, 'the built-in me is back');
is(sql($triggers), '0', '... and no trigger is left');
is(sql('SELECT count(*) FROM shop.users'), '2', '... nor anything lost');

# Tenants whose ids are no uuids: me_by_email goes by the address alone.
sql(<<'SQL');
CREATE TABLE shop.accounts (id bigint PRIMARY KEY, email text, tenant_id int);
INSERT INTO shop.accounts VALUES (1, 'x@example.org', 7);
CREATE VIEW shop.account AS SELECT id AS uid, jsonb_build_object('id', id, 'email', email) AS doc, email, tenant_id FROM shop.accounts;
SELECT rolecall.create_projection('me', 'shop.account', 'uid', 'doc', watches => '{"shop.accounts": "id"}');
SQL
is(sql(q(SELECT rolecall.me_by_email('x@example.org') ->> 'id', rolecall.me_by_email('x@example.org', gen_random_uuid()) IS NULL)), '1|t', 'a tenant_id that is no uuid');
sql(q(SELECT rolecall.drop_projection('me')));

# ---- docs/policies.md

my @policies = blocks('docs/policies.md');
is(scalar @policies, 5, 'docs/policies.md has its blocks');
run_blocks('policies', @policies[ 0 .. 2 ]);
sql(<<'SQL');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor');
INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id) VALUES (1, 'reader', 'institutional', 'u1'), (2, 'reader', 'institutional', 'u2'), (2, 'editor', 'institutional', 'u2');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (3, 'reader'), (4, 'admin');
INSERT INTO documents SELECT g, 'u' || 1 + g % 4, 'document ' || g FROM generate_series(1, 8) g;
SQL
is(run_blocks('a transaction', $policies[3]), "4|document 4\n8|document 8", '... sees the documents of its unit');
sub as { my ($uid, $query) = @_; return sql("BEGIN; SET LOCAL ROLE app_web; SET LOCAL rolecall.uid = '$uid'; $query; COMMIT"); }
my $count = 'SELECT count(*) FROM documents';
is(as(1, $count), '2', 'a reader of one unit');
is(as(3, $count), '8', 'a reader everywhere');
is(as(4, $count), '8', 'an administrator');
is(as(5, $count), '0', 'nobody');
is(as('', $count), '0', 'no identity');
is(sql(qq(BEGIN; SET LOCAL ROLE app_web; SET LOCAL request.jwt.claims = '{"sub": "2"}'; $count; COMMIT)), '2', 'by the claims of a token');
as(2, q(INSERT INTO documents VALUES (100, 'u2', 'new')));
like(error_of($node, q(BEGIN; SET LOCAL ROLE app_web; SET LOCAL rolecall.uid = '2'; INSERT INTO documents VALUES (101, 'u1', 'new'))),
	qr/42501: new row violates row-level security policy/, 'an editor of another unit may not insert');
like(error_of($node, q(SET ROLE app_web; SELECT rolecall.has_role(1::bigint, 'reader'))), qr/42501: permission denied for function/, 'only what was granted');
# Fresh, also in one session with prepared statements, under one role and another.
my $web = session($node);
$web->query_safe("SET ROLE app_web; SET plan_cache_mode = force_generic_plan; PREPARE seen AS $count; SET rolecall.uid = '1'");
is($web->query_safe('EXECUTE seen'), '2', 'a prepared statement');
sql(q(INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id) VALUES (1, 'reader', 'institutional', 'u3')));
is($web->query_safe('EXECUTE seen'), '4', '... a role that was granted since');
sql(q(DELETE FROM rolecall.user_roles WHERE user_id = 1));
is($web->query_safe('EXECUTE seen'), '0', '... and all that were taken');
$web->query_safe("SET rolecall.uid = '2'");
is($web->query_safe('EXECUTE seen'), '3', '... another user');
$web->query_safe('RESET ROLE');
is($web->query_safe('EXECUTE seen'), '9', '... and a superuser, to whom no policy applies');
$web->query_safe("BEGIN; INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id) VALUES (2, 'reader', 'institutional', 'u1'); SET LOCAL ROLE app_web");
is($web->query_safe('EXECUTE seen'), '5', "the transaction's own grant");
$web->query_safe('ROLLBACK; SET ROLE app_web');
is($web->query_safe('EXECUTE seen'), '3', '... rolled back');
# The subquery is asked once, whatever the number of rows.
my $plan = as(4, "EXPLAIN (COSTS OFF) $count");
like($plan, qr/InitPlan 1/, 'what does not depend on the row is an InitPlan');
# In parallel, cached or not
sql("INSERT INTO documents SELECT g, 'u' || 1 + g % 4, 'document ' || g FROM generate_series(1000, 40999) g; ANALYZE documents");
my $parallel = 'SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0';
sub in_parallel { my ($uid, $query) = @_; return as($uid, "$parallel; $query"); }
my ($row_policy) = grep { /read_by_unit/ } split /;\n/, $policies[1];
sql('DROP POLICY administrators ON documents');    # an InitPlan keeps the scan out of workers before PostgreSQL 17
like(in_parallel(2, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $count"), qr/Workers Launched: [12].*Parallel Seq Scan/s, 'a parallel plan');
is(in_parallel(2, $count), '10003', '... counts the same');
sql(q(SELECT rolecall.invalidate('me', id::text) FROM rolecall.users));
is(in_parallel(2, $count), '10003', '... when nothing is cached');
is(sql("SET rolecall.cache = off; BEGIN; SET LOCAL ROLE app_web; SET LOCAL rolecall.uid = '2'; $parallel; $count; COMMIT"), '10003', '... nor may be');
is(in_parallel(5, $count), '0', '... and nothing for who has no role');
# People who log in
sql(q(CREATE ROLE person LOGIN; GRANT USAGE ON SCHEMA rolecall TO person; GRANT SELECT ON documents TO person;
	GRANT EXECUTE ON FUNCTION rolecall.user_id(text), rolecall.has_role(bigint, text, text, text) TO person;
	UPDATE rolecall.users SET external_id = 'person' WHERE id = 2));
run_blocks('people', $policies[4]);
my $person = 'user=person';
is($node->safe_psql('postgres', "SET rolecall.uid = '3'; $count", connstr => $node->connstr('postgres') . ' ' . $person), '10003', 'a login is who it is, whatever it sets');
# A policy behind me() that asks me() is an error, and ends.
sql(<<'SQL');
CREATE ROLE people_owner;
GRANT USAGE ON SCHEMA rolecall, shop TO people_owner;
GRANT SELECT ON shop.accounts TO people_owner;
GRANT EXECUTE ON FUNCTION rolecall.has_role(bigint, text) TO people_owner;
ALTER VIEW shop.account OWNER TO people_owner;
SELECT rolecall.create_projection('me', 'shop.account', 'uid', 'doc', watches => '{"shop.accounts": "id"}');
ALTER TABLE shop.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY circle ON shop.accounts USING (rolecall.has_role(id, 'reader'));
SQL
like(error_of($node, 'SELECT rolecall.me(1)'), qr/54001: stack depth limit exceeded/, 'a circle');
sql(q(ALTER POLICY circle ON shop.accounts TO app_web; CREATE POLICY open ON shop.accounts TO people_owner USING (true)));
is(sql('SELECT rolecall.me(1)'), '{"id": 1, "email": "x@example.org"}', '... and none, with TO in the policy');
sql(q(SELECT rolecall.drop_projection('me')));

# ---- README.md: its policy

my ($readme) = grep { /CREATE POLICY/ } blocks('README.md');
sql('DROP POLICY read_by_unit ON documents; DROP POLICY people_read ON documents');
sql('GRANT EXECUTE ON FUNCTION rolecall.has_role(bigint, text, text, text) TO app_web');
run_blocks('README.md', $readme);
is(sql("BEGIN; SET LOCAL ROLE app_web; SET LOCAL app.uid = '2'; $count; COMMIT"), '10003', '... and shows what it should');

# ---- docs/operations.md: the roles

my ($rights) = grep { /CREATE ROLE app_reader/ } blocks('docs/operations.md');
run_blocks('rights', $rights);
for my $case (
	[ app_reader => q(SELECT rolecall.me(1), rolecall.me('1'), rolecall.has_role(1::bigint, 'reader'), rolecall.require_user(1::bigint)) ],
	[ app_reader => q(SELECT * FROM rolecall.me_many(ARRAY[1, 2]::bigint[])) ],
	[ app_syncer => q(SELECT rolecall.trigger_role_sync_for_user(1)) ],
	[ app_admin => q(UPDATE rolecall.users SET display_name = 'Ada' WHERE id = 1) ],
	[ app_admin => 'SELECT * FROM rolecall.user_full_view' ],
	[ app_operator => q(SELECT rolecall.check_projections(), rolecall.cache_entry('me', '1'), rolecall.reload('me'), rolecall.cancel_reload('me'), rolecall.invalidate('me', '1')) ],
	[ app_operator => 'SELECT * FROM rolecall.stat_progress' ],
	[ app_operator => 'SELECT * FROM rolecall.stat_cache' ],
	[ app_visitor => q(SELECT rolecall.me(), rolecall.has_role('reader'), rolecall.current_uid()) ]) {
	my ($role, $query) = @$case;
	is(error_of($node, "SET ROLE $role; $query"), '', "$role: $query");
}
for my $case (
	[ app_reader => 'TABLE rolecall.users' ],
	[ app_reader => q(SELECT rolecall.me_by_email('x')) ],
	[ app_syncer => 'SELECT rolecall.me(1)' ],
	[ app_syncer => q(SELECT rolecall.sync_user_roles(1, '{"roles": []}')) ],
	[ app_admin => q(INSERT INTO rolecall.projections (name, view, key_column, doc_column) VALUES ('x', 'rolecall.me_view', 'uid', 'doc')) ],
	[ app_operator => 'SELECT rolecall.me(1)' ],
	[ app_operator => q(SELECT rolecall.drop_projection('me')) ],
	[ app_operator => q(SELECT rolecall.project('me', '1')) ],
	[ app_visitor => 'SELECT rolecall.me(1)' ],
	[ app_visitor => q(SELECT rolecall.has_role('1', 'reader')) ]) {
	my ($role, $query) = @$case;
	like(error_of($node, "SET ROLE $role; $query"), qr/42501: permission denied/, "$role: not $query");
}
$web->quit;
$node->stop;

done_testing();
