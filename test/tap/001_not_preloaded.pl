# Without the library in shared_preload_libraries reads say what to do, and writes to the tables keep working.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('not_preloaded', "shared_preload_libraries = ''\n");
$node->safe_psql('postgres', 'CREATE EXTENSION rolecall');

for my $query (
	'SELECT rolecall.me(1)',
	"SELECT rolecall.has_role(1, 'admin')",
	"SELECT rolecall.project('me', '1')",
	'SELECT * FROM rolecall.auth_projection(1)',
	'SELECT * FROM rolecall.stat_cache') {
	my $error = error_of($node, $query);
	like($error, qr/ERROR:  55000: rolecall is not loaded by the server/, "$query: SQLSTATE and message");
	like($error, qr/HINT:  Add rolecall to shared_preload_libraries/, "$query: what to do");
}

$node->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.roles (name) VALUES ('admin');
INSERT INTO rolecall.users (email) VALUES ('a@example.org');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (1, 'admin');
UPDATE rolecall.users SET display_name = 'A';
ALTER TABLE rolecall.users ADD COLUMN extra int;
ALTER TABLE rolecall.users DROP COLUMN extra;
UPDATE rolecall.projections SET ttl = NULL;
SQL
is($node->safe_psql('postgres', q(SELECT doc ->> 'display_name' FROM rolecall.me_view)), 'A', 'writes work');
is($node->safe_psql('postgres', q(SELECT roles_changed FROM rolecall.sync_user_roles(1, '{"roles": ["admin"]}'))),
	't', 'so does a sync');

# Preloaded after all: everything is as the tables have it.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rolecall'\n");
$node->restart;
is($node->safe_psql('postgres', q(SELECT rolecall.me(1) ->> 'display_name')), 'A', 'me() after a restart with the library');
$node->safe_psql('postgres', 'DROP EXTENSION rolecall');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_event_trigger)), '0', 'DROP EXTENSION leaves nothing behind');
$node->stop;

done_testing();
