# An application with its own projections, and a check that they work, for tests of dumps, restores and upgrades.
package Rolecall::Application;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(create_application is_working @projections $stale);

# Creates an application with keyed watches, a grouped and a coarse lookup, a partitioned table, and a column number
# that a restore does not preserve. It also has a projection over the extension's tables, and a "me" that replaces the
# built-in one.
sub create_application {
	my ($node) = @_;
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA app;
CREATE TABLE app.people (dropped int, id uuid PRIMARY KEY, email text NOT NULL, is_active boolean NOT NULL DEFAULT true);
ALTER TABLE app.people DROP COLUMN dropped;
CREATE TABLE app.teams (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE app.members (person uuid NOT NULL REFERENCES app.people, team int NOT NULL REFERENCES app.teams, PRIMARY KEY (person, team));
CREATE TABLE app.settings (greeting text);
CREATE TABLE app.posts (person uuid NOT NULL, year int NOT NULL, title text) PARTITION BY LIST (year);
CREATE TABLE app.posts_2025 PARTITION OF app.posts FOR VALUES IN (2025);
CREATE TABLE app.posts_2026 PARTITION OF app.posts FOR VALUES IN (2026);
INSERT INTO app.people SELECT ('00000000-0000-0000-0000-00000000000' || g)::uuid, 'person' || g || '@example.org' FROM generate_series(1, 3) g;
INSERT INTO app.teams SELECT g, 'team ' || g FROM generate_series(1, 3) g;
INSERT INTO app.members SELECT id, 1 FROM app.people;
INSERT INTO app.settings VALUES ('hello');
INSERT INTO app.posts SELECT id, year, 'title' FROM app.people, generate_series(2025, 2026) year;
CREATE VIEW app.profile AS
SELECT p.id AS uid, p.email, jsonb_build_object('id', p.id, 'email', p.email, 'is_active', p.is_active,
    'greeting', (SELECT s.greeting FROM app.settings s),
    'roles', coalesce((SELECT jsonb_agg(t.name ORDER BY t.name) FROM app.members m JOIN app.teams t ON t.id = m.team WHERE m.person = p.id), '[]'),
    'posts', (SELECT jsonb_agg(o.title ORDER BY o.title) FROM app.posts o WHERE o.person = p.id)) AS doc
FROM app.people p;
CREATE VIEW app.accounts AS
SELECT u.id AS uid, jsonb_build_object('email', u.email, 'unit', (SELECT jsonb_agg(n.name ORDER BY n.name) FROM rolecall.user_units m JOIN rolecall.units n ON n.id = m.unit_id WHERE m.user_id = u.id)) AS doc
FROM rolecall.users u;
SELECT rolecall.create_projection(name, 'app.profile', 'uid', 'doc', watches => '{"app.people": "id", "app.members": "person", "app.posts": "person", "app.teams": {"lookup": "id"}, "app.settings": null}')
FROM unnest(ARRAY['profile', 'me']) name;
SELECT rolecall.create_projection('accounts', 'app.accounts', 'uid', 'doc', watches => '{"rolecall.users": "id", "rolecall.user_units": "user_id", "rolecall.units": {"lookup": "id"}}');
CREATE FUNCTION app.hit(projection name, key text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE before bigint := (SELECT s.hits FROM rolecall.stat_cache s);
BEGIN
    PERFORM rolecall.project(projection, key);
    RETURN (SELECT s.hits FROM rolecall.stat_cache s) > before;
END $$;
SQL
	return;
}
our $person = '00000000-0000-0000-0000-000000000001';
our @projections = ([ 'profile', 'app.profile', $person ], [ 'me', 'app.profile', $person ], [ 'accounts', 'app.accounts', '1' ]);

# SQL: were enough documents read, and which of them differ from their views?
our $stale = 'SELECT count(*) > 8, array_agg(name || uid) FILTER (WHERE read IS DISTINCT FROM doc) FROM ('
  . join(' UNION ALL ', map { "SELECT '$_->[0]' AS name, uid::text, doc, rolecall.project('$_->[0]', uid::text) AS read FROM $_->[1]" } @projections) . ') d';

# Checks that every projection is cached, and fresh after a write to each table behind it.
sub is_working {
	my ($node, $database, $way) = @_;
	is($node->safe_psql($database, 'SELECT * FROM rolecall.check_projections()'), '', "$way: all is in order");
	for my $projection (@projections) {
		my ($name, undef, $key) = @$projection;
		is($node->safe_psql($database, "SELECT app.hit('$name', '$key'); SELECT app.hit('$name', '$key')") =~ s/^.*\n//r, 't', "$way: $name is cached");
	}
	for my $write (
		q(UPDATE app.people SET email = email || '+'),
		q(DELETE FROM app.members WHERE person::text LIKE '%1'),
		q(UPDATE app.teams SET name = name || '+'),
		q(UPDATE app.settings SET greeting = greeting || '+'),
		q(UPDATE app.posts SET title = title || '+' WHERE year = 2026),
		q(DELETE FROM app.posts_2025 WHERE person::text LIKE '%2'),
		q(TRUNCATE app.posts_2025),
		q(UPDATE rolecall.users SET email = email || '+'),
		q(UPDATE rolecall.units SET name = name || '+'),
		q(TRUNCATE rolecall.user_units)) {
		is($node->safe_psql($database, "$stale; $write; $stale"), "t|\nt|", "$way: fresh after $write");
	}
	is($node->safe_psql($database, q(SELECT rolecall.drop_projection('me'); SELECT (SELECT email FROM rolecall.users WHERE id = 1) = rolecall.me(1) ->> 'email'; SELECT app.hit('me', '1'))), "\nt\nt",
		"$way: the built-in me comes back, cached");
	return;
}

1;
