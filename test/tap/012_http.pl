# How providers are asked: answers in pages.
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

$node->stop;
done_testing();
