# Loading all documents of a projection in one pass of its view: that all are there, that nothing old is, and that nobody
# has to wait for it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('load_all', <<'CONF', allows_streaming => 1);
rolecall.debug_points = on
max_connections = 30
CONF
create_extension($node);

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub progress { my ($columns, $projection) = @_; return sql("SELECT $columns FROM rolecall.stat_progress WHERE projection = '" . ($projection // 'me') . "'"); }
sub wait_for_phase {
	my ($phase, $projection) = @_;
	$node->poll_query_until('postgres', "SELECT phase = '$phase' FROM rolecall.stat_progress WHERE projection = '" . ($projection // 'me') . "'")
		or die 'it is ' . progress('*', $projection);
	return;
}
sub reload { my ($projection) = @_; sql('SELECT rolecall.reload(\'' . ($projection // 'me') . '\')'); return; }
sub loaders { return sql(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rolecall loader')); }

# How many documents of me are answered by the cache, and how many of them are not what the view says.
sub hits_and_differences {
	return sql(<<'SQL') =~ s/\n/ /r;
SELECT hits AS before FROM rolecall.stat_projection WHERE projection = 'me' \gset
SELECT count(*) AS wrong FROM rolecall.me_view WHERE rolecall.me(uid) IS DISTINCT FROM doc \gset
SELECT hits - :before, :wrong FROM rolecall.stat_projection WHERE projection = 'me';
SQL
}

sql(<<'SQL');
INSERT INTO rolecall.users (email, display_name) SELECT 'more' || g || '@example.org', repeat('x', g % 100) FROM generate_series(21, 3000) g;
INSERT INTO rolecall.user_roles (user_id, role, expires_at) SELECT id, 'member', CASE WHEN id % 10 = 0 THEN now() + interval '1 hour' END FROM rolecall.users;
INSERT INTO rolecall.user_units SELECT u.id, n.id, 'member' FROM rolecall.users u, rolecall.units n WHERE n.institutional_id = 'u' || u.id % 3;
ANALYZE;
SQL

# ---- All of it ----------------------------------------------------------------------------------------------------

is(progress('count(*)'), '0', 'nothing was loaded');
reload();
wait_for_phase('done');
is(progress('documents_read, documents_loaded, documents_failed, message IS NULL, pid IS NULL, ended_at >= started_at, started_at >= requested_at'), '3000|3000|0|t|t|t|t',
	'004-3: one call loads everybody');
is(progress('documents_total BETWEEN 2000 AND 4000'), 't', 'how many to expect was known');
is(sql(q(SELECT entries, loads FROM rolecall.stat_projection WHERE projection = 'me')), '3000|0', '004-9: all users are there, and no query was for one');
is(hits_and_differences(), '3000|0', 'and the cache answers for all, as the view would');
is(sql(q(SELECT count(*) FROM rolecall.users u WHERE rolecall.has_role(u.id, 'member'))), '3000', 'also for roles');
is(sql(q(SELECT valid_until IS NOT NULL FROM rolecall.cache_entry('me', '10'))), 't', 'with the time for which they hold');
wait_for('the loader to leave', sub { loaders() == 0 });

# Groups were read with them: whoever refers to a changed row is read anew, and nobody else. A unit whose stamp some user
# shares by chance, as one in 40 does, is no good for that: it touches somebody while it has no members.
sql(q(INSERT INTO rolecall.units (institutional_id, name) SELECT 'spare' || g, 'one' FROM generate_series(1, 9) g));
my @alone = grep { sql("UPDATE rolecall.units SET name = 'other' WHERE institutional_id = '$_'"); hits_and_differences() eq '3000|0' } map { "spare$_" } 1 .. 9;
sql("INSERT INTO rolecall.user_units SELECT u.id, n.id, 'member' FROM rolecall.users u, rolecall.units n WHERE n.institutional_id = '$alone[0]' AND u.id % 3 = 1");
reload();
wait_for_phase('done');
sql("UPDATE rolecall.units SET name = 'another' WHERE institutional_id = '$alone[0]'");
is(hits_and_differences(), '2000|0', 'a unit that is renamed afterwards touches its members');

# ---- What changes while it runs -----------------------------------------------------------------------------------

# The view was read, under a snapshot that is older than all of this.
sub change_during_pass {
	my ($what, $change, @uids) = @_;
	hold($node, 'pass-before-install');
	reload();
	wait_at($node, 'pass-before-install');
	sql($change);
	is(sql(is_difference($_)), 'f', "$what: user $_ is right while the pass waits") for @uids;
	release($node, 'pass-before-install');
	wait_for_phase('done');
	is(sql(is_difference($_)), 'f', "$what: and is right afterwards") for @uids;
	is(hits_and_differences() =~ s/.*\|//r, 0, "$what: as is everybody");
	return;
}
# Nobody reads it before the pass goes on.
change_during_pass('an update', q(UPDATE rolecall.users SET display_name = 'v2' WHERE id = 5));
change_during_pass('an update', q(UPDATE rolecall.users SET display_name = 'v3' WHERE id IN (5, 6, 7)), 5);
change_during_pass('a delete', q(DELETE FROM rolecall.users WHERE id = 9));
change_during_pass('a grant', q(INSERT INTO rolecall.user_roles (user_id, role) VALUES (11, 'admin')), 11);
change_during_pass('a renamed unit', q(UPDATE rolecall.units SET name = 'yet another' WHERE institutional_id = 'u2'));
change_during_pass('a new member', q(INSERT INTO rolecall.user_units SELECT 3, id, 'member' FROM rolecall.units WHERE institutional_id = 'u1'), 3);

# It commits when the pass is over: its stamp was there before.
hold($node, 'pass-before-install');
my $writer = session($node);
$writer->query_safe(q(BEGIN; UPDATE rolecall.users SET display_name = 'v4' WHERE id = 13));
reload();
wait_at($node, 'pass-before-install');
release($node, 'pass-before-install');
wait_for_phase('done');
is(progress('documents_read - documents_loaded BETWEEN 1 AND 20'), 't', 'whose writer has not finished is not loaded, nor who shares a stamp');
$writer->query_safe('COMMIT');
is(sql(is_difference(13)), 'f', 'and is right afterwards');

# DDL: open, about to be committed, and until its end is known to all sessions; and lookups without a key.
sql(q(CREATE FUNCTION titled(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'first ' || $1 $$;
      CREATE TABLE titles (id int PRIMARY KEY, title text); INSERT INTO titles SELECT g, 'number ' || g FROM generate_series(1, 2000) g;
      CREATE TABLE settings (word text); INSERT INTO settings VALUES ('one');
      CREATE VIEW title_view AS SELECT id, jsonb_build_object('title', titled(t.title), 'word', (SELECT word FROM settings)) AS doc FROM titles t;
      SELECT rolecall.create_projection('title', 'title_view', 'id', 'doc', watches => '{"public.titles": "id", "public.settings": null}')));
sub wrong_titles { return sql(q(SELECT count(*) FROM title_view WHERE rolecall.project('title', id::text) IS DISTINCT FROM doc)); }
reload('title');
wait_for_phase('done', 'title');
is(progress('documents_loaded, documents_read', 'title'), '2000|2000', 'keys of type integer');
for my $change (q(CREATE OR REPLACE FUNCTION titled(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'second ' || $1 $$),
	q(UPDATE settings SET word = 'two')) {
	hold($node, 'pass-before-install');
	reload('title');
	wait_at($node, 'pass-before-install');
	sql($change);
	release($node, 'pass-before-install');
	wait_for_phase('done', 'title');
	is(wrong_titles(), 0, "never stale: $change");
}
$writer->query_safe(q(BEGIN; CREATE OR REPLACE FUNCTION titled(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'third ' || $1 $$));
reload('title');
wait_for_phase('done', 'title');
is(progress('documents_loaded, documents_read', 'title'), '2000|2000', 'a change of definitions that is open keeps no document out');
$writer->query_safe(q(PREPARE TRANSACTION 'titled'));
reload('title');
wait_for_phase('waiting', 'title');
pass('a load waits while one is about to be committed');
sql(q(COMMIT PREPARED 'titled'));
wait_for_phase('done', 'title');
is(progress('documents_loaded, documents_read', 'title'), '2000|2000', 'and goes on');
is(wrong_titles(), 0, 'with the new definition');

$writer->quit;

# ---- Keys and views of all kinds ----------------------------------------------------------------------------------

sql(<<'SQL');
CREATE TABLE things (i bigint, u uuid UNIQUE, t text UNIQUE, c char(10) UNIQUE, v varchar UNIQUE, word text);
INSERT INTO things SELECT g, md5(g::text)::uuid, 'Käse ' || g, 'c' || g, 'v' || g, 'word ' || g FROM generate_series(1, 1200) g;
INSERT INTO things (word) VALUES ('without keys'), ('again');
SQL
for my $column (qw(u t c v)) {
	sql(<<SQL);
CREATE VIEW things_by_$column AS SELECT $column, CASE WHEN i % 7 <> 0 THEN jsonb_build_object('word', word) END AS doc FROM things;
SELECT rolecall.create_projection('by_$column', 'things_by_$column', '$column', 'doc', watches => '{"public.things": "$column"}');
SQL
	reload("by_$column");
	wait_for_phase('done', "by_$column");
	is(progress('documents_loaded, documents_read', "by_$column"), '1200|1200', "keys in $column: all but NULL are loaded");
	is(sql(qq(SELECT count(*) FROM things_by_$column WHERE $column IS NOT NULL AND rolecall.project('by_$column', $column\::text) IS DISTINCT FROM doc)), 0, 'and right');
	is(sql(qq(SELECT hits, loads FROM rolecall.stat_projection WHERE projection = 'by_$column')), '1200|1', 'from the cache; the one load is of its creation');
	sql(qq(SELECT rolecall.drop_projection('by_$column')));
}

# Several rows for a key: an error, for who reads it and for the pass, however far apart they were read.
sql(<<'SQL');
CREATE VIEW twice AS SELECT i, jsonb_build_object('word', word) AS doc FROM things UNION ALL SELECT i, '{}' FROM things WHERE i IN (500, 1000);
SELECT rolecall.create_projection('twice', 'twice', 'i', 'doc', watches => '{"public.things": "i"}');
SQL
reload('twice');
wait_for_phase('done', 'twice');
is(progress('documents_read, documents_loaded, documents_failed', 'twice'), '1200|1198|2', 'keys with several rows are not loaded');
like(error_of($node, "SELECT rolecall.project('twice', '$_')"), qr/more than one row for a key/, 'nor is the first of them shown') for 500, 1000;

# A view that raises an error for some: the others are loaded.
sql(<<'SQL');
CREATE VIEW broken AS SELECT i, jsonb_build_object('quotient', 1 / (i - 700), 'word', word) AS doc FROM things;
SELECT rolecall.create_projection('broken', 'broken', 'i', 'doc', watches => '{"public.things": "i"}');
SQL
reload('broken');
wait_for_phase('done', 'broken');
is(progress('documents_read, documents_loaded, documents_failed', 'broken'), '1200|1199|1', 'a view that raises an error for one key');
like(slurp_file($node->logfile), qr/LOG:  could not load a document of projection "broken": division by zero\n.*DETAIL:  The key is 700\./, 'which the log names');
sql(q(CREATE OR REPLACE VIEW broken AS SELECT i, jsonb_build_object('quotient', 1 / (i - i), 'word', word) AS doc FROM things));
reload('broken');
wait_for_phase('failed', 'broken');
like(progress('message', 'broken'), qr/division by zero/, 'one that raises it for all');
wait_for('the loader to leave', sub { loaders() == 0 });
is(scalar(() = slurp_file($node->logfile) =~ /could not load a document of projection "broken"/g), 11, 'the log is not filled with it');

# With a ttl: the time counts from the snapshot, and invalidate() is heard.
sql(q(CREATE VIEW timed AS SELECT i, jsonb_build_object('word', word, 'at', clock_timestamp()) AS doc FROM things WHERE i < 100;
      SELECT rolecall.create_projection('timed', 'timed', 'i', 'doc', ttl => '1 hour')));
hold($node, 'pass-before-install');
reload('timed');
wait_at($node, 'pass-before-install');
sql(q(UPDATE things SET word = 'newer' WHERE i = 50; SELECT rolecall.invalidate('timed', '50')));
release($node, 'pass-before-install');
wait_for_phase('done', 'timed');
is(progress('documents_read - documents_loaded BETWEEN 1 AND 20', 'timed'), 't', 'with a ttl: what was invalidated meanwhile is not loaded');
is(sql(q(SELECT rolecall.project('timed', '50') ->> 'word')), 'newer', 'but read anew');
is(sql(q(SELECT loaded_at <= (rolecall.project('timed', '60') ->> 'at')::timestamptz FROM rolecall.cache_entry('timed', '60'))), 't', 'its time begins before it was read');

# A session that loads one document may be behind as well.
sql(q(SELECT rolecall.invalidate('timed', '51')));
hold($node, 'before-install');
my $reader = session($node);
begin_query($reader, q(SELECT rolecall.project('timed', '51')));
wait_at($node, 'before-install');
sql(q(UPDATE things SET word = 'newer' WHERE i = 51; SELECT rolecall.invalidate('timed', '51')));
release($node, 'before-install');
finish_query($reader);
$reader->quit;
is(sql(q(SELECT rolecall.project('timed', '51') ->> 'word')), 'newer', 'what was invalidated while it was loaded is read anew');

# ---- Nobody waits -------------------------------------------------------------------------------------------------

# Its creation reads one document.
sql(q(CREATE TABLE slowness (seconds int); INSERT INTO slowness VALUES (0);
      CREATE VIEW slow AS SELECT i, jsonb_build_object('slept', pg_sleep(seconds) IS NULL) AS doc FROM things, slowness;
      SELECT rolecall.create_projection('slow', 'slow', 'i', 'doc', ttl => '1 hour');
      UPDATE slowness SET seconds = 3600));
sub wait_for_slow_load {
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall loader' AND wait_event = 'PgSleep')) or die;
	return;
}
sub begin_slow_load { reload('slow'); wait_for_slow_load(); return; }
begin_slow_load();
is(progress('phase, pid IS NOT NULL', 'slow'), 'loading|t', 'a load under way');
is(sql(q(SELECT rolecall.cancel_reload('slow'))), 't', 'cancelled');
wait_for_phase('cancelled', 'slow');
is(sql(q(SELECT rolecall.cancel_reload('slow'))), 'f', 'there is none any more');
begin_slow_load();
sql(q(SELECT pg_cancel_backend(pid) FROM rolecall.stat_progress WHERE projection = 'slow'));
wait_for_phase('cancelled', 'slow');
begin_slow_load();
sql(q(SELECT rolecall.reload('title')));
is(progress('phase', 'title'), 'requested', 'another waits for its turn');
sql(q(SELECT rolecall.cancel_reload('slow')));
wait_for_phase('done', 'title');
pass('and has it');
begin_slow_load();
sql(q(SELECT pg_terminate_backend(pid) FROM rolecall.stat_progress WHERE projection = 'slow'));
wait_for_phase('failed', 'slow');
is(progress('message', 'slow'), 'the process that loaded was ended', 'terminated: no restart loop');
begin_slow_load();
sql(q(SET statement_timeout = '5s'; SELECT rolecall.drop_projection('slow')));
pass('drop_projection() does not wait for a load');
sql(q(UPDATE slowness SET seconds = 0; SELECT rolecall.create_projection('slow', 'slow', 'i', 'doc', ttl => '1 hour'); UPDATE slowness SET seconds = 3600));
begin_slow_load();
is(($node->psql('template1', q(CREATE DATABASE other TEMPLATE postgres)))[0], 0, 'CREATE DATABASE ... TEMPLATE ends it');
wait_for_slow_load();
pass('it is taken up again');
sql(q(SELECT rolecall.cancel_reload('slow')));
$node->safe_psql('other', q(SELECT rolecall.reload('slow')));
$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'rolecall loader' AND datname = 'other' AND wait_event = 'PgSleep')) or die;
is(($node->psql('postgres', q(DROP DATABASE other)))[0], 0, 'DROP DATABASE does not wait');
begin_slow_load();
sql(q(SET statement_timeout = '5s'; DROP EXTENSION rolecall CASCADE));
pass('nor does DROP EXTENSION');
wait_for('the loader to leave', sub { loaders() == 0 });
sql(q(DROP SCHEMA test CASCADE));

# ---- A full cache -------------------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', "rolecall.cache_size = 16MB\n");
$node->restart;
create_extension($node);
sql(q(INSERT INTO rolecall.users (email, metadata) SELECT 'more' || g || '@example.org', jsonb_build_object('long', repeat('x', 3000)) FROM generate_series(21, 20000) g; ANALYZE));
my $evictions = sql('SELECT evictions FROM rolecall.stat_cache');
reload();
wait_for_phase('cache full');
like(progress('message'), qr/the cache is full/, 'a cache that is too small: it says so');
is(progress('documents_loaded < documents_read AND documents_loaded > 1000'), 't', 'and ends before it has read everybody');
is(progress('documents_read < 20000'), 't', 'and stops');
is(sql('SELECT evictions FROM rolecall.stat_cache') - $evictions, 0, 'nothing was pushed out');
like(slurp_file($node->logfile), qr/the cache is full after \d+ documents of projection "me" were loaded\n.*HINT:  Raise rolecall.cache_size/, 'so does the log');
sql(q(DELETE FROM rolecall.users WHERE id > 2000));

# ---- At the server's start ----------------------------------------------------------------------------------------

sql(q(CREATE DATABASE cold TEMPLATE postgres; ALTER DATABASE postgres SET rolecall.warm_on_start = on));
$node->restart;
wait_for_phase('done');
is(progress('documents_loaded, documents_read'), '2000|2000', '004-3: warm_on_start loads everybody when the server starts');
is(sql(q(SELECT entries, hits, misses FROM rolecall.stat_cache)), '2000|0|0', 'before anybody reads');
is($node->safe_psql('cold', 'SELECT count(*) FROM rolecall.stat_progress'), 0, 'where it is on');
is(hits_and_differences(), '2000|0', 'and right');
wait_for('the loader to leave', sub { loaders() == 0 });
$node->append_conf('postgresql.conf', "default_transaction_isolation = 'serializable'\n");
$node->restart;
wait_for_phase('done');
is(sql(q(SELECT entries FROM rolecall.stat_cache)), 2000, 'whatever the default of isolation');

# A standby loads nothing, until it is promoted.
$node->append_conf('postgresql.conf', "default_transaction_isolation = 'read committed'\n");
$node->reload;
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
$node->stop;
$node = $standby;
is(sql(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'rolecall%')), 0, 'no process of ours on a standby');
$node->promote;
wait_for_phase('done');
is(sql(q(SELECT entries FROM rolecall.stat_cache)), 2000, 'once it is promoted, warm_on_start loads everybody');

$node->stop;
done_testing();
