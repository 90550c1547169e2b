# The lookups that matter use their indexes, on 100,000 users.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('plans', "autovacuum = off\n");
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION rolecall;
INSERT INTO rolecall.tenants (slug, name) SELECT 't' || g, 'Tenant ' || g FROM generate_series(1, 1000) g;
INSERT INTO rolecall.roles (name, priority) SELECT 'role' || g, g FROM generate_series(1, 1000) g;
INSERT INTO rolecall.units (institutional_id, name) SELECT 'unit' || g, 'Unit ' || g FROM generate_series(1, 5000) g;
INSERT INTO rolecall.users (email, tenant_id, oauth_provider, oauth_id, provider, institutional_id, external_id)
SELECT 'user' || g || '@example.org', t.id, 'google', g::text, 'hr', g::text, 'ext' || g
FROM generate_series(1, 100000) g JOIN (SELECT id, row_number() OVER () AS n FROM rolecall.tenants) t ON t.n = 1 + g % 1000;
INSERT INTO rolecall.user_roles (user_id, role) SELECT g, 'role' || (1 + (g * r) % 1000) FROM generate_series(1, 100000) g, generate_series(1, 3) r ON CONFLICT DO NOTHING;
INSERT INTO rolecall.user_units SELECT g, 1 + g % 5000, 'role1' FROM generate_series(1, 100000) g;
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, revoked, expires_at)
SELECT g, decode(md5(g::text), 'hex'), g % 2 = 0, now() + g * interval '1 second' FROM generate_series(1, 100000) g;
INSERT INTO rolecall.oauth_states (state, provider, expires_at)
SELECT 'state' || g, 'provider' || g % 500, now() + g * interval '1 second' FROM generate_series(1, 100000) g;
UPDATE rolecall.sync_state SET last_roles_sync_at = now();
SQL
$node->safe_psql('postgres', 'VACUUM ANALYZE');

sub plan_of { my ($query) = @_; return $node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $query"); }

# 002-3, 002-4
my %index_for = (
	q(SELECT * FROM rolecall.users WHERE email = 'user7@example.org') => 'idx_user_email_tenant',
	q(SELECT * FROM rolecall.users WHERE email = 'user7@example.org' AND tenant_id = '00000000-0000-0000-0000-000000000000') => 'idx_user_email_tenant',
	q(SELECT * FROM rolecall.users WHERE oauth_provider = 'google' AND oauth_id = '7') => 'idx_user_oauth',
	q(SELECT * FROM rolecall.users WHERE provider = 'hr' AND institutional_id = '7') => 'users_provider_institutional_id_key',
	q(SELECT id FROM rolecall.users WHERE external_id = 'ext7') => 'users_external_id_key',
	q(SELECT * FROM rolecall.refresh_tokens WHERE user_id = 7 AND NOT revoked) => 'idx_refresh_token_user_revoked',
	q(SELECT * FROM rolecall.refresh_tokens WHERE expires_at < now()) => 'idx_refresh_token_expires',
	q(SELECT * FROM rolecall.oauth_states WHERE state = 'state7') => 'oauth_states_state_key',
	q(SELECT * FROM rolecall.oauth_states WHERE expires_at < now()) => 'idx_oauth_state_expires',
	q(SELECT * FROM rolecall.oauth_states WHERE provider = 'provider7') => 'idx_oauth_state_provider',
);
for my $query (sort keys %index_for) {
	my $plan = plan_of($query);
	like($plan, qr/(Index|Index Only|Bitmap Index) Scan (using|on) $index_for{$query}/, "$index_for{$query}: $query") or diag($plan);
}

# 002-9: one user of the views is index work only, and so is what a miss runs.
for my $query (
	'SELECT doc FROM rolecall.me_view WHERE uid = 7',
	'SELECT * FROM rolecall.me_view WHERE uid = 7',
	'SELECT * FROM rolecall.user_full_view WHERE user_id = 7',
	q(SELECT * FROM rolecall.user_full_view WHERE email = 'user7@example.org')) {
	my $plan = plan_of($query);
	unlike($plan, qr/Seq Scan/, "no table is read whole: $query") or diag($plan);
	like($plan, qr/Index/, "indexes are used: $query");
}
my $generic = $node->safe_psql('postgres',
	'SET plan_cache_mode = force_generic_plan; PREPARE p(bigint) AS SELECT doc FROM rolecall.me_view WHERE uid = $1; EXPLAIN (COSTS OFF) EXECUTE p(7)');
unlike($generic, qr/Seq Scan/, 'nor by the generic plan of a miss');
my $columns = plan_of('SELECT email FROM rolecall.user_full_view WHERE user_id = 7');
unlike($columns, qr/user_roles|user_units|tenants/, 'columns that are not asked for cost nothing') or diag($columns);
$node->stop;

done_testing();
