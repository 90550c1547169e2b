# Kits whose tables change: partitions, children, lookups, columns, expiring grants.
package Tables;

use strict;
use warnings;

use World;

my @numbers = map { "$_" } 1 .. 12;
my @uuids = map { sprintf '00000000-0000-0000-0000-%012d', $_ } 1 .. 12;
my @texts = map { "k$_" } 1 .. 12;
my $keys_of = sub { my (@keys) = @_; return 'unnest(ARRAY[' . join(', ', map { "'$_'" } @keys) . '])'; };

# --- Partitions, with uuid keys.
my $kind = sub { pick(qw(a b c d e)) };
my $events = sub { 'pa.events_' . $kind->() };
kit(
	name => 'pa', key => 'uuid', keys => \@uuids, watches => '{"pa.users": "id", "pa.events": "user_id"}',
	tables => { 'pa.users' => 'id', 'pa.events' => 'user_id', 'pa.events_a' => 'user_id', 'pa.events_b' => 'user_id' },
	setup => <<"SQL",
CREATE TABLE pa.users (id uuid PRIMARY KEY, name text);
CREATE TABLE pa.events (user_id uuid NOT NULL, kind text NOT NULL, n int NOT NULL DEFAULT 0) PARTITION BY LIST (kind);
CREATE TABLE pa.events_a PARTITION OF pa.events FOR VALUES IN ('a');
CREATE TABLE pa.events_b PARTITION OF pa.events FOR VALUES IN ('b');
CREATE TABLE pa.events_c PARTITION OF pa.events FOR VALUES IN ('c');
CREATE TABLE pa.events_d PARTITION OF pa.events FOR VALUES IN ('d') PARTITION BY RANGE (n);
CREATE TABLE pa.events_d1 PARTITION OF pa.events_d FOR VALUES FROM (MINVALUE) TO (500);
CREATE TABLE pa.events_d2 PARTITION OF pa.events_d FOR VALUES FROM (500) TO (MAXVALUE);
CREATE TABLE pa.events_e (n int NOT NULL DEFAULT 0, kind text NOT NULL, user_id uuid NOT NULL);
INSERT INTO pa.users SELECT k::uuid, 'user' FROM @{[ $keys_of->(@uuids) ]} k;
INSERT INTO pa.events SELECT k::uuid, kind, 1 FROM @{[ $keys_of->(@uuids) ]} k, unnest('{a,b,c,d}'::text[]) kind;
INSERT INTO pa.events_e SELECT 2, 'e', id FROM pa.users;
SQL
	view => q(CREATE VIEW pa.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'events',
		(SELECT jsonb_agg(e.kind || e.n ORDER BY e.kind, e.n) FROM pa.events e WHERE e.user_id = u.id)) AS doc FROM pa.users u),
	rows => [
		sub { sprintf q(UPDATE pa.users SET name = 'user %d' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO pa.events VALUES ('%s', '%s', %d)), one_of(@_), $kind->(), number(1000) },
		sub { sprintf q(UPDATE pa.events SET n = %d WHERE user_id = '%s' AND kind = '%s'), number(1000), one_of(@_), $kind->() },
		sub { sprintf q(UPDATE pa.events SET kind = '%s' WHERE user_id = '%s' AND kind = '%s'), $kind->(), one_of(@_), $kind->() },
		sub { sprintf q(UPDATE %s SET n = n + 1 WHERE user_id = '%s'), $events->(), one_of(@_) },
		sub { sprintf q(DELETE FROM pa.events WHERE user_id = '%s' AND n > 20), one_of(@_) },
		sub { sprintf q(COPY pa.events FROM PROGRAM 'printf "%s\t%s\t%d\n"'), one_of(@_), $kind->(), number(1000) },
		sub { sprintf q(INSERT INTO pa.users VALUES ('%s', 'again') ON CONFLICT (id) DO UPDATE SET name = 'conflict %d'), one_of(@_), number(1000) },
		sub { sprintf q(MERGE INTO pa.users u USING (SELECT '%s'::uuid AS id) s ON u.id = s.id WHEN MATCHED AND u.name LIKE '%%9' THEN DELETE WHEN MATCHED THEN UPDATE SET name = 'merged %d' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged')), one_of(@_), number(1000) },
	],
	ddl => [
		map({ my $k = $_; (
			[ "attach $k", sub { "ALTER TABLE pa.events ATTACH PARTITION pa.events_$k FOR VALUES IN ('$k')" } ],
			[ "detach $k", sub { "ALTER TABLE pa.events DETACH PARTITION pa.events_$k" } ],
			[ "detach and attach $k", sub { ("ALTER TABLE pa.events DETACH PARTITION pa.events_$k", "UPDATE pa.events_$k SET n = n + 1", "ALTER TABLE pa.events ATTACH PARTITION pa.events_$k FOR VALUES IN ('$k')") } ],
			[ "drop $k and create", sub { ("DROP TABLE IF EXISTS pa.events_$k", "CREATE TABLE pa.events_$k PARTITION OF pa.events FOR VALUES IN ('$k')",
				"INSERT INTO pa.events SELECT id, '$k', " . number(1000) . ' FROM pa.users') } ]) } qw(a c e)),
		[ 'drop b', sub { 'DROP TABLE pa.events_b' } ],
		[ 'create b', sub { (q(CREATE TABLE pa.events_b PARTITION OF pa.events FOR VALUES IN ('b')), q(INSERT INTO pa.events_b SELECT id, 'b', 7 FROM pa.users)) } ],
		[ 'a table is filled and attached', sub { ('DROP TABLE IF EXISTS pa.events_b', 'CREATE TABLE pa.events_b (LIKE pa.events)',
			q(INSERT INTO pa.events_b SELECT id, 'b', 8 FROM pa.users), q(ALTER TABLE pa.events ATTACH PARTITION pa.events_b FOR VALUES IN ('b'))) } ],
		[ 'subpartition detached', sub { 'ALTER TABLE pa.events_d DETACH PARTITION pa.events_d2' } ],
		[ 'subpartition attached', sub { ('UPDATE pa.events_d2 SET n = n + 1', 'ALTER TABLE pa.events_d ATTACH PARTITION pa.events_d2 FOR VALUES FROM (500) TO (MAXVALUE)') } ],
		[ 'default partition comes and goes', sub { ('CREATE TABLE pa.events_z PARTITION OF pa.events DEFAULT', 'DROP TABLE pa.events_z') } ],
		[ 'truncate a partition', sub { 'TRUNCATE ' . $events->() } ],
		[ 'partitions change names', sub { ('ALTER TABLE pa.events_a RENAME TO events_x', 'ALTER TABLE pa.events_c RENAME TO events_a', 'ALTER TABLE pa.events_x RENAME TO events_c') } ],
		[ 'primary key', sub { ('ALTER TABLE pa.events_a ADD CONSTRAINT checked CHECK (n >= -1) NOT VALID', 'ALTER TABLE pa.events_a DROP CONSTRAINT checked') } ],
	],
	alone => [
		map({ my $k = $_; [ "detach $k concurrently", sub { "ALTER TABLE pa.events DETACH PARTITION pa.events_$k CONCURRENTLY" } ] } qw(a c e)),
		[ 'detach concurrently, cancelled', sub { ('SET statement_timeout = ' . (1 + number(40)), 'ALTER TABLE pa.events DETACH PARTITION ' . $events->() . ' CONCURRENTLY', 'RESET statement_timeout') } ],
		[ 'cancel who detaches', sub { q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE%CONCURRENTLY%' AND pid <> pg_backend_pid()) } ],
		[ 'finalize', sub { 'ALTER TABLE pa.events DETACH PARTITION ' . $events->() . ' FINALIZE' } ],
		[ 'finalize and attach', sub { my $k = $kind->(); ("ALTER TABLE pa.events DETACH PARTITION pa.events_$k FINALIZE", "UPDATE pa.events_$k SET n = n + 1", "ALTER TABLE pa.events ATTACH PARTITION pa.events_$k FOR VALUES IN ('$k')") } ],
	]);

# --- Children by inheritance, with text keys.
my $child = sub { pick(qw(ch.notes ch.one ch.two ch.old)) };
kit(
	name => 'ch', key => 'text', keys => \@texts, watches => '{"ch.users": "id", "ch.notes": "user_id"}',
	tables => { 'ch.users' => 'id', 'ch.notes' => 'user_id', 'ch.one' => 'user_id' },
	setup => <<"SQL",
CREATE TABLE ch.users (id text PRIMARY KEY, name text);
CREATE TABLE ch.notes (user_id text NOT NULL, note text);
CREATE TABLE ch.one () INHERITS (ch.notes);
CREATE TABLE ch.two (extra int) INHERITS (ch.one);
CREATE TABLE ch.old (extra int, note text, user_id text NOT NULL);
INSERT INTO ch.users SELECT k, 'user' FROM @{[ $keys_of->(@texts) ]} k;
INSERT INTO ch.notes SELECT k, 'notes' FROM @{[ $keys_of->(@texts) ]} k;
INSERT INTO ch.one SELECT k, 'one' FROM @{[ $keys_of->(@texts) ]} k;
INSERT INTO ch.two SELECT k, 'two' FROM @{[ $keys_of->(@texts) ]} k;
INSERT INTO ch.old SELECT 1, 'old', k FROM @{[ $keys_of->(@texts) ]} k;
SQL
	view => q(CREATE VIEW ch.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'only', (SELECT count(*) FROM ONLY ch.notes n WHERE n.user_id = u.id),
		'notes', (SELECT jsonb_agg(n.note ORDER BY n.note) FROM ch.notes n WHERE n.user_id = u.id)) AS doc FROM ch.users u),
	rows => [
		sub { sprintf q(UPDATE ch.users SET name = 'user %d' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO %s (user_id, note) VALUES ('%s', 'note %d')), $child->(), one_of(@_), number(1000) },
		sub { sprintf q(UPDATE %s SET note = 'note %d' WHERE user_id = '%s'), $child->(), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE %s SET user_id = '%s' WHERE user_id = '%s'), $child->(), one_of(@_), one_of(@_) },
		sub { sprintf q(DELETE FROM ch.notes WHERE user_id = '%s' AND note ~ '[5-9]'), one_of(@_) },
	],
	ddl => [
		[ 'inherit', sub { 'ALTER TABLE ch.old INHERIT ch.notes' } ],
		[ 'no inherit', sub { 'ALTER TABLE ch.old NO INHERIT ch.notes' } ],
		[ 'grandchild no inherit', sub { 'ALTER TABLE ch.two NO INHERIT ch.one' } ],
		[ 'grandchild inherit', sub { ('UPDATE ch.two SET note = note || 1', 'ALTER TABLE ch.two INHERIT ch.one') } ],
		[ 'child created', sub { ('CREATE TABLE ch.new (more int) INHERITS (ch.notes)', q(INSERT INTO ch.new SELECT id, 'new' FROM ch.users)) } ],
		[ 'child dropped', sub { 'DROP TABLE IF EXISTS ch.new' } ],
		[ 'child made again', sub { ('DROP TABLE IF EXISTS ch.new', 'CREATE TABLE ch.new () INHERITS (ch.one)', q(INSERT INTO ch.new SELECT id, 'anew' FROM ch.users)) } ],
		[ 'triggers of a child renamed, child dropped', sub { (q(SELECT checker.each_trigger('ch.two', 'ALTER TRIGGER %1$I ON %2$s RENAME TO %3$I')), 'DROP TABLE ch.two',
			'CREATE TABLE ch.two (extra int) INHERITS (ch.one)', q(INSERT INTO ch.two SELECT id, 'two' FROM ch.users)) } ],
		[ 'child with disabled triggers', sub { ('ALTER TABLE ch.one DISABLE TRIGGER USER', q(UPDATE ch.one SET note = 'unseen')) } ],
		[ 'child with enabled triggers', sub { ('ALTER TABLE ch.one ENABLE TRIGGER USER', q(UPDATE ch.one SET note = 'seen')) } ],
		[ 'a temporary child', sub { ('CREATE TEMP TABLE IF NOT EXISTS c () INHERITS (ch.notes)', sprintf(q(INSERT INTO c VALUES ('%s', 'temporary')), pick(@texts))) } ],
		[ 'no temporary child', sub { 'DROP TABLE IF EXISTS pg_temp.c' } ],
	]);

# --- Lookups by key and without, with char(n) keys.
my @chars = map { "c$_" } 1 .. 12;
kit(
	name => 'lo', key => 'char(4)', keys => \@chars, watches => '{"lo.users": "id", "lo.members": "user_id", "lo.teams": {"lookup": "id"}, "lo.settings": null}',
	tables => { 'lo.users' => 'id', 'lo.members' => 'user_id', 'lo.teams' => 'id', 'lo.settings' => undef },
	setup => <<"SQL",
CREATE TABLE lo.users (id char(4) PRIMARY KEY, name text);
CREATE TABLE lo.teams (id int UNIQUE, other int, name text);
CREATE TABLE lo.members (user_id char(4) NOT NULL, team int REFERENCES lo.teams (id), other int);
CREATE TABLE lo.settings (greeting text);
INSERT INTO lo.users SELECT k, 'user' FROM @{[ $keys_of->(@chars) ]} k;
INSERT INTO lo.teams SELECT g, g + 100, 'team ' || g FROM generate_series(1, 5) g;
INSERT INTO lo.members SELECT k, g, g FROM @{[ $keys_of->(@chars) ]} k, generate_series(1, 3) g;
INSERT INTO lo.settings VALUES ('hello');
SQL
	view => q(CREATE VIEW lo.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'greeting', (SELECT jsonb_agg(s.greeting ORDER BY s.greeting) FROM lo.settings s),
		'teams', (SELECT jsonb_agg(t.name ORDER BY t.name) FROM lo.members m JOIN lo.teams t ON t.id = m.team WHERE m.user_id = u.id)) AS doc FROM lo.users u),
	rows => [
		sub { sprintf q(UPDATE lo.users SET name = 'user %d' WHERE id = '%s'), number(1000), one_of(@_) },
		sub { sprintf q(UPDATE lo.teams SET name = 'team %d' WHERE name IN (SELECT name FROM lo.teams ORDER BY md5(name || %d) LIMIT 1)), number(1000), number(1000) },
		sub { sprintf q(UPDATE lo.settings SET greeting = 'hello %d'), number(1000) },
		sub { sprintf q(INSERT INTO lo.members VALUES ('%s', %d, %d)), one_of(@_), 1 + number(5), 1 + number(5) },
		sub { sprintf q(DELETE FROM lo.members WHERE user_id = '%s'), one_of(@_) },
		sub { sprintf q(UPDATE lo.members SET team = %d WHERE user_id = '%s'), 1 + number(5), one_of(@_) },
	],
	ddl => [
		[ 'columns of the lookup change places', sub { ('ALTER TABLE lo.teams RENAME id TO x', 'ALTER TABLE lo.teams RENAME other TO id', 'ALTER TABLE lo.teams RENAME x TO other') } ],
		[ 'columns that refer change places', sub { ('ALTER TABLE lo.members RENAME team TO x', 'ALTER TABLE lo.members RENAME other TO team', 'ALTER TABLE lo.members RENAME x TO other') } ],
		[ 'a column that refers has another name', sub { 'ALTER TABLE lo.members RENAME team TO team_id' } ],
		[ '... and its own', sub { 'ALTER TABLE lo.members RENAME team_id TO team' } ],
		[ 'foreign key goes', sub { 'ALTER TABLE lo.members DROP CONSTRAINT IF EXISTS members_team_fkey' } ],
		[ 'foreign key comes', sub { 'ALTER TABLE lo.members ADD CONSTRAINT members_team_fkey FOREIGN KEY (team) REFERENCES lo.teams (id) ON UPDATE CASCADE NOT VALID' } ],
		[ 'tables change names', sub { ('ALTER TABLE lo.teams RENAME TO x', 'CREATE TABLE lo.teams (id int, name text)', 'DROP TABLE lo.teams', 'ALTER TABLE lo.x RENAME TO teams') } ],
		[ 'lookup moves to another schema and back', sub { ('ALTER TABLE lo.teams SET SCHEMA checker', 'ALTER TABLE checker.teams SET SCHEMA lo') } ],
		[ 'settings truncated', sub { ('TRUNCATE lo.settings', q(INSERT INTO lo.settings VALUES ('truncated'))) } ],
		[ 'unwatched and watched', sub { (q(SELECT rolecall.unwatch('lo', 'lo.settings')), q(UPDATE lo.settings SET greeting = 'not watched'), q(SELECT rolecall.watch_lookup('lo', 'lo.settings'))) } ],
		[ 'unwatched', sub { (q(SELECT rolecall.unwatch('lo', 'lo.settings')), sprintf(q(UPDATE lo.settings SET greeting = 'not watched %d'), number(99))) } ],
		[ 'watched', sub { q(SELECT rolecall.watch_lookup('lo', 'lo.settings')) } ],
	]);

# --- Columns that change, with bigint keys.
my $columns_view = q(CREATE VIEW cl.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'extra', u.extra, 'num', u.num, 'total', u.total, 'row', to_jsonb(u)) AS doc FROM cl.users u);
kit(
	name => 'cl', key => 'bigint', keys => \@numbers, watches => '{"cl.users": "id"}', view => $columns_view, tables => { 'cl.users' => 'id' },
	setup => <<'SQL',
CREATE TABLE cl.users (id bigint NOT NULL, new_id bigint, name text, extra text, num int DEFAULT 1, total bigint GENERATED ALWAYS AS (num + 1) STORED);
INSERT INTO cl.users (id, new_id, name, extra) SELECT g, 13 - g, 'user ' || g, 'extra ' || g FROM generate_series(1, 12) g;
SQL
	rows => [
		sub { sprintf q(UPDATE cl.users SET name = 'user %d' WHERE ctid = (SELECT ctid FROM cl.users ORDER BY md5(id::text || %d) LIMIT 1)), number(1000), number(1000) },
		sub { sprintf q(UPDATE cl.users SET num = %d WHERE ctid = (SELECT ctid FROM cl.users ORDER BY md5(id::text || %d) LIMIT 1)), number(1000), number(1000) },
		sub { sprintf q(UPDATE cl.users SET extra = %d WHERE id = %d), number(1000), one_of(@_) },
		sub { my $key = one_of(@_); sprintf q(INSERT INTO cl.users (id, new_id, name) SELECT %d, %d, 'new' WHERE NOT EXISTS (SELECT FROM cl.users WHERE id = %d OR new_id = %d)), $key, 13 - $key, $key, 13 - $key },
	],
	ddl => [
		[ 'the key and another column change places', sub { ('ALTER TABLE cl.users RENAME id TO x', 'ALTER TABLE cl.users RENAME new_id TO id', 'ALTER TABLE cl.users RENAME x TO new_id') } ],
		[ 'two columns change places', sub { ('ALTER TABLE cl.users RENAME name TO x', 'ALTER TABLE cl.users RENAME extra TO name', 'ALTER TABLE cl.users RENAME x TO extra') } ],
		[ 'a column changes its type', sub { (q(SELECT rolecall.drop_projection('cl')), 'DROP VIEW cl.v', sprintf('ALTER TABLE cl.users ALTER extra TYPE %s USING NULL', pick(qw(text int varchar(9)))),
			$columns_view, create_projection($World::kits{cl})) } ],
		[ '... and the projection stays', sub { ('DROP VIEW cl.v', sprintf('ALTER TABLE cl.users ALTER new_id TYPE bigint USING new_id, ALTER extra TYPE text USING extra || %d', number(99)), $columns_view,
			q(UPDATE rolecall.projections SET view = 'cl.v' WHERE name = 'cl')) } ],
		[ 'a default', sub { sprintf 'ALTER TABLE cl.users ALTER num SET DEFAULT %d', number(99) } ],
		[ 'a generated column', sub { 'ALTER TABLE cl.users ADD COLUMN IF NOT EXISTS twice int GENERATED ALWAYS AS (num * 2) STORED' } ],
		[ 'no generated column', sub { 'ALTER TABLE cl.users DROP COLUMN IF EXISTS twice' } ],
		[ 'column has another name', sub { 'ALTER TABLE cl.users RENAME num TO number' } ],
		[ '... and its own', sub { 'ALTER TABLE cl.users RENAME number TO num' } ],
		[ 'generated from nothing', sub { 'ALTER TABLE cl.users ALTER total DROP EXPRESSION IF EXISTS' } ],
		[ 'statistics', sub { 'ALTER TABLE cl.users ALTER num SET STATISTICS 10' } ],
		[ 'key not null', sub { ('ALTER TABLE cl.users ALTER id DROP NOT NULL') } ],
		[ 'rewritten', sub { 'ALTER TABLE cl.users ADD COLUMN volatile float DEFAULT random(), DROP COLUMN IF EXISTS volatile' } ],
		[ 'replica identity', sub { 'ALTER TABLE cl.users REPLICA IDENTITY FULL' } ],
	],
	alone => [ [ 'vacuum full', sub { 'VACUUM FULL cl.users' } ], [ 'vacuum', sub { 'VACUUM (FREEZE) cl.users' } ], [ 'reindex', sub { 'REINDEX TABLE CONCURRENTLY cl.users' } ] ]);

# --- Grants that expire, with smallint keys.
my $windows_view = q(CREATE VIEW wi.v AS SELECT u.id AS uid, jsonb_build_object('name', u.name, 'roles',
	(SELECT jsonb_agg(g.role ORDER BY g.role) FROM wi.grants g WHERE g.user_id = u.id AND (g.until IS NULL OR g.until > now()))) AS doc,
	(SELECT max(g.until) FROM wi.grants g WHERE g.user_id = u.id AND g.until <= now()) AS valid_from,
	(SELECT min(g.until) FROM wi.grants g WHERE g.user_id = u.id AND g.until > now()) AS valid_until FROM wi.users u);
kit(
	name => 'wi', key => 'smallint', keys => \@numbers, watches => '{"wi.users": "id", "wi.grants": "user_id"}', view => $windows_view,
	tables => { 'wi.users' => 'id', 'wi.grants' => 'user_id' },
	setup => <<'SQL',
CREATE TABLE wi.users (id smallint PRIMARY KEY, name text);
CREATE TABLE wi.grants (user_id smallint, role text, until timestamptz);
INSERT INTO wi.users SELECT g, 'user' FROM generate_series(1, 12) g;
INSERT INTO wi.grants SELECT g, 'role', CASE WHEN g % 2 = 0 THEN now() + g * interval '1 second' END FROM generate_series(1, 12) g;
SQL
	rows => [
		sub { sprintf q(UPDATE wi.users SET name = 'user %d' WHERE id = %d), number(1000), one_of(@_) },
		sub { sprintf q(INSERT INTO wi.grants VALUES (%d, 'role %d', clock_timestamp() + %d * interval '1 ms')), one_of(@_), number(9), number(80) },
		sub { sprintf q(UPDATE wi.grants SET until = %s WHERE user_id = %d), pick(q('infinity'), q('-infinity'), 'NULL', 'now()', q(clock_timestamp() + interval '30 ms')), one_of(@_) },
		sub { sprintf q(DELETE FROM wi.grants WHERE user_id = %d AND until < clock_timestamp()), one_of(@_) },
		sub { sprintf q(UPDATE wi.grants SET user_id = %d WHERE user_id = %d), one_of(@_), one_of(@_) },
	],
	ddl => [
		map { my $type = $_; [ "windows of type $type", sub { (q(SELECT rolecall.drop_projection('wi')), 'DROP VIEW wi.v', "ALTER TABLE wi.grants ALTER until TYPE $type", $windows_view, create_projection($World::kits{wi})) } ] }
		  'timestamp', 'timestamptz', 'timestamptz(0)' ]);

1;
