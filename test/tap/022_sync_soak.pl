# Random faults on a fast clock: the provider changes its mind and fails in every way it knows, workers and sessions
# die, the server crashes. At any time a user holds exactly what the provider said of him at some time; in the end,
# exactly what it says. ROLECALL_ROUNDS and ROLECALL_SEED are for longer and for repeated runs.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $rounds = $ENV{ROLECALL_ROUNDS} // 15;
my $seed = srand($ENV{ROLECALL_SEED} // time);
my $users = 300;
note("$rounds rounds, seed $seed");

my $provider = start_provider('--users', '0', '--validators', 'etag');
my $node = new_node('soak_crash', <<'CONF');
rolecall.worker = on
rolecall.sync_workers = 2
rolecall.sync_naptime = 10ms
rolecall.request_timeout = 500ms
restart_after_crash = on
max_worker_processes = 20
CONF

sub pick { return $_[ int rand @_ ]; }
sub one_of { my ($n) = @_; return 1 + int rand $n; }
sub subject { my ($uid) = @_; return 100000 + $uid; }

# ---- What the provider says, and has said ----------------------------------------------------------------------------

my @names = map { "role $_" } 1 .. 12;
my (%roles, %said);    # user -> roles now; user -> what was ever said, as text
sub text_of { return join ' | ', sort @_; }
sub publish {
	my ($uid) = @_;
	my @now = sort keys %{ $roles{$uid} };
	$said{$uid}{ text_of(@now) } = 1;
	$provider->put_user(subject($uid), { code => '' . subject($uid), roles => \@now });
	return;
}
# One role more or less, and mostly another one back: what a directory does all day.
sub change {
	my ($uid) = @_;
	my $name = pick(@names);
	if (!delete $roles{$uid}{$name}) { $roles{$uid}{$name} = 1 }
	publish($uid);
	return;
}
for my $uid (1 .. $users) {
	$said{$uid} = { '' => 1 };    # before the first sync
	$roles{$uid} = { map { pick(@names) => 1 } 1 .. 4 };
	publish($uid);
}

sub held {
	my %held = map { $_ => '' } 1 .. $users;
	for my $row (split /\n/, $node->safe_psql('postgres', q(SELECT user_id, string_agg(role, ' | ' ORDER BY role COLLATE "C") FROM rolecall.user_roles WHERE source = 'provider' GROUP BY user_id))) {
		my ($uid, $text) = split /\|/, $row, 2;
		$held{$uid} = $text;
	}
	return %held;
}
sub nobody_holds_what_was_never_said {
	my ($when) = @_;
	my %held = held();
	my @wrong = grep { !$said{$_}{ $held{$_} } } 1 .. $users;
	is_deeply([ map { "$_: $held{$_}" } @wrong ], [], "$when: everybody holds what the provider said at some time");
	return;
}

# ---- What happens ----------------------------------------------------------------------------------------------------

my @faults = (
	(map { { mode => $_ } } qw(500 404 429 broken_json wrong_subject no_roles empty_object reset hang down huge)),
	{ mode => 'slow', ms => 100 }, { mode => '429', retry_after => 30 }, { mode => 'redirect', location => 'http://127.0.0.1:1/' });
my %events = (
	'the provider fails' => sub { $provider->fault(%{ pick(@faults) }); },
	'the provider fails for some' => sub { my %fault = %{ pick(@faults) }; $fault{mode} eq 'down' or $provider->fault(%fault, subject => '' . subject(one_of($users))) for 1 .. 20; },
	'the provider is well' => sub { $provider->no_fault; },
	'a worker is killed' => sub {
		my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' ORDER BY random() LIMIT 1));
		kill_process($node, $pid) if $pid;
	},
	'a worker is sent away' => sub { $node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' LIMIT 1)); },
	'sessions ask' => sub {
		$node->psql('postgres', 'SET client_min_messages = error; SELECT rolecall.' . pick('sync_user_roles', 'force_sync_user_roles') . '(' . one_of($users) . ')') for 1 .. 3;
	},
	'a session is interrupted' => sub {
		$node->psql('postgres', "SET statement_timeout = '" . one_of(20) . "ms'; SELECT rolecall.force_sync_user_roles(g) FROM generate_series(1, 50) g");
	},
	'a sync is rolled back' => sub { $node->psql('postgres', 'BEGIN; SELECT rolecall.force_sync_user_roles(' . one_of($users) . '); ROLLBACK'); },
	'the worker is asked' => sub { $node->safe_psql('postgres', "SELECT rolecall.trigger_role_sync_for_user(1 + (random() * ($users - 1))::int, random() < 0.5) FROM generate_series(1, 20)"); },
	'somebody changes at the provider' => sub { change(one_of($users)) for 1 .. 10; },
	'time passes' => sub { move_clock($node, one_of(1200)); },
	'much time passes' => sub { move_clock($node, 7200); },
	'the server crashes' => sub { $node->stop('immediate'); $node->start; });
my %weights = ('somebody changes at the provider' => 6, 'time passes' => 6, 'the worker is asked' => 3, 'sessions ask' => 3, 'the provider is well' => 3);
my @events = map { ($_) x ($weights{$_} // 1) } sort keys %events;

# ---- Rounds ------------------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', max_in_flight '8');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT g, 'user' || g, 'hr', (100000 + g)::text FROM generate_series(1, $users) g;
SQL
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.users WHERE NOT roles_synced') or die;
delete $said{$_}{''} for 1 .. $users;    # from here on, nothing is said only by saying so
nobody_holds_what_was_never_said('at first');
for my $round (1 .. $rounds) {
	my @happened = map { pick(@events) } 1 .. 8;
	for my $event (@happened) {
		note($event);
		$events{$event}->();
	}
	nobody_holds_what_was_never_said("round $round");
	last unless Test::More->builder->is_passing;
	next if $round % 5;

	# It settles when all is well: a day later, for nobody waits longer than the longest pause.
	# What is under way may still fail, and would wait anew if it did so after the clock was moved.
	$provider->no_fault;
	$node->poll_query_until('postgres', 'SELECT coalesce(sum(in_flight), 0) = 0 FROM rolecall.stat_provider') or die "requests go on after round $round";
	move_clock($node, 86_400);
	my $settled = "SELECT count(*) = $users FROM rolecall.sync_state WHERE last_roles_sync_at > now() + interval '$clock seconds' - interval '1 hour' AND attempts = 0 AND requested_at IS NULL";
	$node->poll_query_until('postgres', $settled) or die "does not settle after round $round";
	my %held = held();
	my @wrong = grep { $held{$_} ne text_of(sort keys %{ $roles{$_} }) } 1 .. $users;
	is_deeply([ map { "$_: $held{$_}" } @wrong ], [], "after round $round the database is as the provider says");
	# The audit tells the same story: what was added and not removed is held.
	is($node->safe_psql('postgres', <<'SQL'), '0', '... and so does the audit');
SELECT count(*) FROM (
    SELECT user_id, role FROM rolecall.role_changes GROUP BY 1, 2 HAVING sum(CASE change WHEN 'added' THEN 1 ELSE -1 END) NOT IN (0, 1)
    UNION ALL
    (SELECT user_id, role FROM rolecall.role_changes GROUP BY 1, 2 HAVING sum(CASE change WHEN 'added' THEN 1 ELSE -1 END) = 1
     EXCEPT SELECT user_id, role FROM rolecall.user_roles)
    UNION ALL
    (SELECT user_id, role FROM rolecall.user_roles
     EXCEPT SELECT user_id, role FROM rolecall.role_changes GROUP BY 1, 2 HAVING sum(CASE change WHEN 'added' THEN 1 ELSE -1 END) = 1)) d
SQL
}
cmp_ok(scalar(keys %{ { map { %$_ } values %said } }), '>', $users, 'the provider said many things');
my $counts = $node->safe_psql('postgres', q(SELECT changed > 0 AND unchanged > 0 FROM rolecall.stat_provider));
is($counts, 't', 'there were syncs, with changes and without');

$node->stop;
done_testing();
