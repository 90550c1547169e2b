# Rows that arrive by logical replication are seen as any others: the apply worker runs as a replica, and watches fire
# always.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $publisher = new_node('publisher', "wal_level = logical\n", allows_streaming => 'logical');
my $subscriber = new_node('subscriber');
for my $node ($publisher, $subscriber) {
	$node->safe_psql('postgres', 'CREATE EXTENSION rolecall; CREATE SCHEMA test');
}
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO rolecall.roles (name) VALUES ('member');
INSERT INTO rolecall.users (id, email) SELECT g, 'user' || g || '@example.org' FROM generate_series(1, 20) g;
CREATE PUBLICATION everything FOR TABLE rolecall.users, rolecall.roles, rolecall.user_roles;
SQL
my $connection = 'host=' . $publisher->host . ' port=' . $publisher->port . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');

my $differences = 'SELECT count(*) FROM generate_series(1, 21) uid WHERE rolecall.me(uid) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view v WHERE v.uid = uid.uid)';
my $reader = session($subscriber);
is($reader->query_safe('SELECT count(rolecall.me(uid)) FROM generate_series(1, 20) uid'), '20', 'copied');
is($reader->query_safe($differences), '0', 'fresh after the copy');
my $before = $subscriber->safe_psql('postgres', 'SELECT hits FROM rolecall.stat_cache');
$reader->query_safe('SELECT count(rolecall.me(uid)) FROM generate_series(1, 20) uid');
is($subscriber->safe_psql('postgres', 'SELECT hits FROM rolecall.stat_cache') - $before, 20, 'cached');

for my $change (
	q(UPDATE rolecall.users SET display_name = 'replicated' WHERE id % 2 = 0),
	q(INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users),
	q(UPDATE rolecall.roles SET priority = 1),
	q(INSERT INTO rolecall.users (id, email) VALUES (21, 'new@example.org')),
	q(UPDATE rolecall.users SET id = 22 WHERE id = 21),
	q(BEGIN; SAVEPOINT a; UPDATE rolecall.users SET function = 'a'; SAVEPOINT b; DELETE FROM rolecall.user_roles WHERE user_id < 5; ROLLBACK TO b; COMMIT),
	q(TRUNCATE rolecall.user_roles),
	q(DELETE FROM rolecall.users WHERE id < 3))
{
	my $wrong = 0;
	$publisher->safe_psql('postgres', $change);
	# While it arrives as well as after
	for (1 .. 20) { $wrong += $reader->query_safe($differences) }
	$publisher->wait_for_catchup('everything');
	is($wrong + $reader->query_safe($differences), 0, "fresh: $change");
}
is($subscriber->safe_psql('postgres', q(SELECT rolecall.me(4) ->> 'function')), 'a', 'it did arrive');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION everything');
$_->stop for $subscriber, $publisher;

done_testing();
