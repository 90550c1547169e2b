# The mapping of answers to roles, on documents that were damaged at random. It rests on PostgreSQL's jsonb and
# jsonpath, so that it is fuzzed inside the server; what is plain C++ has fuzzers of its own (test/fuzz). Whatever
# comes is an error RC104, or what an independent reading in SQL makes of it. ROLECALL_SEED repeats a run.
use strict;
use warnings;

use Encode qw(encode);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $documents = $ENV{ROLECALL_DOCUMENTS} // 20_000;
my $seed = $ENV{ROLECALL_SEED} // 1;
my $node = new_node('mapping');
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION rolecall;
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1');
CREATE FUNCTION map(provider name, subject text, answer bytea) RETURNS jsonb LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_map';
CREATE FUNCTION presets() RETURNS void LANGUAGE c AS 'rolecall', 'rolecall_test_presets';

-- A second opinion, written the other way round: what a role must look like. NULL: not like that.
CREATE FUNCTION expected_role(r jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    scope jsonb := r -> 'on';
    kind text;
    parts text[];
BEGIN
    IF jsonb_typeof(r) = 'string' THEN
        parts := regexp_match(r #>> '{}', '^([^@]+)(?:@(?:(global)|([^:]+):(.+)))?$');
        IF parts IS NULL OR parts[3] IN ('global', 'kind', 'id', 'type', 'scope', 'scope_kind', 'scope_id') THEN
            RETURN NULL;
        ELSIF parts[3] IS NULL THEN
            RETURN jsonb_build_object('role', parts[1], 'on', 'global');
        END IF;
        RETURN jsonb_build_object('role', parts[1], 'on', jsonb_build_object(CASE parts[3] WHEN 'institutional' THEN 'institutional_id' ELSE parts[3] END, parts[4]));
    ELSIF jsonb_typeof(r) <> 'object' OR coalesce(jsonb_typeof(r -> 'role'), '') NOT IN ('string', 'number') OR r ->> 'role' = '' THEN
        RETURN NULL;
    ELSIF scope IS NULL AND (SELECT count(*) FROM jsonb_object_keys(r)) > 1 THEN
        RETURN NULL;    -- one of the other members may be its scope
    ELSIF scope IS NULL OR scope = '"global"' THEN
        RETURN jsonb_build_object('role', r ->> 'role', 'on', 'global');
    ELSIF jsonb_typeof(scope) <> 'object' OR (SELECT count(*) FROM jsonb_object_keys(scope)) <> 1 THEN
        RETURN NULL;
    END IF;
    kind := (SELECT k FROM jsonb_object_keys(scope) k);
    IF kind IN ('', 'global', 'kind', 'id', 'type', 'scope', 'scope_kind', 'scope_id') OR jsonb_typeof(scope -> kind) <> 'string' OR scope ->> kind = '' THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_build_object('role', r ->> 'role', 'on', jsonb_build_object(CASE kind WHEN 'institutional' THEN 'institutional_id' ELSE kind END, scope ->> kind));
END $$;

-- Does an object in it name a member twice? The type json keeps both.
CREATE FUNCTION names_twice(document json) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF json_typeof(document) = 'array' THEN
        RETURN (SELECT coalesce(bool_or(names_twice(e)), false) FROM json_array_elements(document) e);
    ELSIF json_typeof(document) = 'object' THEN
        RETURN (SELECT count(*) > count(DISTINCT key) OR coalesce(bool_or(names_twice(value)), false) FROM json_each(document));
    END IF;
    RETURN false;
END $$;

-- The same of what is read: code and roles, in each of these role and on, and all of that.
CREATE FUNCTION is_read_twice(document json, names text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF json_typeof(document) = 'array' THEN
        RETURN (SELECT coalesce(bool_or(is_read_twice(e, names)), false) FROM json_array_elements(document) e);
    ELSIF json_typeof(document) = 'object' THEN
        RETURN (SELECT count(*) > count(DISTINCT key) OR coalesce(bool_or(CASE key WHEN 'roles' THEN is_read_twice(value, '{role,on}') WHEN 'on' THEN names_twice(value) ELSE false END), false)
                FROM json_each(document) WHERE key = ANY (names));
    END IF;
    RETURN false;
END $$;

-- What no text can hold becomes U+0001 (which no document here has), a pair of surrogates U+0002.
CREATE FUNCTION holdable(answer bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    document text;
BEGIN
    BEGIN
        document := convert_from(answer, 'UTF8');
    EXCEPTION WHEN OTHERS THEN
        document := regexp_replace(convert_from(answer, 'LATIN1'), '[^[:ascii:]]', '\\u0001', 'g');
    END;
    document := regexp_replace(document, '\\\\', '\\u005c', 'g');
    document := regexp_replace(document, '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\\u0002', 'g');
    RETURN regexp_replace(document, '\\u([dD][89a-fA-F][0-9a-fA-F]{2}|0000)', '\\u0001', 'g');
END $$;

-- The roles of an answer about subject 7; NULL: it must be refused.
CREATE FUNCTION expected(answer bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    document jsonb;
    roles jsonb;
BEGIN
    BEGIN
        document := holdable(answer)::jsonb;
        IF is_read_twice(holdable(answer)::json, '{code,roles}') THEN
            RETURN NULL;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        RETURN NULL;
    END;
    IF jsonb_typeof(document) = 'array' AND jsonb_array_length(document) = 1 AND jsonb_typeof(document -> 0) = 'object' THEN
        RETURN NULL;    -- strict: not even where it would be unambiguous
    ELSIF document ->> 'code' IS DISTINCT FROM '7' OR jsonb_typeof(document -> 'code') NOT IN ('string', 'number') OR coalesce(jsonb_typeof(document -> 'roles'), '') <> 'array' THEN
        RETURN NULL;
    END IF;
    SELECT coalesce(jsonb_agg(DISTINCT expected_role(r)), '[]') INTO roles FROM jsonb_array_elements(document -> 'roles') r;
    RETURN CASE WHEN roles @> 'null' OR roles::text LIKE '%\\u0001%' THEN NULL ELSE roles END;
END $$;

CREATE FUNCTION as_set(roles jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT coalesce(jsonb_agg(DISTINCT r), '[]') FROM jsonb_array_elements(roles) r $$;

-- One value for another: mostly still JSON.
CREATE FUNCTION changed(document text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    values_ CONSTANT text[] := ARRAY['"role"', '"on"', '"global"', '"7"', '7', '1.50', 'null', '{}', '[]', '""', '"x@y:z"', '"x@y"', '"@"', '{"role":"q"}', '{"role":"q","on":{}}',
        '{"institutional_id":"u"}', '{"a":"b","c":"d"}', '{"institutional":"u"}', '["x"]', '"institutional_id"', '"code"', '"roles"', 'true'];
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 2)::int LOOP
        document := regexp_replace(document, '"[^"]*"|\d+|\[\]|\{[^{}]*\}', replace(values_[1 + floor(random() * cardinality(values_))::int], '\', '\\'),
            1, 1 + floor(random() * 14)::int);
    END LOOP;
    RETURN document;
END $$;

CREATE FUNCTION damaged(document bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    tokens CONSTANT text[] := ARRAY['{', '}', '[', ']', '"', ',', ':', 'null', 'true', '7', '1e400', '-0', '\u0000', '\ud800', '"roles": []', '"code": "8"',
        '"code": "7",', '"roles": {},', '"on": "global",', '"on": null,', '{"role": "x"},', '"r@global",', '"r@a:b",', '[[[[[[[[', '\', '@', ':', ' '];
    at int;
    size int;
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 3)::int LOOP
        at := 1 + floor(random() * (length(document) + 1))::int;
        size := floor(random() * 6)::int;
        CASE floor(random() * 7)::int
        WHEN 0 THEN document := substr(document, 1, at - 1) || substr(document, at + size);
        WHEN 1 THEN document := substr(document, 1, at - 1);
        WHEN 2 THEN document := substr(document, 1, at - 1) || decode(lpad(to_hex(floor(random() * 256)::int), 2, '0'), 'hex') || substr(document, at + size % 2);
        WHEN 3 THEN document := substr(document, 1, at - 1) || substr(document, greatest(1, at - 20), 20) || substr(document, at);
        ELSE document := substr(document, 1, at - 1) || convert_to(tokens[1 + floor(random() * cardinality(tokens))::int], 'UTF8') || substr(document, at + size % 3);
        END CASE;
    END LOOP;
    RETURN document;
END $$;

CREATE TABLE verdicts (n int, document bytea, outcome text);
CREATE FUNCTION fuzz(documents int, seed float) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    seeds CONSTANT text[] := ARRAY[
        '{"code": "7", "roles": [{"role": "reader", "on": {"institutional_id": "u1"}}, {"role": "boss", "on": "global"}]}',
        '{"roles": ["plain", "a@global", "b@unit:7", "plain"], "code": 7, "email": null}',
        '{"code": "7", "roles": []}',
        '{"code": "7", "display_name": "\u00e9\ud83d\ude00", "roles": [{"role": "x", "on": {"lab": "l:1@2"}}, {"role": 12}]}'];
    document bytea;
    should jsonb;
    was jsonb;
BEGIN
    PERFORM setseed(seed);
    FOR n IN 1 .. documents LOOP
        document := CASE WHEN random() < 0.5 THEN damaged(convert_to(seeds[1 + n % 4], 'UTF8')) ELSE convert_to(changed(seeds[1 + n % 4]), 'UTF8') END;
        should := expected(document);
        BEGIN
            was := map('hr', '7', document);
            INSERT INTO verdicts VALUES (n, document, CASE
                WHEN should IS NULL THEN 'accepted, and should not be: ' || was::text
                WHEN as_set(was) = as_set(should) THEN 'right'
                ELSE 'wrong: ' || was::text || ' instead of ' || should::text END);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO verdicts VALUES (n, document, CASE
                WHEN SQLSTATE <> 'RC104' THEN 'another error: ' || SQLSTATE || ' ' || SQLERRM
                WHEN should IS NULL THEN 'refused'
                ELSE 'refused, and should not be' END);
        END;
    END LOOP;
END $$;
SQL
is($node->safe_psql('postgres', 'SELECT presets()'), '', 'each default, and each value of a preset, is valid itself');

$node->safe_psql('postgres', "SELECT fuzz($documents, " . ($seed % 1000) / 1000 . ')');
my $wrong = $node->safe_psql('postgres', q(SELECT convert_from(document, 'LATIN1') || ' => ' || outcome FROM verdicts WHERE outcome NOT IN ('right', 'refused') ORDER BY length(document) LIMIT 10));
is($wrong, '', 'every answer is mapped as a second opinion has it, or refused by RC104');
for my $outcome ('right', 'refused') {
	my $count = $node->safe_psql('postgres', "SELECT count(*) FROM verdicts WHERE outcome = '$outcome'");
	cmp_ok($count, '>', $documents / 20, "$count of $documents were $outcome");
}
# A path of members means what jsonpath makes of it, an array with one item on the way included; one with several has no
# item that could be chosen.
$node->safe_psql('postgres', q(CREATE SERVER nested FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1', subject_path '$.who.id')));
for my $who ('{"id": "7"}', '{"id": 7, "more": []}', '[{"id": "7"}]', '[{"x": 1}, {"id": "7"}]', '[[{"id": "7"}]]', '[{"id": "8"}, {"id": "7"}]', '{"id": ["7"]}', '{"id": null}', '{"Id": "7"}', '"7"', 'null', '[]') {
	my $answer = qq({"who": $who, "roles": ["x"]});
	my $found = $node->safe_psql('postgres', qq(SELECT coalesce(jsonb_path_query_first('$answer', '\$.who.id', '{}', true) IN ('"7"', '7') AND NOT coalesce(jsonb_path_exists('$answer', 'strict \$.who[1]', '{}', true), false), false)));
	my ($code, $out, $err) = $node->psql('postgres', "SELECT map('nested', '7', convert_to('$answer', 'UTF8'))");
	is($code == 0 ? 't' : $err =~ /provider "nested" gave an answer that cannot be used/ ? 'f' : $err, $found, "who $who is");
}
# Members named twice, however they are written; and those that only look like it. It matters where they are read, which
# all of "on" is; the rest of the document is in order.
sub with { my ($where, $more) = @_; return 'map(\'hr\', \'7\', convert_to($json${"code": "7", "roles": ' . ($where eq 'on' ? qq([{"role": "x", "on": $more}]) : qq(["x"], "more": $more)) . '}$json$, \'UTF8\'))'; }
for my $more (
	'{"a": [], "a": ["a"]}', '[1, {"x": [{"a": {}, "b": 1, "a": 2}]}]', '{"a" : 1 , "b" : {} , "a" : 2}', '{"": 1, "": 2}', '{"role": 1, "r\u006fle": 2}', '{"\u00E9": 1, "\x{e9}": 2}',
	'{"\uD83D\uDE00": 1, "\x{1f600}": 2}', '{"a\nb": 1, "a\u000ab": 2}', '{"a\/b": 1, "a/b": 2}', '{"a\"": 1, "a\u0022": 2}') {
	(my $text = $more) =~ s/\\x\{(\w+)\}/chr hex $1/ge;
	like(error_of($node, 'SELECT ' . with('on', encode('UTF-8', $text))), qr/An object of the response names a member twice/, "twice: $more");
	is($node->safe_psql('postgres', 'SELECT ' . with('more', encode('UTF-8', $text))), '[{"on": "global", "role": "x"}]', '... which is nothing where nobody reads it');
}
for my $more (
	'{"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]}', '{"a": "b", "b": "a"}', '{"a": "\"a\": 1, \"a\": 2", "b": 1}', '["a", "a"]', '{"a": ["x", "x"], "x": {"x": {"x": []}}}', '{"A": 1, "a": 2}',
	'{"": 1, " ": 2}', '{"a\\\\": 1, "a": 2}', '{"\u0061b": 1, "a\u0062c": 2}') {
	like(error_of($node, 'SELECT ' . with('on', $more)), qr/Role 1 of the response has an unexpected shape/, "not twice: $more");
}
# What only size shows
for my $case ([ 'nested 100,000 deep', q(repeat('[', 100000)) ], [ 'of ten million characters', q('{"code": "7", "roles": [' || repeat('"x",', 2500000) || '1.5.2]}') ]) {
	my ($what, $text) = @$case;
	like(error_of($node, "SELECT map('hr', '7', convert_to($text, 'UTF8'))"), qr/RC104: provider "hr" gave an answer that cannot be used/, "an answer $what is an error like others");
}

$node->stop;
done_testing();
