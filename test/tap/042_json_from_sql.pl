# A fuzzer for what comes as JSON from SQL: claims, users given to syncs, events, roles, watches, metadata, documents.
# Whatever it is, the answer is an answer, or an error with an SQLSTATE that the documentation has; never an internal one.
# ROLECALL_SEED repeats a run; ROLECALL_DOCUMENTS says how long it is.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $documents = $ENV{ROLECALL_DOCUMENTS} // 4000;
my $seed = $ENV{ROLECALL_SEED} // time % 100_000;
note("ROLECALL_SEED=$seed ROLECALL_DOCUMENTS=$documents");
diag("seed $seed");

my $node = new_node('json', "restart_after_crash = off\n");
create_extension($node);
note('assertions: ' . $node->safe_psql('postgres', 'SHOW debug_assertions'));
$node->safe_psql('postgres', <<'SQL');
CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'json', base_url 'http://127.0.0.1:1', request_timeout '1s', email_path '$.email', active_path '$.active');
CREATE SERVER ac FOREIGN DATA WRAPPER rolecall OPTIONS (kind 'accred', base_url 'http://127.0.0.1:1', request_timeout '1s');
INSERT INTO rolecall.users (id, email, provider, institutional_id) VALUES (101, 'p@example.org', 'hr', 's1'), (102, 'q@example.org', 'ac', 's1');
CREATE SCHEMA app;
CREATE TABLE app.people (id bigint PRIMARY KEY, team int, doc jsonb);
CREATE TABLE app.teams (id int PRIMARY KEY);
ALTER TABLE app.people ADD FOREIGN KEY (team) REFERENCES app.teams;
CREATE VIEW app.person AS SELECT id AS uid, jsonb_build_object('id', id, 'team', team) AS doc FROM app.people;
CREATE VIEW app.free AS SELECT id AS uid, doc FROM app.people;
INSERT INTO app.people VALUES (1, NULL, '{}');

CREATE SCHEMA fuzz;
-- Words that mean something to somebody.
CREATE FUNCTION fuzz.word() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    words CONSTANT text[] = ARRAY['roles', 'role', 'on', 'code', 'email', 'display_name', 'function', 'active', 'sub', 'global', 'institutional', 'institutional_id', 'unit', 's1', 'member', 'id', 'team',
        'lookup', 'referencing', 'app.people', 'app.teams', 'rolecall.users', 'app.person', 'nowhere', 'authorizations', 'users', 'name', 'is_active', 'is_superuser', 'tenant_id', 'metadata', '', ' ', 'x', '@', 'a@b:c', '\u0000',
        '\ud83d', '\ud83d\ude00', '\u00e9', '\"', '\\', '\n', 'pg_class', '1', '0', 'null', 'deleted', 'event', 'type', 'ctid', 'id; DROP TABLE x'];
BEGIN
    RETURN CASE WHEN random() < 0.01 THEN repeat('w', 70000) WHEN random() < 0.01 THEN repeat(words[1 + floor(random() * cardinality(words))::int], 40) ELSE words[1 + floor(random() * cardinality(words))::int] END;
END $$;

-- Any JSON, as text: the same member twice, numbers that nothing can hold, deep and wide.
CREATE FUNCTION fuzz.value(depth int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    numbers CONSTANT text[] = ARRAY['0', '-0', '1', '-1', '9223372036854775808', '-9223372036854775809', '1e400', '1e-400', '0.1', '1E5', '123456789012345678901234567890.5', '2147483648', '1e131071'];
    many int;
BEGIN
    CASE floor(random() * CASE WHEN depth > 0 THEN 10 ELSE 6 END)::int
    WHEN 0 THEN RETURN 'null';
    WHEN 1 THEN RETURN CASE WHEN random() < 0.5 THEN 'true' ELSE 'false' END;
    WHEN 2 THEN RETURN numbers[1 + floor(random() * cardinality(numbers))::int];
    WHEN 3, 4, 5 THEN RETURN '"' || fuzz.word() || '"';
    WHEN 6, 7 THEN
        many := floor(random() * 5)::int;
        IF random() < 0.005 THEN
            RETURN '[' || array_to_string(array_fill(fuzz.value(0), ARRAY[5000]), ',') || ']';
        END IF;
        RETURN '[' || coalesce((SELECT string_agg(fuzz.value(depth - 1 + g * 0), ',') FROM generate_series(1, many) g), '') || ']';
    ELSE
        many := floor(random() * 5)::int;
        IF random() < 0.005 THEN
            RETURN '{' || (SELECT string_agg(format('"%s%s": 1', fuzz.word(), g), ',') FROM generate_series(1, 3000) g) || '}';
        END IF;
        RETURN '{' || coalesce((SELECT string_agg('"' || fuzz.word() || '":' || fuzz.value(depth - 1 + g * 0), ',') FROM generate_series(1, many) g), '') || '}';
    END CASE;
END $$;

-- Something near what the function wants, with one value in it that is anything.
CREATE FUNCTION fuzz.near(kind text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    shapes CONSTANT jsonb = jsonb_build_object(
        'user', '["{\"code\": \"s1\", \"roles\": [{\"role\": \"member\", \"on\": {\"institutional_id\": \"u1\"}}, \"admin\"], \"email\": \"a@b\", \"display_name\": \"x\"}", "{\"roles\": [\"member@institutional:u1\", \"x@global\"]}", "{\"code\": \"s1\", \"active\": false, \"roles\": []}", "{\"authorizations\": [{\"name\": \"member\", \"state\": \"active\", \"reason\": {\"resource\": {\"id\": 1}}}]}"]'::jsonb,
        'roles', '["[{\"role\": \"member\", \"on\": {\"institutional_id\": \"u1\"}}]", "[\"member\", \"admin@institutional:u2\"]", "[]"]'::jsonb,
        'watches', '["{\"app.people\": \"id\", \"app.teams\": null}", "{\"app.people\": \"id\", \"app.teams\": {\"lookup\": \"id\"}}", "{\"app.people\": \"id\", \"app.teams\": {\"lookup\": \"id\", \"referencing\": {\"app.people\": \"team\"}}}"]'::jsonb,
        'references', '["{\"app.people\": \"team\"}", "{}"]'::jsonb,
        'claims', '["{\"sub\": \"1\"}", "{\"sub\": \"1\", \"role\": \"x\"}", "{\"email\": \"x\"}"]'::jsonb,
        'document', '["{\"roles\": [{\"role\": \"member\"}], \"is_active\": true, \"is_superuser\": false, \"tenant_id\": null, \"email\": \"x\"}", "{\"roles\": [\"member\"], \"tenant_id\": \"00000000-0000-0000-0000-000000000000\"}"]'::jsonb);
    shape text := shapes -> kind ->> floor(random() * jsonb_array_length(shapes -> kind))::int;
BEGIN
    IF random() < 0.05 THEN
        RETURN repeat('[', 1 + floor(random() * 5000)::int) || CASE WHEN random() < 0.5 THEN shape ELSE '' END;
    ELSIF random() < 0.05 THEN
        RETURN repeat('{"roles":[', 500) || shape || repeat(']}', 500);
    ELSIF random() < 0.3 THEN
        RETURN fuzz.value(4);
    ELSIF random() < 0.1 THEN
        RETURN substr(shape, 1, floor(random() * length(shape))::int);
    END IF;
    FOR i IN 1 .. floor(random() * 3)::int LOOP
        shape := regexp_replace(shape, '"[^"]*"|\[\]|\{[^{}]*\}|null|true|false', replace(fuzz.value(2), '\', '\\'), 1, 1 + floor(random() * 10)::int);
    END LOOP;
    RETURN shape;
END $$;

CREATE TABLE fuzz.calls (n int, kind text, call text, state text, message text);
CREATE TABLE fuzz.targets (kind text, shape text, call text);
INSERT INTO fuzz.targets VALUES
    ('sync_user_roles, of nobody', 'user', 'SELECT rolecall.sync_user_roles(1, $1::jsonb, true)'),
    ('sync_user_roles, of a provider', 'user', 'SELECT rolecall.sync_user_roles(101, $1::jsonb, true)'),
    ('sync_user_roles, of accred', 'user', 'SELECT rolecall.sync_user_roles(102, $1::jsonb, false)'),
    ('apply_provider_event', 'user', 'SELECT rolecall.apply_provider_event(''hr'', $1::jsonb)'),
    ('apply_provider_event, accred', 'user', 'SELECT rolecall.apply_provider_event(''ac'', $1::jsonb)'),
    ('sync_user_units', 'roles', 'SELECT rolecall.sync_user_units(2, $1::jsonb)'),
    ('create_projection', 'watches', 'SELECT rolecall.create_projection(''p'', ''app.person'', ''uid'', ''doc'', watches => $1::jsonb)'),
    ('create_projection, not strict', 'watches', 'SELECT rolecall.create_projection(''p'', ''app.person'', ''uid'', ''doc'', strict => false, watches => $1::jsonb)'),
    ('watch_lookup', 'references', 'SELECT rolecall.create_projection(''p'', ''app.person'', ''uid'', ''doc'', strict => false, watches => ''{"app.people": "id"}''), rolecall.watch_lookup(''p'', ''app.teams'', ''id'', $1::jsonb)'),
    ('claims', 'claims', 'SELECT set_config(''request.jwt.claims'', $1, true), length(rolecall.current_uid())'),
    ('claims, me()', 'claims', 'SELECT set_config(''request.jwt.claims'', $1, true), rolecall.me(), rolecall.has_role(''member'')'),
    ('rolecall.uid', 'claims', 'SELECT set_config(''rolecall.uid'', $1, true), rolecall.me(), rolecall.has_role(''member'')'),
    ('request_id', 'claims', 'SELECT set_config(''rolecall.request_id'', left($1, 500), true), rolecall.sync_user_roles(3, ''{"roles": ["member"]}'', true), rolecall.sync_user_roles(3, ''{"roles": []}'', true)'),
    ('metadata', 'document', 'WITH u AS (UPDATE rolecall.users SET metadata = $1::jsonb WHERE id = 4 RETURNING 1) SELECT * FROM u'),
    ('a document', 'document', 'WITH u AS (UPDATE app.people SET doc = $1::jsonb RETURNING 1) SELECT * FROM u');

-- Documents of an application's own "me", of any shape: what reads make of them.
SELECT rolecall.create_projection('free', 'app.free', 'uid', 'doc', watches => '{"app.people": "id"}');
CREATE FUNCTION fuzz.read_all() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM rolecall.project('free', '1'), rolecall.project_json('free', '1'), rolecall.me(1), rolecall.me_json(1), rolecall.has_role(1, 'member'), rolecall.has_role(1, 'member', 'u1');
    PERFORM rolecall.auth_projection(1), rolecall.require_user(1), rolecall.me_many(ARRAY[1, 2]::bigint[]);
    PERFORM rolecall.me(4), rolecall.has_role(4, 'member'), rolecall.auth_projection(4);
END $$;

CREATE PROCEDURE fuzz.run(documents int, seed float) LANGUAGE plpgsql AS $$
DECLARE
    target fuzz.targets;
    given text;
    state text;
    message text;
BEGIN
    PERFORM setseed(seed);
    FOR n IN 1 .. documents LOOP
        SELECT * INTO target FROM fuzz.targets OFFSET floor(random() * (SELECT count(*) FROM fuzz.targets))::int LIMIT 1;
        given := fuzz.near(target.shape);
        state := '00000';
        message := NULL;
        BEGIN
            EXECUTE target.call USING given;
            PERFORM fuzz.read_all();
            RAISE EXCEPTION USING ERRCODE = 'ZZ001';  -- nothing stays of it
        EXCEPTION WHEN OTHERS THEN
            state := CASE WHEN SQLSTATE = 'ZZ001' THEN '00000' ELSE SQLSTATE END;
            message := SQLERRM;
        END;
        INSERT INTO fuzz.calls VALUES (n, target.kind, left(given, 300), state, message);
        COMMIT;
        IF target.kind = 'a document' AND state = '00000' AND random() < 0.5 THEN
            BEGIN
                UPDATE app.people SET doc = given::jsonb;
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
            COMMIT;
            BEGIN
                PERFORM fuzz.read_all();
                PERFORM fuzz.read_all();
            EXCEPTION WHEN OTHERS THEN
                INSERT INTO fuzz.calls VALUES (n, 'a document, cached', left(given, 300), SQLSTATE, SQLERRM);
            END;
            UPDATE app.people SET doc = '{}';
            COMMIT;
        END IF;
    END LOOP;
END $$;
SQL

# First with the built-in "me", then with one of the application's, whose documents are of any shape.
for my $me ('built in', 'the application\'s') {
	$node->safe_psql('postgres', q(SELECT rolecall.create_projection('me', 'app.free', 'uid', 'doc', watches => '{"app.people": "id"}'))) if $me ne 'built in';
	my $error = '';
	my $code = $node->psql('postgres', "SET client_min_messages = error; SET statement_timeout = 0; CALL fuzz.run($documents / 2, " . ($seed % 1000) / 1000 . ')', stderr => \$error);
	is($code, 0, "$me: the session lives") or diag(substr($error, -1000));
	BAIL_OUT('the server is down') if $node->psql('postgres', 'SELECT 1') != 0;
}

# What docs/functions.md and PostgreSQL say of wrong JSON, wrong values, names of nothing, and providers.
my $allowed = join ',', '00000', '22P02', '22P05', '22023', '22003', '22004', '54000', '54001', '42P01', '42602', '42703', '42704', '42710', '42804', '42809', '42830', '55000', '23514', '23502', '23503', '23505', 'RC001', 'RC002', 'RC103', 'RC104', 'RC105', 'RC106', '42P17', '22021', '42622', '3F000', '2202E';
is($node->safe_psql('postgres', "SELECT DISTINCT ON (state, kind) state || ' ' || kind || ': ' || message || ' <= ' || call FROM fuzz.calls WHERE state <> ALL ('{$allowed}') LIMIT 20"), '', 'nothing but errors that are documented');
my $counts = $node->safe_psql('postgres', q(SELECT kind, count(*) FILTER (WHERE state = '00000'), count(*) FILTER (WHERE state <> '00000') FROM fuzz.calls GROUP BY 1 ORDER BY 1));
note($counts);
for my $line (grep { !/cached/ } split /\n/, $counts) {
	my ($kind, $good, $bad) = split /\|/, $line;
	ok($good > 0, "$kind: $good answers") if $kind !~ /watch_lookup|event|accred/;
	ok($bad > 0, "$kind: $bad errors") unless $kind =~ /request_id|rolecall.uid/;
}
note($node->safe_psql('postgres', q(SELECT kind, state, count(*), min(message) FROM fuzz.calls GROUP BY 1, 2 ORDER BY 1, 3 DESC)));
is($node->safe_psql('postgres', q(SELECT rolecall.has_role(1, 'nothing'))), 'f', 'the server is up');
$node->stop;

done_testing();
