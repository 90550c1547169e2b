# How providers are asked: pages, versions, HTTP/2, proxies, time; and what it costs to wait.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider();
my $node = new_node('http');
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'a', 'hr', '100003');
SQL

sub roles_of { my ($uid) = @_; return $node->safe_psql('postgres', "SELECT string_agg(role, ' ' ORDER BY role) FROM rolecall.user_roles WHERE user_id = $uid"); }
sub asked { my ($subject) = @_; return $provider->requests->{by_subject}{$subject} // 0; }

# ---- Pages ---------------------------------------------------------------------------------------------------------

my @letters = map { "role$_" } 'a' .. 'g';
$provider->put_user('100003', { code => '100003', roles => \@letters });
my %styles = (
	link => [ q(request_path '/users/{subject}?size=3'), 3 ],
	page => [ q(request_path '/users/{subject}?size=3'), 4 ],      # one more that is empty
	offset => [ q(request_path '/users/{subject}?size=3'), 4 ],
	cursor => [ q(request_path '/users/{subject}?size=3'), 3 ],
	'cursor, an address' => [ q(request_path '/users/{subject}?size=3&next=address'), 3 ],
);
sub set_paging {
	my ($style, $options) = @_;
	my ($name) = $style =~ /^(\w+)/;
	$node->safe_psql('postgres', "DROP SERVER hr; CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$provider->{url}', paging '$name', max_pages '5', $options)");
	return;
}
for my $style (sort keys %styles) {
	my ($options, $requests) = @{ $styles{$style} };
	set_paging($style, $options);
	$node->safe_psql('postgres', 'DELETE FROM rolecall.user_roles');
	$provider->forget_requests;
	$node->safe_psql('postgres', 'SELECT rolecall.force_sync_user_roles(1)');
	is(roles_of(1), "@letters", "$style: the roles of all pages");
	is(asked('100003'), $requests, "... by $requests requests");
	# Half an answer is none: whatever goes wrong on a later page, nothing is revoked.
	for my $case (
		[ { mode => '500', from => 3 }, qr/RC101: .*\nDETAIL:  It answered with HTTP status 500/ ],
		[ { mode => 'broken_json', from => 3 }, qr/RC104: / ],
		[ { mode => 'no_roles', from => 3 }, qr/RC104: .*\nDETAIL:  (?:The response has no roles|Page 2 has no array)/ ],
		[ { mode => 'wrong_subject', from => 3 }, qr/RC104: .*\nDETAIL:  The response is about subject "other"/ ],
		[ { mode => 'reset', from => 3 }, qr/RC101: / ],
		[ { mode => 'same_page' }, qr/RC104: .*\nDETAIL:  Page 2 (?:is the same as the one before|names one as the next that was already seen)\./ ]) {
		my ($fault, $expected) = @$case;
		$provider->fault(%$fault);
		like(error_of($node, 'SELECT rolecall.force_sync_user_roles(1)'), $expected, "$style: $fault->{mode} on the second page");
		is(roles_of(1), "@letters", '... and roles are untouched');
	}
	$provider->no_fault;
}
for my $style ('link', 'cursor') {
	set_paging($style, $styles{$style}[0]);
	$provider->fault(mode => 'endless_pages');
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(1)'), qr/RC104: .*\nDETAIL:  There are more than 5 pages\.\nHINT:  Raise the option max_pages/, "$style: no end");
	$provider->no_fault;
}
set_paging('link', $styles{link}[0]);
$provider->fault(mode => 'next_page', link => 'http://127.0.0.1:1/users');
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(1)'), qr/RC104: .*\nDETAIL:  Page 1 names a next page at another host/, 'no credentials to another host');
is(roles_of(1), "@letters", '... and roles are untouched');
$provider->no_fault;

# A small page each, all of them within the time and size of one answer
$node->safe_psql('postgres', q(ALTER SERVER hr OPTIONS (ADD request_timeout '1s')));
$provider->fault(mode => 'slow', ms => 400);
like(error_of($node, 'SELECT rolecall.force_sync_user_roles(1)'), qr/RC101: .*\nDETAIL:  The request failed in phase "\w.*": timed out/, 'request_timeout is for all pages together');
$provider->no_fault;

# Two requests, the second of which pages
$node->safe_psql('postgres', <<SQL);
CREATE SERVER accred FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'accred', base_url '$provider->{url}', paging 'page',
    roles_request_path '/authorizations?persid={subject}&size=2');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (2, 'b', 'accred', '100007');
SQL
is($node->safe_psql('postgres', 'SELECT jsonb_array_length(new_roles) FROM rolecall.sync_user_roles(2)'), '3', 'kind accred: authorizations in pages');
is(asked('100007'), 4, '... three of them');

like(error_of($node, q(ALTER SERVER accred OPTIONS (SET paging 'pages'))), qr/22023: invalid value for option "paging": unknown paging: "pages"\nHINT/, 'an unknown style');
like(error_of($node, q(ALTER SERVER accred OPTIONS (ADD roles_path '$.a.*'))), qr/22023: paging by "page" needs a roles_path that begins with an array\nHINT/, 'a path whose items cannot be counted');
like(error_of($node, q(ALTER SERVER accred OPTIONS (ADD cursor_path '$.a[0]'))), qr/22023: invalid value for option "cursor_path"/, 'a path that is not one of members');

# ---- Versions: a provider that has nothing new says so -------------------------------------------------------------

for my $kind ('etag', 'modified') {
	my $versions = start_provider('--validators', $kind);
	$node->safe_psql('postgres', <<SQL);
DELETE FROM rolecall.users WHERE provider IN ('versions', 'versions2');
DROP SERVER IF EXISTS versions; DROP SERVER IF EXISTS versions2;
CREATE SERVER versions FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$versions->{url}', sync_ttl '1 s');
CREATE SERVER versions2 FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'accred', base_url '$versions->{url}', sync_ttl '1 s');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (3, 'c', 'versions', '100007'), (4, 'd', 'versions2', '100007');
SQL
	my $sync = sub { my ($uid) = @_; return $node->safe_psql('postgres', "UPDATE rolecall.sync_state SET last_roles_sync_at = last_roles_sync_at - interval '1 hour' WHERE user_id = $uid; SELECT has_changed, skipped_due_to_ttl, jsonb_array_length(new_roles) FROM rolecall.sync_user_roles($uid)"); };
	my $known = sub { return $versions->requests->{not_modified}; };
	my $version = sub { return $node->safe_psql('postgres', 'SELECT etag, last_modified, fingerprint FROM rolecall.sync_state WHERE user_id = 3'); };
	is($sync->(3), 't|f|4', "$kind: the whole answer first");
	my $first = $version->();
	my $synced_at = $node->safe_psql('postgres', 'SELECT last_roles_sync_at FROM rolecall.sync_state WHERE user_id = 3');
	like($first, $kind eq 'etag' ? qr/^"[0-9a-f]{64}"\|\|-?\d+$/ : qr/^\|Wed, 01 Jan 2020 00:00:00 GMT\|-?\d+$/, '... and its version is kept');
	is($sync->(3), 'f|f|4', '... then there is nothing new');
	is($known->(), 1, '... which the provider said by 304');
	is($version->(), $first, '... the version stays');
	isnt($node->safe_psql('postgres', 'SELECT last_roles_sync_at FROM rolecall.sync_state WHERE user_id = 3'), $synced_at, '... and counts as a sync');
	$versions->put_user('100007', { code => '100007', roles => ['new'] });
	is($sync->(3), 't|f|1', '... a change is a whole answer');
	isnt($version->(), $first, '... of another version');
	is($sync->(3), 'f|f|1', '... and again nothing new');
	is($known->(), 2, '... by 304');
	$node->safe_psql('postgres', 'SELECT rolecall.force_sync_user_roles(3)');
	is($known->(), 2, 'a forced sync asks for the whole answer');
	# What somebody changed here is put right: the provider's 304 does not speak for it.
	$node->safe_psql('postgres', q(DELETE FROM rolecall.user_roles WHERE user_id = 3; INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (3, 'reader', 'provider')));
	is($sync->(3), 't|f|1', 'grants that were changed here are restored');
	is(roles_of(3), 'new', '... as the provider says');
	is($known->(), 2, '... by a whole answer');
	# Units that became known are linked, though the provider has nothing new.
	$versions->put_user('100007', { code => '100007', roles => [ { role => 'new', on => { institutional_id => "unit of $kind" } } ] });
	$sync->(3);
	$node->safe_psql('postgres', "INSERT INTO rolecall.units (institutional_id, name) VALUES ('unit of $kind', 'U')");
	is($sync->(3), 't|f|1', 'a unit that has become known is linked');
	is($known->(), 3, '... by 304');
	# What is read in another way now is read anew.
	$node->safe_psql('postgres', q(ALTER SERVER versions OPTIONS (ADD roles_path '$.roles[*] ? (@.role == "other")')));
	is($sync->(3), 't|f|0', 'another roles_path reads the answer anew');
	is($known->(), 3, '... the whole of it');
	# Two requests: who it is, and the roles only if there are others.
	is($sync->(4), 't|f|1', 'kind accred: the whole answer');
	is($sync->(4), 'f|f|1', '... then only who it is');
	is($known->(), 4, '... and 304 for the roles');
	# Given by hand: not the provider's answer
	$node->safe_psql('postgres', q(SELECT rolecall.sync_user_roles(3, '{"roles": ["given"]}', true)));
	is($version->(), '||', 'roles that were given have no version');
}

# The worker does the same, and counts it as no change.
my $versions = start_provider('--validators', 'etag');
$node->append_conf('postgresql.conf', "rolecall.worker = on\nrolecall.sync_naptime = 20ms\n");
$node->safe_psql('postgres', <<SQL);
DELETE FROM rolecall.users;
DROP SERVER versions;
CREATE SERVER versions FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$versions->{url}');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 100 + g, 'u' || g, 'versions', (100000 + g)::text FROM generate_series(0, 49) g;
SQL
$node->reload;
$node->poll_query_until('postgres', 'SELECT count(*) = 50 FROM rolecall.users WHERE roles_synced') or die;
sub counted { return $node->safe_psql('postgres', q(SELECT changed, unchanged FROM rolecall.stat_provider WHERE provider = 'versions')); }
my $before = $node->safe_psql('postgres', 'SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g');
my ($changed, $unchanged) = split /\|/, counted();
sub make_due { $node->safe_psql('postgres', 'UPDATE rolecall.sync_state SET next_sync_at = now(), last_roles_sync_at = NULL; SELECT rolecall.wake_worker()'); return; }
sub wait_until_synced { $node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM rolecall.sync_state WHERE last_roles_sync_at IS NULL') or die; return; }
make_due();
wait_until_synced();
is($versions->requests->{not_modified}, 50, 'the worker: everybody by 304');
wait_for('the count', sub { counted() eq "$changed|" . ($unchanged + 50) });
pass('... counted as unchanged');
is($node->safe_psql('postgres', 'SELECT md5(string_agg(g::text, chr(10) ORDER BY g::text)) FROM rolecall.user_roles g'), $before, '... and nothing changed');
$node->safe_psql('postgres', q(DELETE FROM rolecall.user_roles WHERE user_id = 103 AND role = 'reader'));
make_due();
$node->poll_query_until('postgres', q(SELECT rolecall.has_role(103, 'reader'))) or die;
pass('... a grant that was deleted here is restored by a second request');
wait_until_synced();

# ---- HTTP/2 --------------------------------------------------------------------------------------------------------

my $tls = PostgreSQL::Test::Utils::tempdir;
my $modern = start_provider('--tls', $tls, '--http2', '--delay', '20');
$node->safe_psql('postgres', <<SQL);
DELETE FROM rolecall.users;
CREATE SERVER modern FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$modern->{tls}', ca_file '$tls/cert.pem');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (200, 'm', 'modern', '100000');
SQL
# The first answer says which version the server speaks.
$node->poll_query_until('postgres', 'SELECT bool_and(roles_synced) FROM rolecall.users') or die;
$node->safe_psql('postgres', <<SQL);
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 200 + g, 'm' || g, 'modern', (100000 + g)::text FROM generate_series(1, 199) g;
SQL
$node->poll_query_until('postgres', 'SELECT count(*) = 200 FROM rolecall.users WHERE roles_synced') or die;
my $requests = $modern->requests;
is($requests->{http2}, 200, 'HTTP/2 where the server has it');
cmp_ok($requests->{connections}, '<=', 2, '... over one connection');
cmp_ok($requests->{most_in_flight}, '>', 10, "... with many requests under way ($requests->{most_in_flight})");

# A server that has TLS, and not HTTP/2: nobody waits for anybody.
my $older_tls = PostgreSQL::Test::Utils::tempdir;
my $older = start_provider('--tls', $older_tls);
$older->fault(mode => 'hang', subject => '100000');
$node->safe_psql('postgres', <<SQL);
DELETE FROM rolecall.users;
CREATE SERVER older FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url '$older->{tls}', ca_file '$older_tls/cert.pem');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 500 + g, 'o' || g, 'older', (100000 + g)::text FROM generate_series(0, 9) g;
SQL
$node->poll_query_until('postgres', 'SELECT count(*) = 9 FROM rolecall.users WHERE roles_synced') or die;
is($older->requests->{in_flight}, 1, 'HTTP/1.1 over TLS: one request that hangs holds up nobody');
$node->safe_psql('postgres', 'DELETE FROM rolecall.users');
$older->no_fault;
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
$node->safe_psql('postgres', <<SQL);
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 200 + g, 'm' || g, 'modern', (100000 + g)::text FROM generate_series(0, 19) g;
SQL
$node->poll_query_until('postgres', 'SELECT count(*) = 20 FROM rolecall.users WHERE roles_synced') or die;

# ---- Waiting costs nothing -----------------------------------------------------------------------------------------

# Ticks of CPU, and times that a process went to sleep and woke up.
sub cost_of {
	my ($pid) = @_;
	my @stat = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr;
	my ($switches) = slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	return ($stat[11] + $stat[12], $switches);
}
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker' AND state = 'idle')) or die;
my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'));
my ($ticks, $wakes) = cost_of($pid);
sleep 3;    # real time: that nothing happens in it is the point
my ($ticks_after, $wakes_after) = cost_of($pid);
is($ticks_after - $ticks, 0, 'an idle worker uses no CPU');
cmp_ok($wakes_after - $wakes, '<=', 2, '... it is asleep');
$modern->fault(mode => 'hang');
$node->safe_psql('postgres', 'SELECT rolecall.trigger_role_sync_for_user(g, true) FROM generate_series(200, 210) g');
wait_for('requests that hang', sub { $modern->requests->{in_flight} == 11 });
($ticks, $wakes) = cost_of($pid);
sleep 3;
($ticks_after, $wakes_after) = cost_of($pid);
cmp_ok($ticks_after - $ticks, '<=', 1, 'a worker that waits for answers uses none either');
cmp_ok($wakes_after - $wakes, '<=', 20, '... it is asleep');

$node->stop;
done_testing();
