# A publication of all tables has the extension's own: definitions of projections stay each database's, documents are fresh
# on both sides, and nothing of ours ends the replication. A dump without data, and a subscriber's worker.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Application;
use Rolecall::Test;

my $publisher = new_node('publisher', "wal_level = logical\n", allows_streaming => 'logical');
my $subscriber = new_node('subscriber', "log_min_messages = debug1\nmax_logical_replication_workers = 12\nmax_worker_processes = 20\njit = off\n");
sub on_publisher { return $publisher->safe_psql('postgres', join('; ', @_)); }
sub on_subscriber { return $subscriber->safe_psql('postgres', join('; ', @_)); }

create_extension($publisher);
create_application($publisher);
on_publisher(
	q(INSERT INTO rolecall.tenants (slug, name) VALUES ('t', 'Tenant')),
	q(INSERT INTO rolecall.user_roles (user_id, role) SELECT id, 'member' FROM rolecall.users),
	q(UPDATE rolecall.users SET provider = 'hr', institutional_id = 'person' || id WHERE id < 4),
	q(INSERT INTO rolecall.oauth_states (state, provider, user_id) VALUES ('s', 'google', 1)),
	q(SELECT rolecall.stop_provider('hr', 1, 1, 1, 1, 1)),
	q(SELECT rolecall.trigger_role_sync_for_user(2, true)),
	(map { "ALTER TABLE $_ REPLICA IDENTITY FULL" } qw(app.settings app.posts app.posts_2025 app.posts_2026)),
	'CREATE PUBLICATION everything FOR ALL TABLES');
is(on_publisher(q(SELECT c.oid::regclass FROM pg_class c JOIN pg_publication_tables p ON c.oid = format('%I.%I', p.schemaname, p.tablename)::regclass
	WHERE c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AND p.schemaname = 'rolecall')),
	'', 'every table of ours says which row was changed');

# A subscriber with an application of its own, whose projections have the same names as the publisher's.
create_points($subscriber);
on_subscriber('CREATE EXTENSION rolecall');
create_application($subscriber);
on_subscriber('TRUNCATE app.people, app.teams, app.members, app.settings, app.posts');
my $definitions = q(SELECT to_jsonb(t)::text FROM rolecall.projections t UNION ALL SELECT to_jsonb(t)::text FROM rolecall.watches t UNION ALL
	SELECT to_jsonb(t)::text FROM rolecall.watch_references t ORDER BY 1);
my %own = map { $_ => $_->safe_psql('postgres', $definitions) } $publisher, $subscriber;
isnt($own{$publisher}, $own{$subscriber}, 'definitions are each database\'s own');
my $connection = 'host=' . $publisher->host . ' port=' . $publisher->port . ' dbname=postgres';
on_subscriber("CREATE SUBSCRIPTION everything CONNECTION '$connection' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'everything');

my $built_in = 'SELECT count(rolecall.me(id)), count(*) FILTER (WHERE rolecall.me(id) IS DISTINCT FROM (SELECT doc FROM rolecall.me_view WHERE uid = id)) FROM rolecall.users';
# Without the application's me, the built-in one is asked.
sub built_in { my ($node, $database) = @_; return $node->safe_psql($database // 'postgres', "BEGIN; DELETE FROM rolecall.projections WHERE name = 'me' AND NOT builtin; $built_in; ROLLBACK"); }
sub is_cached {
	my ($node, $database, $what) = @_;
	for my $projection (@projections) {
		my ($name, undef, $key) = @$projection;
		is($node->safe_psql($database, "SELECT app.hit('$name', '$key'); SELECT app.hit('$name', '$key')") =~ s/^.*\n//r, 't', "$what: $name is cached");
	}
}
is($_->safe_psql('postgres', $stale), 't|', $_->name . ': fresh after the copy') for $publisher, $subscriber;
is(built_in($_), '20|0', $_->name . ': the built-in me too') for $publisher, $subscriber;
is(on_subscriber('SELECT * FROM rolecall.check_projections()'), '', 'the subscriber: all is in order');
is_cached($subscriber, 'postgres', 'subscriber');
is(on_subscriber($definitions), $own{$subscriber}, 'the subscriber\'s definitions are what they were');

my @tables = map { "rolecall.$_" } qw(tenants users roles user_roles units user_units sync_state sync_requests revocations stopped_providers role_changes oauth_states refresh_tokens);
sub rows { my ($node) = @_; return { map { $_ => $node->safe_psql('postgres', "SELECT t::text FROM $_ t ORDER BY 1") } @tables }; }
is_deeply(rows($subscriber), rows($publisher), 'all else is the publisher\'s');

my $reader = session($subscriber);
$reader->set_query_timer_restart;
for my $change (
	q(UPDATE rolecall.users SET display_name = 'replicated'),
	q(DELETE FROM rolecall.user_roles WHERE user_id = 1),
	q(UPDATE app.people SET email = email || '+'),
	q(UPDATE app.teams SET name = name || '+'),
	q(UPDATE app.settings SET greeting = greeting || '+'),
	q(DELETE FROM app.members WHERE person::text LIKE '%1'),
	q(UPDATE app.posts SET title = title || '+' WHERE year = 2026),
	q(UPDATE app.posts SET year = 2025 WHERE year = 2026),
	q(TRUNCATE app.posts_2025),
	q(TRUNCATE rolecall.user_units, app.members),
	q(INSERT INTO rolecall.user_units SELECT 1, id, 'member' FROM rolecall.units),
	q(UPDATE rolecall.units SET name = name || '+'),
	# What changes definitions there
	q(SELECT rolecall.repair_projection(name) FROM unnest('{profile,me,accounts}'::name[]) name),
	q(SELECT rolecall.unwatch('profile', 'app.settings'); SELECT rolecall.watch_lookup('profile', 'app.settings')),
	q(UPDATE rolecall.projections SET id = rolecall.random_id() WHERE builtin; SELECT rolecall.repair_projection('me')),
	q(CREATE VIEW app.only_here AS SELECT * FROM app.profile; SELECT rolecall.create_projection('only_here', 'app.only_here', 'uid', 'doc', ttl => '1 hour')),
	q(SELECT rolecall.drop_projection('only_here'); DROP VIEW app.only_here),
	q(SELECT rolecall.drop_projection('accounts')),
	q(DELETE FROM rolecall.watches WHERE builtin),
	q(DELETE FROM rolecall.projections),
	q(TRUNCATE rolecall.projections CASCADE))
{
	my $wrong = 0;
	on_publisher($change);
	for (1 .. 2) { $wrong += $reader->query_safe($stale) ne 't|' }
	$publisher->wait_for_catchup('everything');
	is($wrong, 0, "fresh while it arrives: $change");
	is($reader->query_safe($stale), 't|', '... and after');
	is(built_in($subscriber), '20|0', '... the built-in me too');
}
is(on_subscriber($definitions), $own{$subscriber}, 'the subscriber\'s definitions are what they were');
is(on_subscriber('SELECT * FROM rolecall.check_projections()'), '', '... and in order');
is_cached($subscriber, 'postgres', 'subscriber, after all that');
is_deeply(rows($subscriber), rows($publisher), 'all else is the publisher\'s');
# Definitions change with columns, here first.
for my $node ($subscriber, $publisher) {
	$node->safe_psql('postgres', q(ALTER TABLE app.teams ADD COLUMN motto text;
		CREATE OR REPLACE VIEW app.profile AS SELECT p.id AS uid, p.email, jsonb_build_object('id', p.id, 'mottoes', (SELECT jsonb_agg(t.motto ORDER BY t.id) FROM app.teams t)) AS doc FROM app.people p));
}
on_publisher(q(UPDATE app.teams SET motto = 'onward'));
$publisher->wait_for_catchup('everything');
is($reader->query_safe($stale), 't|', 'a column more, on both sides: fresh');
like($reader->query_safe("SELECT rolecall.project('profile', '$projections[0][2]')"), qr/onward/, '... and there');

# What synchronizes is the publisher's to do.
my $theirs = qr/55000: roles are not synchronized in this database\nDETAIL:  Its users are those of a subscription/;
like(error_of($subscriber, "SELECT $_"), $theirs, "the subscriber: $_")
  for 'rolecall.sync_user_roles(1)', 'rolecall.force_sync_user_roles(1)', 'rolecall.trigger_role_sync_for_user(1)', q(rolecall.sync_user_roles(1, '{"roles": []}')),
  q(rolecall.sync_user_units(1, '[]')), q(rolecall.sync_provider('hr')), q(rolecall.apply_provider_event('hr', '{"code": "person1"}'));
sub set { my ($setting, $value) = @_; on_subscriber("ALTER SYSTEM SET $setting = $value"); $subscriber->reload; return; }
my $workers = q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND datname = 'postgres');
on_subscriber('DELETE FROM rolecall.sync_state');  # what a worker would put right, and the publisher's rows meet
my $log = -s $subscriber->logfile;
set('rolecall.worker', 'on');
$subscriber->wait_for_log(qr/users of database "postgres" are those of a subscription/, $log);
is(on_subscriber($workers), '0', 'the subscriber: no worker');
is(on_subscriber('SELECT count(*) FROM rolecall.sync_state'), '0', '... which has written nothing');
on_publisher(q(UPDATE rolecall.sync_state SET attempts = 1; DELETE FROM rolecall.sync_state; INSERT INTO rolecall.sync_state (user_id, provider) SELECT id, provider FROM rolecall.users WHERE id < 4));
$publisher->wait_for_catchup('everything');
is(on_subscriber('SELECT count(*) FROM rolecall.sync_state'), '3', '... and replication goes on');
set('rolecall.sync_on_subscriber', 'on');
$subscriber->poll_query_until('postgres', $workers, '1') or die;
pass('where the administrator wants one, there is a worker');
set('rolecall.sync_on_subscriber', 'off');
$subscriber->poll_query_until('postgres', $workers, '0') or die;
pass('... until that is taken back');
unlike(slurp_file($subscriber->logfile), qr/duplicate key|ERROR:.*(?:rolecall|regclass)[^\n]*\n[^\n]*logical replication/, 'nothing stood in the way of the subscription');
on_subscriber('DROP SUBSCRIPTION everything', 'SELECT rolecall.wake_worker()');
$subscriber->poll_query_until('postgres', $workers, '1') or die;
pass('without the subscription there is a worker');
set('rolecall.worker', 'off');
$reader->quit;

# A replica by a dump without data: triggers of projections that are not there yet.
sub copy {
	my ($from, $to, @options) = @_;
	my $file = $PostgreSQL::Test::Utils::tmp_check . '/definitions.sql';
	$publisher->command_ok([ 'pg_dump', @options, '-f', $file, $publisher->connstr($from) ], "pg_dump @options");
	$subscriber->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, $subscriber->connstr($to) ], '... restored');
	return;
}
$publisher->safe_psql('postgres', 'CREATE DATABASE source');
$publisher->safe_psql('source', q(CREATE EXTENSION rolecall; INSERT INTO rolecall.users (email) SELECT 'user' || g || '@example.org' FROM generate_series(1, 20) g));
create_application(bless { node => $publisher }, 'Elsewhere');
$publisher->safe_psql('source', "ALTER TABLE $_ REPLICA IDENTITY FULL") for qw(app.settings app.posts app.posts_2025 app.posts_2026);
$publisher->safe_psql('source', 'CREATE PUBLICATION everything FOR ALL TABLES');
on_subscriber('CREATE DATABASE replica TEMPLATE template0');
copy('source', 'replica', '--schema-only', '--no-publications');
my $strays = q(SELECT count(*), bool_and(problem ~ '^trigger "rolecall_\w+" is of no projection of this database$' AND repair = format('DROP TRIGGER %s ON %s', substring(problem FROM '"(\w+)"'), relation))
	FROM rolecall.check_projections());
is($subscriber->safe_psql('replica', $strays), '24|t', 'without data: triggers of no projection are listed');
my $there = 'host=' . $publisher->host . ' port=' . $publisher->port . ' dbname=source';
$subscriber->safe_psql('replica', "CREATE SUBSCRIPTION replica CONNECTION '$there' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($publisher, 'replica', 'replica');
is(built_in($subscriber, 'replica'), '20|0', '... the built-in me is right');
is($subscriber->safe_psql('replica', q(SELECT count(*) FROM rolecall.projections WHERE NOT builtin)), '0', '... and the only one');
copy('source', 'replica', '--data-only', '-t', 'rolecall.projections', '-t', 'rolecall.watches', '-t', 'rolecall.watch_references');
is($subscriber->safe_psql('replica', 'SELECT * FROM rolecall.check_projections()'), '', 'with the definitions: all is in order');
is($subscriber->safe_psql('replica', $stale), 't|', '... fresh');
is_cached($subscriber, 'replica', 'replica');
$publisher->safe_psql('source', q(UPDATE app.people SET email = email || '+'; UPDATE rolecall.users SET email = email || '+'; UPDATE app.teams SET name = name || '+'; DELETE FROM app.members WHERE person::text LIKE '%2'));
$publisher->wait_for_catchup('replica');
is($subscriber->safe_psql('replica', $stale), 't|', '... after changes too');
# Or projections of its own, without what is left of the publisher's
$subscriber->safe_psql('replica', q(DELETE FROM rolecall.projections WHERE NOT builtin));
$subscriber->safe_psql('replica', $_) for split /\n/, $subscriber->safe_psql('replica', 'SELECT repair FROM rolecall.check_projections()');
is($subscriber->safe_psql('replica', 'SELECT * FROM rolecall.check_projections()'), '', 'triggers of no projection are dropped as the list says');
$subscriber->safe_psql('replica', q(SELECT rolecall.create_projection('profile', 'app.profile', 'uid', 'doc', watches => '{"app.people": "id", "app.members": "person", "app.posts": "person", "app.teams": {"lookup": "id"}, "app.settings": null}')));
$publisher->safe_psql('source', q(UPDATE app.people SET email = email || '-'));
$publisher->wait_for_catchup('replica');
is($subscriber->safe_psql('replica', q(SELECT count(*) FILTER (WHERE rolecall.project('profile', uid::text) = doc) FROM app.profile)), '3', '... and one of its own is fresh');
$subscriber->safe_psql('replica', 'DROP SUBSCRIPTION replica');
$_->stop for $subscriber, $publisher;

done_testing();

# create_application() in another database
package Elsewhere;
sub safe_psql { my ($self, undef, $sql) = @_; return $self->{node}->safe_psql('source', $sql); }
