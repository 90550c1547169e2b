# What providers answer, and what is made of it: what is absent, null, of another type or unknown is neither empty nor
# everywhere; what nobody reads stops nobody, in any encoding; and everything has an end.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $provider = start_provider('--users', '100');
my $node = new_node('answers', "max_worker_processes = 20\n");
my $map = q(CREATE FUNCTION map(provider name, subject text, answer bytea) RETURNS jsonb LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_map');
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION rolecall;
$map;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}');
CREATE SERVER accred FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'accred', base_url '$provider->{url}', on_not_found 'revoke');
CREATE SERVER unit FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', scope_id_path '\$.unit');
CREATE SERVER kinds FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', scope_kind_path '\$.kind', scope_id_path '\$.id');
CREATE SERVER several FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', subject_path '\$.codes[*]', active_path '\$.active[*]', role_path '\$.names[*]', scope_kind_path '\$.kinds[*]', scope_id_path '\$.ids[*]');
CREATE SERVER active FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', roles_path '\$.roles[*] ? (@.state == "active")');
CREATE SERVER leaver FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', active_path '\$.active', on_not_found 'revoke', max_roles '3', max_revocation '100%', list_request_path '/users?all=1');
CREATE SERVER deep FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', role_path '\$.right.name');
CREATE SERVER members FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', role_path '\$.*');
CREATE SERVER either FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1', roles_path '\$.roles[*] ? (!((exists(@.ended)) is unknown)) ? (@.ended > 2000)');
INSERT INTO rolecall.roles (name) VALUES ('reader'), ('editor'), ('admin'), ('auditor'), ('manager');
SQL

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub option {    # of a server; undef: its default
	my ($server, $name, $value) = @_;
	sql("ALTER SERVER $server OPTIONS (DROP $name)") if sql("SELECT count(*) FROM pg_foreign_server, unnest(srvoptions) o WHERE srvname = '$server' AND o LIKE '$name=%'");
	sql("ALTER SERVER $server OPTIONS (ADD $name '$value')") if defined $value;
	return;
}

# The roles of an answer, or the detail of its error.
sub mapped {
	my ($server, $answer, $database) = @_;
	my ($out, $err) = ('', '');
	my $bytes = unpack 'H*', $answer;
	$node->psql($database // 'postgres', qq(SELECT coalesce(string_agg((r ->> 'role') || '\@' || CASE jsonb_typeof(r -> 'on') WHEN 'string' THEN r ->> 'on' ELSE (SELECT k || ':' || v FROM jsonb_each_text(r -> 'on') e(k, v)) END, ' '), 'none')
		FROM jsonb_array_elements(map('$server', '7', '\\x$bytes')) r), stdout => \$out, stderr => \$err);
	return $err =~ /DETAIL:  (.*)/ ? $1 : "$out$err";
}

# ---- Absent, null, of another type, unknown -------------------------------------------------------------------------

my $unknown = qr/^For 1 items of the response the condition of roles_path is neither true nor false\.$/;
my $no_scope = qr/^Role 1 of the response has no scope where scope_kind_path and scope_id_path say\.$/;
my $says_more = qr/^Role 1 of the response has members that no path names, and no scope\.$/;
my $odd_role = qr/^Role 1 of the response has an unexpected shape\.$/;
my $several = qr/^Role 1 of the response has more than one value where role_path, scope_kind_path or scope_id_path says\.$/;
# Each path of this server finds all items of an array.
sub answer_of_several {
	my ($ids, %more) = @_;
	my %a = (codes => '"7"', active => 'true', roles => '"m"', kinds => '"lab"', %more);
	return qq({"codes": [$a{codes}], "active": [$a{active}], "roles": [{"names": [$a{roles}], "kinds": [$a{kinds}], "ids": [$ids]}]});
}
sub accred { my ($authorization) = @_; return qq({"id": "7", "authorizations": [$authorization]}); }
sub roles { my ($role) = @_; return qq({"code": "7", "roles": [$role]}); }
for my $case (
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": "0123"}}}'), qr/^m\@institutional_id:0123$/ ],
	[ 'accred', accred('{"name": "m", "state": "ACTIVE", "reason": {"resource": {"cf": "0123"}}}'), qr/^m\@institutional_id:0123$/ ],
	[ 'accred', accred('{"name": "m", "state": "expired", "reason": {"resource": {"cf": "0123"}}}'), qr/^none$/ ],
	[ 'accred', accred('{"name": "m", "state": "inactive", "reason": {"resource": {"cf": "0123"}}}'), qr/^none$/ ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": null}}}'), qr/^none$/ ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": ""}}}'), qr/^none$/ ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {}}'), qr/^none$/ ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": ["0123"]}}}'), $odd_role ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": {}}}}'), $odd_role ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": [{"cf": "1"}, {"cf": "2"}]}}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": [{"cf": "1"}, {"cf": "1"}]}}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": [{"cf": "1"}, {}]}}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": [null, {"cf": "2"}]}}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": [{"resource": {"cf": "1"}}, {"resource": {"cf": "2"}}]}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": [{"resource": [{"cf": "1"}, {"cf": "2"}]}]}'), $several ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": [{"cf": "1"}]}}'), qr/^m\@institutional_id:1$/ ],
	[ 'several', answer_of_several('"u1"'), qr/^m\@lab:u1$/ ],
	[ 'several', answer_of_several('"u1", "u2"'), $several ],
	[ 'several', answer_of_several('"u1", null'), $several ],
	[ 'several', answer_of_several('"u1"', roles => '"m", "n"'), $several ],
	[ 'several', answer_of_several('"u1"', kinds => '"lab", "unit"'), $several ],
	[ 'several', answer_of_several('"u1"', codes => '"7", "8"'), qr/^More than one value is where subject_path says\.$/ ],
	[ 'several', answer_of_several('"u1"', active => 'true, false'), qr/^More than one value is where active_path says\.$/ ],
	[ 'several', '[{"codes": ["7"], "active": [true], "roles": []}, {"codes": ["7"], "active": [true], "roles": []}]', qr/^More than one value is where subject_path says\.$/ ],
	[ 'accred', accred('{"name": "m", "state": "active", "reason": {"resource": {"cf": true}}}'), $odd_role ],
	[ 'accred', accred('{"name": "m", "reason": {"resource": {"cf": "0123"}}}'), $unknown ],
	[ 'accred', accred('{"name": "m", "state": null, "reason": {"resource": {"cf": "0123"}}}'), $unknown ],
	[ 'accred', accred('{"name": "m", "state": 1, "reason": {"resource": {"cf": "0123"}}}'), $unknown ],
	[ 'accred', accred('null'), $unknown ],
	[ 'accred', accred('null, null'), qr/^For 2 items/ ],
	[ 'accred', accred('"m"'), $unknown ],
	[ 'unit', roles('{"role": "m", "unit": "u"}'), qr/^m\@institutional_id:u$/ ],
	[ 'unit', roles('{"role": "m", "unit": 7}'), qr/^m\@institutional_id:7$/ ],
	[ 'unit', roles('{"role": "m", "unitCode": "physics"}'), $no_scope ],
	[ 'unit', roles('{"role": "m", "unit": null}'), $no_scope ],
	[ 'unit', roles('{"role": "m", "unit": ""}'), $no_scope ],
	[ 'unit', roles('{"role": "m", "unit": {}}'), $odd_role ],
	[ 'unit', roles('{"role": "m", "unit": false}'), $odd_role ],
	[ 'unit', roles('"m"'), $no_scope ],
	[ 'unit', roles('"m@global"'), qr/^m\@global$/ ],
	[ 'unit', roles('"m@lab:7"'), qr/^m\@lab:7$/ ],
	[ 'kinds', roles('{"role": "m", "kind": "global"}'), qr/^m\@global$/ ],
	[ 'kinds', roles('{"role": "m", "kind": "global", "id": "7"}'), $odd_role ],
	[ 'kinds', roles('{"role": "m", "kind": "lab", "id": "7"}'), qr/^m\@lab:7$/ ],
	[ 'kinds', roles('{"role": "m", "id": "7"}'), qr/^m\@institutional_id:7$/ ],
	[ 'kinds', roles('{"role": "m", "kind": "lab"}'), $no_scope ],
	[ 'kinds', roles('{"role": "m", "kind": "Global"}'), $no_scope ],
	[ 'kinds', roles('{"role": "m", "kind": "", "id": "7"}'), $odd_role ],
	[ 'kinds', roles('{"role": "m"}'), $no_scope ],
	[ 'hr', roles('{"role": "m"}'), qr/^m\@global$/ ],
	[ 'hr', roles('{"role": "m", "on": {"lab": "7"}}'), qr/^m\@lab:7$/ ],
	[ 'hr', roles('{"role": "m", "on": null}'), $odd_role ],
	[ 'hr', roles('{"role": "m", "On": {"institutional_id": "u1"}}'), $says_more ],
	[ 'hr', roles('{"role": "m", "scope": {"institutional_id": "u1"}}'), $says_more ],
	[ 'hr', roles('{"unit": "u1", "role": "m"}'), $says_more ],
	[ 'hr', roles('{"role": "m", "x": null}'), $says_more ],
	[ 'hr', roles('{"role": "m", "x": 1, "on": "global"}'), qr/^m\@global$/ ],
	[ 'hr', roles('{"role": "m", "x": 1, "on": {"lab": "7"}}'), qr/^m\@lab:7$/ ],
	[ 'deep', roles('{"right": {"name": "m"}}'), qr/^m\@global$/ ],
	[ 'deep', roles('{"right": {"name": "m", "unit": "u1"}}'), $says_more ],
	[ 'deep', roles('{"right": {"name": "m"}, "unit": "u1"}'), $says_more ],
	[ 'deep', roles('{"right": {"name": "m", "unit": "u1"}, "on": "global"}'), qr/^m\@global$/ ],
	[ 'members', roles('{"role": "m"}'), qr/^m\@global$/ ],
	[ 'members', roles('{"role": "m", "unit": "u1"}'), $several ],
	[ 'hr', roles('{"role": "m", "on": {"kind": "global"}}'), $odd_role ],
	[ 'hr', roles('{"role": "m", "on": {"type": "global"}}'), $odd_role ],
	[ 'hr', roles('{"role": "m", "on": {"kind": "lab", "id": "7"}}'), $odd_role ],
	[ 'hr', roles('"m@kind:global"'), $odd_role ],
	[ 'hr', roles('"m@institutional_id:u1"'), $odd_role ],
	[ 'hr', roles('"m@institutional:u1"'), qr/^m\@institutional_id:u1$/ ],
	[ 'hr', roles('{"role": "m", "on": {"institutional": "u1"}}'), qr/^m\@institutional_id:u1$/ ],
	[ 'kinds', roles('{"role": "m", "kind": "institutional_id", "id": "u1"}'), $odd_role ],
	[ 'hr', roles('"m@lab:"'), $odd_role ],
	[ 'hr', roles('"@lab:7"'), $odd_role ],
	[ 'hr', roles(sprintf '"%s"', 'm' x 2100), $odd_role ],
	[ 'hr', roles(sprintf '{"role": "m", "on": {"lab": "%s"}}', 'm' x 2100), $odd_role ],
	[ 'hr', roles('null'), $odd_role ],
	[ 'active', roles('{"role": "m", "state": "active"}, {"role": "n", "state": "no"}'), qr/^m\@global$/ ],
	[ 'active', roles('{"role": "m", "state": "active"}, {"role": "n", "State": "active"}'), $unknown ],
	[ 'active', roles('{"role": "m", "state": "active"}, null'), $unknown ],
	[ 'active', '{"code": "7"}', qr/^The response has no roles/ ],
	[ 'active', '{"code": "7", "roles": []}', qr/^none$/ ],
	[ 'either', roles('{"role": "m", "ended": 2001}, {"role": "n", "ended": 1999}, {"role": "o"}'), qr/^m\@global$/ ],
	[ 'either', roles('{"role": "m", "ended": "2001"}'), $unknown ])
{
	my ($server, $answer, $expected) = @$case;
	like(mapped($server, $answer), $expected, "$server: $answer");
}
for my $case ([ 'skip', qr/^none$/, qr/^none$/ ], [ 'global', qr/^m\@global$/, $no_scope ], [ 'error', $no_scope, $no_scope ]) {
	my ($absent, $expected, $of_a_kind) = @$case;
	option('unit', 'scope_absent', $absent);
	option('kinds', 'scope_absent', $absent);
	like(mapped('unit', roles($_)), $expected, "scope_absent $absent: $_") for '{"role": "m"}', '{"role": "m", "unit": null}', '{"role": "m", "unit": ""}', '"m"';
	like(mapped('unit', roles(qq({"role": "m", "unit": $_}))), $odd_role, "scope_absent $absent: $_ is an error") for '[]', '["u"]', '{"a": 1}', 'true';
	like(mapped('kinds', roles('{"role": "m", "kind": "lab"}')), $of_a_kind, "scope_absent $absent: a kind without an id is never global");
}
option('hr', 'scope_absent', 'skip');
is(mapped('hr', roles('{"role": "m", "x": 1}, "n", {"role": "o"}')), 'n@global o@global', 'scope_absent skip: an object that says more');
option('hr', 'scope_absent', 'global');
is(mapped('hr', roles('{"role": "m", "x": 1}')), 'm@global', 'scope_absent global: an object that says more');
option('hr', 'scope_absent');
# Given in SQL
sql(q(INSERT INTO rolecall.users (id, email) VALUES (1, 'given')));
for my $on ('{"kind": "global"}', '{"kind": "unit", "id": "7"}', '{"unit": "7", "lab": "8"}', '{"scope": "global"}', '{}', 'null', '[]', '{"unit": 7}') {
	like(error_of($node, qq(SELECT rolecall.sync_user_roles(1, '{"roles": [{"role": "x", "on": $on}]}'))), qr/22023: invalid provider user\nDETAIL:  Role 1 has an unexpected shape/, "given on $on");
	like(error_of($node, qq(SELECT rolecall.sync_user_units(1, '[{"role": "x", "on": $on}]'))), qr/22023/, '... and for units');
}
for my $role ('{"role": "x", "On": {"institutional_id": "u"}}', '{"role": "x", "scope": "u"}', '"x@institutional_id:u"') {
	like(error_of($node, qq(SELECT rolecall.sync_user_roles(1, '{"roles": [$role]}'))), qr/22023: invalid provider user\nDETAIL:  Role 1 has an unexpected shape/, "given: $role");
}
like(error_of($node, q(SELECT rolecall.apply_provider_event('hr', '{"code": "7", "roles": [{"role": "m", "On": {"institutional_id": "u1"}}]}'))), qr/22023: .*\nDETAIL:  Role 1 of the response has members that no path names, and no scope/, 'an event');
is(sql('SELECT count(*) FROM rolecall.user_roles'), '0', '... grants nothing');

# How many
option('hr', 'max_roles', 3);
is(mapped('hr', roles('"a", "b", "c"')), 'a@global b@global c@global', 'as many roles as max_roles');
is(mapped('hr', roles('"a", "b", "c", "a"')), 'The response has more than 3 roles.', '... and no more');
option('hr', 'max_roles');
is(mapped('hr', roles(join ', ', map { qq("r$_") } 1 .. 10_001)), 'The response has more than 10000 roles.', '... 10,000 by default');

# ---- What nobody reads, in every encoding ---------------------------------------------------------------------------

my %encodings = (postgres => 'UTF8', latin1 => 'LATIN1', sql_ascii => 'SQL_ASCII', euc_jp => 'EUC_JP');
my $half = qr/^A text of the response holds half of a character, or a zero character\.$/;
my $unrepresentable = qr/^A text of the response cannot be represented in the database's encoding\.$/;
my @unread = ('"x\ud83d"', '"\udc00"', '"\ud83d\u0041"', '"\u0000"', '1e999999', '9' x 2000, "\"\xff\"", "\"\xe4\xb8\xad\xf0\x9f\x98\x80\"", '"\ud83d\ude00"', '{"a": 1, "a": {"\ud83d": 2}}', '[' x 100_000 . ']' x 100_000);
for my $database (sort keys %encodings) {
	my $encoding = $encodings{$database};
	if ($database ne 'postgres') {
		sql("CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
		$node->safe_psql($database, "CREATE EXTENSION rolecall; CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}'); $map");
	}
	for my $value (@unread) {
		my $what = length $value > 40 ? substr($value, 0, 10) . '...' : $value =~ s/[^ -~]/?/gr;
		is(mapped('hr', qq({"code": "7", "roles": [{"role": "m", "on": "global", "x": $value}, "n"], "nickname": $value, "more": {"a": [$value]}}), $database), 'm@global n@global', "$encoding: $what where nobody reads it");
	}
	for my $case ([ '"x\ud83d"', $half ], [ '"x\u0000"', $half ], [ "\"x\xff\"", qr/^A text of the response is not UTF-8/ ], [ '1e999999', qr/^A number of the response is too large/ ],
		[ '"\u00e9"', $encoding eq 'EUC_JP' ? qr/./ : qr/^\S+\@global$/ ], [ '"\u4e2d"', $encoding eq 'LATIN1' ? $unrepresentable : qr/^\S+\@global$/ ],
		[ "\"\xe4\xb8\xad\"", $encoding eq 'LATIN1' ? $unrepresentable : qr/^\S+\@global$/ ], [ '"\ud83d\ude00"', $encoding =~ /UTF8|ASCII/ ? qr/^\S+\@global$/ : $unrepresentable ])
	{
		my ($value, $expected) = @$case;
		like(mapped('hr', qq({"code": "7", "roles": [{"role": $value}]}), $database), $expected, "$encoding: " . ($value =~ s/[^ -~]/?/gr) . ' as a role');
	}
	like(mapped('hr', '{"code": "7", "code": "8", "roles": []}', $database), qr/^An object of the response names a member twice/, "$encoding: what is read twice");
}
# A user who cannot be dismissed: whose record is odd where nobody looks.
$provider->fault(mode => 'raw', subject => '100001', body => '{"code": "100001", "active": false, "roles": [], "nickname": "x\\ud83d"}');
sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (101, 'odd', 'hr', '100001'); INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (101, 'admin', 'provider')));
is(sql('SELECT new_roles FROM rolecall.force_sync_user_roles(101)'), '[]', 'who has an odd nickname can be dismissed');
# A subject is asked about in UTF-8, by sessions and by the worker.
my $zoe = "Zo\x{eb}";
$provider->put_user($zoe, { code => $zoe, roles => ['reader'] });
$node->safe_psql('latin1', q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (1, 'zoe', 'hr', 'Zo' || chr(235))));
is($node->safe_psql('latin1', 'SELECT roles_changed FROM rolecall.force_sync_user_roles(1)'), 't', 'LATIN1: a subject with an accent');
$node->safe_psql('latin1', 'ALTER DATABASE latin1 SET rolecall.worker = on; DELETE FROM rolecall.user_roles; SELECT rolecall.trigger_role_sync_for_user(1, true)');
sql('ALTER SYSTEM SET rolecall.worker = on; ALTER DATABASE postgres SET rolecall.worker = off');
$node->reload;
$node->poll_query_until('latin1', q(SELECT rolecall.has_role(1, 'reader'))) or die;
pass('... by the worker as well');
sql('ALTER SYSTEM SET rolecall.worker = off');
$node->reload;

# ---- Who is gone is gone, in whatever order answers come -------------------------------------------------------------

option('accred', 'active_path', '$.active != false');
sub gone {
	my ($what, $person, $authorizations) = @_;
	for my $late ('persons', 'authorizations') {
		$provider->no_fault;
		sql(q(DELETE FROM rolecall.users WHERE id = 200; DELETE FROM rolecall.revocations; DELETE FROM rolecall.open_revocations; INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (200, 'gone', 'accred', '100007')));
		sql(q(INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (200, 'admin', 'provider')));
		$provider->fault(%$person, subject => '100007', resource => 'persons', $late eq 'persons' ? (ms => 300) : ());
		$provider->fault(%$authorizations, subject => '100007', resource => 'authorizations', $late eq 'authorizations' ? (ms => 300) : ());
		is(sql('SELECT roles_changed, new_roles FROM rolecall.force_sync_user_roles(200)'), 't|[]', "$what, $late last: the user is gone");
	}
	return;
}
my %inactive = (mode => 'raw', body => '{"id": "100007", "active": false}');
gone('two 404s', { mode => '404' }, { mode => '404' });
gone('404, and 410', { mode => '410' }, { mode => '404' });
gone('404, and 403', { mode => '404' }, { mode => '403' });
gone('404, and 500', { mode => '404' }, { mode => '500' });
gone('404, and nothing', { mode => '404' }, { mode => 'reset' });
gone('inactive, and 404', \%inactive, { mode => '404' });
gone('inactive, and 403', \%inactive, { mode => '403' });
gone('inactive, and what is not JSON', \%inactive, { mode => 'broken_json' });
$provider->no_fault;
sql(q(INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (200, 'admin', 'provider')));
for my $late ('persons', 'authorizations') {
	$provider->fault(mode => 'raw', body => '{"id": "100007", "active": true}', subject => '100007', resource => 'persons', $late eq 'persons' ? (ms => 300) : ());
	$provider->fault(mode => '404', subject => '100007', resource => 'authorizations', $late eq 'authorizations' ? (ms => 300) : ());
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(200)'), qr/RC104: .*\nDETAIL:  It answered with HTTP status 404/, "a 404 for the roles alone is an error, $late last");
	$provider->no_fault;
}
is(sql('SELECT count(*) FROM rolecall.user_roles WHERE user_id = 200'), '1', '... and takes nothing away');

# What else an answer holds does not matter then.
sub leaves {
	my ($what, $body, %fault) = @_;
	sql(q(DELETE FROM rolecall.users WHERE id = 210; INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (210, 'leaver', 'leaver', '100008'); INSERT INTO rolecall.user_roles (user_id, role, source) VALUES (210, 'admin', 'provider')));
	$provider->fault(mode => 'raw', body => $body, subject => '100008', %fault);
	my $said = error_of($node, 'SELECT new_roles FROM rolecall.force_sync_user_roles(210)');
	$provider->no_fault;
	return ($said, sql('SELECT count(*) FROM rolecall.user_roles WHERE user_id = 210'));
}
my @unreadable = ('null', '"no"', '[null]', '["\\ud83d"]', '[{"role": "\\ud83d"}]', '[{"role": "m", "role": "n"}]', '[{"role": "m", "On": 1}]', '["a", "b", "c", "d"]', '["m@kind:1"]',
	'[1e999999]', '[' . join(', ', ('{}') x 100_000) . ']', '["m", ' . '[' x 2000 . ']' x 2000 . ']');
for my $roles (@unreadable) {
	my $what = length $roles > 40 ? substr($roles, 0, 30) . '...' : $roles;
	my @said = leaves($what, qq({"code": "100008", "active": false, "roles": $roles}));
	is_deeply(\@said, [ '', '0' ], "who is inactive is dismissed, roles: $what");
	@said = leaves($what, qq({"code": "100008", "roles": $roles, "active": true}));
	like($said[0], qr/RC104/, '... and who is active is not, but has an error');
	is($said[1], '1', '... and keeps what there is');
}
for my $body ('{"code": "100008", "active": false, "active": true, "roles": []}', '{"code": "100008", "active": "\\ud83d", "roles": []}', '{"code": "100008\\ud83d", "active": false, "roles": []}', '{"code": "100009", "active": false, "roles": ["\\ud83d"]}',
	'{"active": false, "roles": ["\\ud83d"]}', '{"code": "100008", "active": 0, "roles": ["\\ud83d"]}') {
	my @said = leaves($body, $body);
	like($said[0], qr/RC104/, "whoever is not said to be inactive is not dismissed: $body");
	is($said[1], '1', '... and keeps what there is');
}
# Only a status that means a complete answer is one.
for my $status (201, 202, 203, 204, 205, 206, 207, 226) {
	my @said = leaves($status, $status =~ /20[45]/ ? '' : '{"code": "100008", "active": true, "roles": []}', status => $status);
	like($said[0], qr/RC104: .*\nDETAIL:  It answered with HTTP status $status\./, "HTTP status $status is no answer");
	is($said[1], '1', '... and takes nothing away');
}

# Memory: what is not needed is not built. Measured is the largest size of a session that had nothing to do before.
sub grown {
	my ($answer) = @_;
	my $session = session($node);
	my $pid = $session->query_safe("SELECT map('hr', '7', '{\"code\": \"7\", \"roles\": [\"m\"]}'), 1") ? $session->query_safe('SELECT pg_backend_pid()') : die;
	my $peak = sub { return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 : die };
	my $before = $peak->();
	$session->query($answer);
	my $grown = $peak->() - $before;
	$session->quit;
	return $grown;
}
SKIP: {
	skip 'no /proc here', 10 unless -r '/proc/self/status';
	for my $case ([ '{}', 333_333 ], [ '[]', 333_333 ], [ '{"a":{}}', 111_111 ], [ '0', 500_000 ], [ '"a"', 250_000 ], [ '{"role":"a"}', 76_000 ], [ '{"role":"a","on":{"lab":"1"}}', 34_000 ], [ '{"role":"a","on":[[],[],[],[],[],[],[],[]]}', 23_000 ], [ '[{}]', 200_000 ], [ '{"x":"y"}', 100_000 ]) {
		my ($item, $count) = @$case;
		my $grown = grown("SELECT map('hr', '7', convert_to('{\"code\": \"7\", \"roles\": [' || rtrim(repeat('$item,', $count), ',') || ']}', 'UTF8'))");
		cmp_ok($grown, '<', 65_536, "$count times $item take $grown kB");
	}
}

# ---- Lists ----------------------------------------------------------------------------------------------------------

sql(<<SQL);
CREATE SERVER list FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', list_request_path '/users?all=1', on_not_found 'revoke', max_revocation '100%');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (301, 'ann', 'list', 'ann'), (302, 'bob', 'list', 'bob'), (303, 'cy', 'list', 'cy');
SQL
sub restore {
	sql(q(DELETE FROM rolecall.user_roles WHERE user_id BETWEEN 301 AND 303; DELETE FROM rolecall.revocations; DELETE FROM rolecall.open_revocations; DELETE FROM rolecall.sync_state WHERE user_id BETWEEN 301 AND 303;
		INSERT INTO rolecall.user_roles (user_id, role, source) SELECT g, 'admin', 'provider' FROM generate_series(301, 303) g));
	return;
}
# What a pass makes of a list: who still is admin, and its warning.
sub pass_of {
	my ($body) = @_;
	restore();
	$provider->fault(mode => 'raw', resource => 'users', body => $body);
	my $said = error_of($node, q(SELECT 'complete: ' || complete FROM rolecall.sync_provider('list')));
	$provider->no_fault;
	return (sql(q(SELECT coalesce(string_agg(u.email, ' ' ORDER BY u.id), 'nobody') FROM rolecall.users u JOIN rolecall.user_roles g ON g.user_id = u.id AND g.role = 'admin' WHERE u.provider = 'list')), $said);
}
sub users { return '{"users": [' . join(', ', @_) . ']}'; }
my ($ann, $bob, $cy) = map { qq({"code": "$_", "roles": []}) } 'ann', 'bob', 'cy';
my $admin = '"roles": ["admin"]';
for my $case (
	[ 'a stranger with an odd role', [ $ann, qq({"code": "bob", $admin}), qq({"code": "cy", $admin}), '{"code": "stranger", "roles": ["ops@example.org"]}' ], 'bob cy', qr/1 of its users cannot be understood\. "stranger": Role 1 of the response has an unexpected shape\. Nobody counts as missing/ ],
	[ 'half a character', [ $ann, '{"code": "bob", "roles": ["x\\\\ud83d"]}', $cy ], 'bob', qr/"bob": A text of the response holds half of a character/ ],
	[ 'half a character where nobody looks', [ $ann, '{"code": "bob", "roles": [], "nickname": "x\\\\ud83d"}', $cy ], 'nobody', undef ],
	[ 'a member twice', [ $ann, '{"code": "bob", "roles": ["admin"], "roles": []}', $cy ], 'bob', qr/An object of the response names a member twice/ ],
	[ 'no roles', [ $ann, '{"code": "bob"}', $cy ], 'bob', qr/"bob": The response has no roles where roles_path says/ ],
	[ 'no subject', [ $ann, '{"roles": []}', $cy ], 'bob', qr/record 2: It has no subject where subject_path says/ ],
	[ 'a subject that is no text', [ $ann, '{"code": "x\\\\ud83d", "roles": []}', $cy ], 'bob', qr/record 2: A text of the response/ ],
	[ 'null', [ $ann, 'null', $cy ], 'bob', qr/record 2: / ],
	[ 'two records in the place of one', [ $ann, qq([{"code": "bob", $admin}, $cy]), $cy ], 'bob', qr/record 2: More than one value is where subject_path says/ ],
	[ 'many odd ones', [ $ann, map { qq({"code": "s$_"}) } 1 .. 20 ], 'bob cy', qr/20 of its users cannot be understood\. "s1": [^"]*"s2": [^"]*"s3": [^"]*"s4": [^"]*"s5": [^"]*Nobody counts/ ],
	[ 'somebody twice', [ $ann, $bob, $cy, $bob ], 'bob', qr/Somebody is on it twice: user 302\. Nobody counts as missing/ ],
	[ 'somebody twice, who keeps it by one of them', [ $ann, $bob, $cy, qq({"code": "bob", $admin}) ], 'bob', qr/user 302\./ ],
	[ 'all is well', [ $ann, $bob, $cy ], 'nobody', undef ])
{
	my ($what, $listed, $expected, $warning) = @$case;
	s/\\\\/\\/g for @$listed;
	my ($admins, $said) = pass_of(users(@$listed));
	is($admins, $expected, "a list with $what: who is admin still");
	defined $warning ? like($said, $warning, '... and the warning names it') : is($said, '', '... without a warning');
}
option('list', 'unknown_roles', 'error');
my ($admins, $said) = pass_of(users($ann, '{"code": "bob", "roles": ["wizard"]}', $cy));
is($admins, 'bob', 'a role that does not exist: who is admin still');
like($said, qr/"bob": Role "wizard" does not exist/, '... and the warning names it');
option('list', 'unknown_roles');
option('list', 'users_path', '$.users[*] ? (@.type == "person")');
($admins, $said) = pass_of(users('{"type": "person", "code": "ann", "roles": []}', '{"type": "group", "code": "bob", "roles": []}', '{"code": "cy", "roles": []}'));
is($admins, 'bob cy', 'users_path with a condition that is unknown for one: who is admin still');
like($said, qr/The condition of users_path is neither true nor false for 1 records/, '... and a warning says so');
option('list', 'users_path');
# A path that tolerates absence says nothing of who has no roles; of who has some it does.
option('list', 'roles_path', '$.keyvalue() ? (@.key == "roles").value[*]');
($admins) = pass_of(users('{"code": "ann"}', '{"code": "bob"}', '{"code": "cy"}'));
is($admins, 'ann bob cy', 'a tolerant path, and a list without roles: nothing is taken away');
($admins) = pass_of(users('{"code": "ann"}', '{"code": "bob", "roles": ["reader"]}', '{"code": "cy", "roles": []}'));
is($admins, 'ann cy', '... but from who has others');
like(error_of($node, q(SELECT new_roles FROM rolecall.apply_provider_event('list', '{"code": "ann"}'))), qr/^$/, '... an event without roles');
is(sql(q(SELECT count(*) FROM rolecall.user_roles WHERE user_id = 301)), '1', '... takes nothing away either');
option('list', 'roles_path');
# Memory
option('list', 'max_list_size', '64kB');
($admins, $said) = pass_of(users(map { qq({"code": "$_", "roles": [) . join(', ', map { qq("a role with a long name $_") } 1 .. 400) . ']}' } 'ann', 'bob', 'cy'));
like($said, qr/54000: the list of provider "list" is too large\nDETAIL:  What is kept of its first 3 users takes more than max_list_size, 64 kB/, 'a list that is too large');
is($admins, 'ann bob cy', '... changes nothing');
option('list', 'max_list_size');

# ---- Everything has an end ------------------------------------------------------------------------------------------

sql(q(INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (102, 'endless', 'hr', '100002'); SET client_min_messages = error; SELECT rolecall.force_sync_user_roles(102)));
for my $of ('body', 'trailers', 'extensions', 'headers', 'informational') {
	$provider->fault(mode => 'endless', subject => '100002', of => $of);
	like(error_of($node, 'SELECT rolecall.force_sync_user_roles(102)'), qr/RC101: .*\nDETAIL:  The request failed in phase "body": (?:the response is larger than 1048576 bytes|too large response headers)/, "$of without end");    # libcurl 8 has a limit of its own for headers
	$provider->no_fault;
}

# ---- A small directory ----------------------------------------------------------------------------------------------

sql(<<SQL);
CREATE SERVER small FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '$provider->{url}', on_not_found 'deactivate');
INSERT INTO rolecall.users (id, email, provider, institutional_id) SELECT 400 + g, 'small', 'small', (100010 + g)::text FROM generate_series(1, 9) g;
SET client_min_messages = error;
SELECT rolecall.force_sync_user_roles(400 + g) FROM generate_series(1, 9) g;
SQL
$provider->fault(mode => '404');
error_of($node, "SELECT rolecall.force_sync_user_roles($_)") for 401 .. 409;
is(sql(q(SELECT count(*) FROM rolecall.users WHERE provider = 'small' AND is_active)), '5', 'a proxy that says 404 for nine users costs four of them');
is(sql(q(SELECT users_affected FROM rolecall.stopped_providers WHERE provider = 'small')), '5', '... and the provider is stopped');
for my $case ([ 1, 8 ], [ 2, 8 ], [ 3, 7 ]) {    # one of nine is less than a fifth, two are more
	my ($many, $left) = @$case;
	$provider->no_fault;
	option('small', 'max_revocation_users', $many);
	sql(q(UPDATE rolecall.users SET is_active = true WHERE provider = 'small'; SELECT rolecall.resume_provider('small'); DELETE FROM rolecall.revocations; DELETE FROM rolecall.open_revocations));
	sql('SET client_min_messages = error; SELECT rolecall.force_sync_user_roles(400 + g) FROM generate_series(1, 9) g');
	$provider->fault(mode => '404');
	error_of($node, "SELECT rolecall.force_sync_user_roles($_)") for 401 .. 409;
	is(sql(q(SELECT count(*) FROM rolecall.users WHERE provider = 'small' AND is_active)), $left, "max_revocation_users $many");
}
# One user alone may always lose what he has, unless that is said to be many.
$provider->no_fault;
option('small', 'max_revocation_users');
sql(q(DELETE FROM rolecall.users WHERE id > 401; UPDATE rolecall.users SET is_active = true WHERE id = 401; SELECT rolecall.resume_provider('small'); DELETE FROM rolecall.revocations; DELETE FROM rolecall.open_revocations));
sql('SELECT rolecall.force_sync_user_roles(401)');
$provider->fault(mode => '404');
is(sql('SELECT has_changed FROM rolecall.force_sync_user_roles(401)'), 't', 'the only user of a provider is found to be gone');
$provider->no_fault;

$node->stop;
done_testing();
