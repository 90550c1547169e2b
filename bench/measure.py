"""The measurements of bench/run. Each section is a function that prints Markdown.

Runs as the server's user, with the private installation on the path and the environment of scripts/lib.sh.
"""
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import time

WORK = os.environ['WORK']
CORE = '0'
USERS = 10_000
CROWDS = [int(users) for users in os.environ.get('CROWDS', '1000 100000 1000000').split()]
ROUNDS = int(os.environ.get('ROUNDS', '7'))
SECONDS = float(os.environ.get('SECONDS_PER_ROUND', '2'))


def run(*command, **kwargs):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout


class Server:
    """A cluster, pinned to one core unless told otherwise. load_users() makes the extension and users that have three roles
    and two units each."""

    port = '5432'

    def __init__(self, name, *settings, pinned=True):
        self.directory = f'{WORK}/{name}'
        run('initdb', '-D', self.directory, '-A', 'trust', '-U', 'postgres', '--no-locale', '-E', 'UTF8', '--no-sync')
        with open(f'{self.directory}/postgresql.conf', 'a') as conf:
            conf.write('\n'.join([
                "shared_preload_libraries = 'rolecall'", "listen_addresses = ''", f"unix_socket_directories = '{WORK}'",
                'fsync = off', 'autovacuum = off', 'shared_buffers = 512MB', 'jit = off', *settings, '']))
        self.start(pinned)

    def start(self, pinned=True):
        pin = ['taskset', '-c', CORE] if pinned else []
        run(*pin, 'pg_ctl', '-D', self.directory, '-l', f'{self.directory}.log', '-w', '-s', 'start',
            '-o', f'-p {self.port}', stderr=subprocess.STDOUT)

    def stop(self):
        run('pg_ctl', '-D', self.directory, '-m', 'fast', '-s', 'stop')

    def sql(self, text):
        return run('psql', '-XqAt', '-p', self.port, '-v', 'ON_ERROR_STOP=1', '-c', text).strip()

    def statements(self, text):
        """The same, each a transaction of its own."""
        return run('psql', '-XqAt', '-p', self.port, '-v', 'ON_ERROR_STOP=1', input=text).strip()

    def load_users(self, count):
        self.sql(f'''
            CREATE EXTENSION rolecall;
            INSERT INTO rolecall.tenants (slug, name) SELECT 't' || g, 'Tenant ' || g FROM generate_series(1, 10) g;
            INSERT INTO rolecall.roles (name, priority) SELECT 'role' || g, g FROM generate_series(1, 20) g;
            INSERT INTO rolecall.units (institutional_id, name) SELECT 'unit' || g, 'Unit number ' || g FROM generate_series(1, 500) g;
            INSERT INTO rolecall.users (email, display_name, function, tenant_id)
            SELECT 'user' || g || '@example.org', 'User number ' || g, 'Collaborator', t.id
            FROM generate_series(1, {count}) g JOIN (SELECT id, row_number() OVER () AS n FROM rolecall.tenants) t ON t.n = 1 + g % 10;
            INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id)
            SELECT g, 'role' || (1 + (g + r) % 20), 'institutional', 'unit' || (1 + (g * r) % 500)
            FROM generate_series(1, {count}) g, generate_series(1, 3) r;
            INSERT INTO rolecall.user_units SELECT g, 1 + (g + r * 250) % 500, 'role1' FROM generate_series(1, {count}) g, generate_series(0, 1) r;
            CREATE TABLE bench_document AS SELECT doc FROM rolecall.me_view WHERE uid = 17;
            CREATE FUNCTION bench_constant(bigint) RETURNS jsonb LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'rolecall_bench';
            CREATE FUNCTION bench_nothing(bigint) RETURNS boolean LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'rolecall_bench';
            CREATE FUNCTION bench_mark() RETURNS boolean LANGUAGE c VOLATILE AS 'rolecall_bench';
        ''')
        self.sql('VACUUM ANALYZE')

    def pgbench(self, script, clients=1):
        """Transactions per second of a pgbench script."""
        path = f'{WORK}/script.sql'
        with open(path, 'w') as file:
            file.write(script)
        out = run('taskset', '-c', CORE, 'pgbench', '-n', '-M', 'prepared', '-c', str(clients), '-T', f'{SECONDS:.0f}', '-f', path)
        return float(re.search(r'^tps = ([0-9.]+)', out, re.M).group(1))

    def nanoseconds(self, expression, calls):
        """Per call of an expression over generate_series, the loop not taken off; after a first pass to warm up."""
        return float(self.sql(f'''
            SET max_parallel_workers_per_gather = 0;
            DO $$
            DECLARE t timestamptz; n bigint;
            BEGIN
                SELECT count({expression}) INTO n FROM generate_series(1, {min(calls, USERS)}) g;
                t := clock_timestamp();
                SELECT count({expression}) INTO n FROM generate_series(1, {calls}) g;
                PERFORM set_config('bench.ns', (extract(epoch FROM clock_timestamp() - t) * 1e9 / {calls})::text, false);
            END $$;
            SELECT current_setting('bench.ns')'''))


    def instructions(self, expressions, calls=20_000):
        """name -> instructions per call of an expression over generate_series, the loop not taken off, after a pass to warm
        up. Counted by callgrind in a server of one process, which stops this one."""
        self.stop()
        queries = []
        for expression in expressions.values():
            scan = f'SELECT count({expression}) FROM generate_series(1, {calls}) g'
            queries += [scan, 'SELECT bench_mark()', scan, 'SELECT bench_mark()']
        out = f'{self.directory}/callgrind'
        run('valgrind', '--tool=callgrind', '--dump-before=bench_mark', f'--callgrind-out-file={out}', 'postgres', '--single',
            '-D', self.directory, '-c', 'jit=off', '-c', 'max_parallel_workers_per_gather=0', 'postgres',
            input='\n'.join(queries) + '\n', stderr=subprocess.DEVNULL)
        counts = {}
        for i, name in enumerate(expressions):
            with open(f'{out}.{2 * i + 2}') as dump:
                counts[name] = int(re.search(r'^(?:summary|totals): (\d+)', dump.read(), re.M).group(1)) / calls
        return counts


class Standby(Server):
    """A standby of a server, as that is now."""

    port = '5433'

    def __init__(self, primary):
        self.directory = f'{primary.directory}_standby'
        run('pg_basebackup', '-D', self.directory, '-p', primary.port, '-U', 'postgres', '-R', '-c', 'fast', '--no-sync')
        self.start()


def medians(variants, measure):
    """Measures the variants in interleaved rounds; returns name -> median."""
    samples = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name in variants:
            samples[name].append(measure(variants[name]))
    return {name: statistics.median(values) for name, values in samples.items()}


def rounds_of(count):
    return f'{count} round' + ('s' if count != 1 else '')


OVER_THE_WIRE = f'{rounds_of(ROUNDS)} of {SECONDS:.0f} s, medians; server and client on one core'


def heading(title, how=OVER_THE_WIRE):
    print(f'## {title}\n')
    print(f'`{os.environ["COMMAND"]}`, {how}.')
    print(run('postgres', '--version').strip() + f', {cpu()}.\n')


def cpu():
    with open('/proc/cpuinfo') as info:
        return re.search(r'model name\s*: (.*)', info.read()).group(1)


def huge_pages():
    """MB of free huge pages."""
    with open('/proc/meminfo') as info:
        figures = dict(re.findall(r'^(\w+):\s+(\d+)', info.read(), re.M))
    return int(figures['HugePages_Free']) * int(figures['Hugepagesize']) // 1024


@contextlib.contextmanager
def key_value(kind, value):
    """A function that returns how many times a second a client gets one of USERS values of a Redis or memcached on the same
    core, by a Unix socket."""
    socket = f'{WORK}/{kind}.sock'
    command = {'redis': ['redis-server', '--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no'],
               'memcached': ['memcached', '-s', socket, '-m', '1024', '-t', '1']}[kind]
    with subprocess.Popen(['taskset', '-c', CORE, *command], cwd=WORK, stdout=subprocess.DEVNULL) as process:
        try:
            while not os.path.exists(socket):
                time.sleep(0.05)
            yield lambda: float(run('taskset', '-c', CORE, f'{WORK}/get', kind, socket, str(USERS), str(SECONDS), input=value))
        finally:
            process.terminate()


def reads():
    run('g++', '-std=c++20', '-O2', '-o', f'{WORK}/get', f'{WORK}/src/bench/get.cpp', '-lhiredis', '-lmemcached')
    pages = 'on' if huge_pages() >= 1024 else 'off'
    server = Server('reads', f'huge_pages = {pages}')
    server.load_users(USERS)
    size = server.sql('SELECT pg_column_size(doc) FROM bench_document')
    for _ in range(2):
        server.sql('SELECT count(rolecall.me(id)), count(rolecall.me_json(id)) FROM rolecall.users')
    server.sql('CREATE TABLE stored AS SELECT uid, doc FROM rolecall.me_view; ALTER TABLE stored ADD PRIMARY KEY (uid); ANALYZE stored')
    heading('Reading one user', f'{OVER_THE_WIRE}; huge pages {pages}')
    uid = f'\\set uid random(1, {USERS})\n'
    four = '''SELECT * FROM rolecall.users WHERE id = :uid;
SELECT * FROM rolecall.user_roles WHERE user_id = :uid;
SELECT n.*, m.role FROM rolecall.user_units m JOIN rolecall.units n ON n.id = m.unit_id WHERE m.user_id = :uid;
SELECT t.* FROM rolecall.tenants t JOIN rolecall.users u ON u.tenant_id = t.id WHERE u.id = :uid;'''
    wire = {
        'SELECT 1': uid + 'SELECT 1;',
        'SELECT a parameter': uid + 'SELECT :uid::bigint;',
        'empty C function': uid + 'SELECT bench_nothing(:uid);',
        'constant C function': uid + 'SELECT bench_constant(:uid);',
        'me(uid)': uid + 'SELECT rolecall.me(:uid);',
        'me(uid), one user': uid + 'SELECT rolecall.me(17);',
        'me_json(uid)': uid + 'SELECT rolecall.me_json(:uid);',
        'me_json(uid), one user': uid + 'SELECT rolecall.me_json(17);',
        'has_role(uid, role, scope)': uid + "SELECT rolecall.has_role(:uid, 'role1', 'unit1');",
        'the document by primary key': uid + 'SELECT doc FROM stored WHERE uid = :uid;',
        'the view': uid + 'SELECT doc FROM rolecall.me_view WHERE uid = :uid;',
        'four queries': uid + four,
    }
    value = server.sql('SELECT doc FROM bench_document')
    for clients in (1, 8):
        with contextlib.ExitStack() as stack:
            others = {f'{name}, the same bytes': stack.enter_context(key_value(kind, value))
                      for kind, name in (('redis', 'Redis GET'), ('memcached', 'memcached get')) if clients == 1}
            tps = medians({**wire, **others}, lambda what: what() if callable(what) else server.pgbench(what, clients))
        base = tps['constant C function']
        print(f'Over a Unix socket, prepared, {clients} client{"s" if clients > 1 else ""}, {USERS} users, documents of about {size} bytes:\n')
        print('| | per second | µs | against the constant C function | against SELECT 1 |')
        print('|---|---:|---:|---:|---:|')
        for name, rate in tps.items():
            print(f"| {name} | {rate:,.0f} | {1e6 / rate:.1f} | {rate / base:.2f} | {rate / tps['SELECT 1']:.2f} |")
        print()

    key = f'1 + g % {USERS}'
    inside = {
        'the loop alone': ('g', 2_000_000),
        'empty C function': (f'bench_nothing({key})', 2_000_000),
        'constant C function': (f'bench_constant({key})', 2_000_000),
        'me(uid)': (f'rolecall.me({key})', 2_000_000),
        'me(uid), one user': ('rolecall.me(17 + 0 * g)', 2_000_000),
        'me_json(uid)': (f'rolecall.me_json({key})', 2_000_000),
        'has_role(uid, role, scope)': (f"rolecall.has_role({key}, 'role1', 'unit1')", 2_000_000),
        'has_role, one user': ("rolecall.has_role(17 + 0 * g, 'role1', 'unit1')", 2_000_000),
        'has_role as SQL over the tables': (f"bench_has_role({key}, 'role1', 'unit1')", 50_000),
        'document by primary key': (f'(SELECT s.doc FROM stored s WHERE s.uid = {key})', 200_000),
        'the view': (f'(SELECT v.doc FROM rolecall.me_view v WHERE v.uid = {key})', 20_000),
    }
    server.sql(HAS_ROLE_IN_SQL)
    server.sql(f'SELECT count(rolecall.me_json({key})), count(rolecall.me_json({key})) FROM generate_series(1, {USERS}) g')
    ns = medians(inside, lambda variant: server.nanoseconds(*variant))
    counts = server.instructions({name: variant[0] for name, variant in inside.items() if variant[1] > 1_000_000})
    loop = ns['the loop alone']
    constant = ns['constant C function'] - loop
    mine = ns['me(uid)'] - loop
    print('Inside the server, over `generate_series`: the cost of one call, without that of the loop. Callgrind counted the instructions:\n')
    print('| | ns | against the constant C function | against me(uid) | instructions |')
    print('|---|---:|---:|---:|---:|')
    for name, value in ns.items():
        if name != 'the loop alone':
            count = f"{counts[name] - counts['the loop alone']:,.0f}" if name in counts else ''
            print(f'| {name} | {value - loop:,.0f} | {(value - loop) / constant:.1f} | {(value - loop) / mine:.2f} | {count} |')
    print()


def crowds():
    """Does it matter how many users there are, when all are cached?"""
    heading('Few users and many', f'{OVER_THE_WIRE}, uniformly random users, all cached')
    print('| users | me(uid) per second | against the constant C function | inside the server, ns | hits |')
    print('|---:|---:|---:|---:|---:|')
    for users, pages in [(users, pages) for users in CROWDS for pages in ('off', 'on')]:
        cache = max(128, users * 3 // 1024)
        if pages == 'on' and huge_pages() < cache + 1024:
            continue  # there are not as many set aside (vm.nr_hugepages)
        server = Server(f'crowd{users}{pages}', f'rolecall.cache_size = {cache}MB', f'huge_pages = {pages}', 'rolecall.worker = off')
        server.load_users(users)
        server.sql('SELECT count(rolecall.me(id)) FROM rolecall.users')
        uid = f'\\set uid random(1, {users})\n'
        count = 'SELECT hits, loads FROM rolecall.stat_projection WHERE projection = \'me\''
        before = [int(number) for number in server.sql(count).split('|')]
        tps = medians({name: f'{uid}SELECT {function}(:uid);' for name, function in
                       (('constant', 'bench_constant'), ('me', 'rolecall.me'))}, server.pgbench)
        key = f'1 + (g::bigint * 7919) % {users}'
        ns = medians({'loop': (key, 500_000), 'me': (f'rolecall.me({key})', 500_000)}, lambda variant: server.nanoseconds(*variant))
        hits, loads = (int(number) - earlier for number, earlier in zip(server.sql(count).split('|'), before))
        print(f"| {users:,}{', huge pages' if pages == 'on' else ''} | {tps['me']:,.0f} | {tps['me'] / tps['constant']:.2f} | {ns['me'] - ns['loop']:,.0f} | {hits / (hits + loads):.4f} |")
        server.stop()
    print()


HAS_ROLE_IN_SQL = '''
    CREATE FUNCTION bench_has_role(uid bigint, role text, scope text) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT EXISTS (SELECT FROM rolecall.user_roles g JOIN rolecall.users u ON u.id = g.user_id
                       LEFT JOIN rolecall.tenants t ON t.id = u.tenant_id
                       WHERE g.user_id = $1 AND g.role = $2 AND (g.expires_at IS NULL OR g.expires_at > now())
                         AND u.is_active AND coalesce(t.is_active, true)
                         AND (g.scope_kind = 'institutional' AND g.scope_id = $3 OR g.scope_kind = 'global')) $$'''


def policies():
    """A scan of a table under a row-security policy."""
    rows = 1_000_000
    server = Server('policies')
    server.load_users(1000)
    server.sql(f'''
        CREATE TABLE notes AS SELECT g AS id, 'unit' || (1 + g % 500) AS unit FROM generate_series(1, {rows}) g;
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
        CREATE ROLE reader; GRANT SELECT ON notes, rolecall.user_roles TO reader; GRANT USAGE ON SCHEMA rolecall TO reader;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rolecall TO reader;
''')
    server.sql('VACUUM ANALYZE')
    conditions = {
        'no policy': 'true',
        'empty C function': 'bench_nothing(id)',
        'has_role(17, role, row)': "rolecall.has_role(17, 'role19', unit)",
        'sub-query on the tables': "EXISTS (SELECT FROM rolecall.user_roles g WHERE g.user_id = 17 AND g.role = 'role19' AND g.scope_kind = 'institutional' AND g.scope_id = unit)",
        'sub-query per row': "(SELECT count(*) FROM rolecall.user_roles g WHERE g.user_id = 17 AND g.role = 'role19' AND g.scope_id = unit) > 0",
    }

    def put_policy(condition):
        server.sql(f'DROP POLICY IF EXISTS p ON notes; CREATE POLICY p ON notes USING ({condition})')

    def scan(on, before=''):
        """Nanoseconds a row, when the user is loaded."""
        return float(on.sql(f'''
            BEGIN; {before}
            SET LOCAL ROLE reader; SET LOCAL max_parallel_workers_per_gather = 0;
            DO $$ DECLARE t timestamptz; BEGIN
                PERFORM count(*) FROM notes;
                t := clock_timestamp();
                PERFORM count(*) FROM notes;
                PERFORM set_config('bench.ns', (extract(epoch FROM clock_timestamp() - t) * 1e9 / {rows})::text, false);
            END $$;
            COMMIT;
            SELECT current_setting('bench.ns')'''))

    def scan_by(condition):
        put_policy(condition)
        return scan(server)
    ns = medians(conditions, scan_by)
    heading(f'A scan of {rows:,} rows under a policy', f'{rounds_of(ROUNDS)}, medians; one process')
    print('| policy | ns a row | against an empty C function |')
    print('|---|---:|---:|')
    for name, value in ns.items():
        print(f"| {name} | {value:,.0f} | {value / ns['empty C function']:.2f} |")
    print()

    put_policy(conditions['has_role(17, role, row)'])
    standby = Standby(server)
    ns = medians({
        'READ COMMITTED': (server, ''),
        'SERIALIZABLE': (server, 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;'),
        'after a write to `users`': (server, "UPDATE rolecall.users SET function = 'Teacher' WHERE id = 1;"),
        'a standby': (standby, ''),
    }, lambda where: scan(*where))
    print('The policy `has_role(17, role, row)` where shared memory may not be used:\n')
    print('| | ns a row | |')
    print('|---|---:|---:|')
    for name, value in ns.items():
        print(f"| {name} | {value:,.0f} | {value / ns['READ COMMITTED']:.2f} |")
    print()
    standby.stop()
    server.stop()


@contextlib.contextmanager
def provider(users, milliseconds):
    """The URL of a demo provider."""
    with subprocess.Popen(['node', f'{WORK}/src/demo/provider.mjs', '--users', str(users), '--delay', str(milliseconds)],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())['url']
        finally:
            process.kill()


SYNC_BATCH = 200  # rolecall.sync_batch_size


class SyncServer(Server):
    """A server with users 100000 ... of a demo provider, who are synchronized by the worker."""

    def __init__(self, url, users, *settings):
        super().__init__(f'syncs{url[-5:]}', *settings, pinned=False)
        self.users = users
        self.sql(f'''
            CREATE EXTENSION rolecall;
            CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url '{url}');
            INSERT INTO rolecall.units (institutional_id, name) SELECT 'unit' || g, 'Unit ' || g FROM generate_series(0, 199) g;
            INSERT INTO rolecall.users (email, provider, institutional_id) SELECT 'user' || g, 'hr', (100000 + g)::text FROM generate_series(0, {users - 1}) g''')
        self.wait_for('count(*) = 0 FROM rolecall.users WHERE NOT roles_synced')

    def wait_for(self, condition):
        while self.sql(f'SELECT {condition}') != 't':
            time.sleep(0.2)

    def set_workers(self, count):
        self.sql(f"ALTER SYSTEM SET rolecall.worker = {'on' if count else 'off'}")
        self.sql(f'ALTER SYSTEM SET rolecall.sync_workers = {max(count, 1)}')
        self.sql('SELECT pg_reload_conf()')
        self.wait_for(f"count(*) = {count} FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'")

    def sync_everybody(self):
        """Syncs per second of the worker, until the last is committed."""
        return self.users / float(self.statements(f'''
            DO $$
            DECLARE
                t timestamptz;
                before bigint := (SELECT sum(changed + unchanged) FROM rolecall.provider_statistics());
            BEGIN
                UPDATE rolecall.sync_state SET next_sync_at = now();
                PERFORM rolecall.wake_worker();
                COMMIT;
                t := clock_timestamp();
                WHILE (SELECT sum(changed + unchanged) FROM rolecall.provider_statistics()) < before + {self.users} LOOP
                    PERFORM pg_sleep(0.005);
                    COMMIT;  -- a snapshot that is kept would keep dead rows in the queue
                END LOOP;
                PERFORM set_config('bench.seconds', extract(epoch FROM clock_timestamp() - t)::text, false);
            END $$;
            SELECT current_setting('bench.seconds')'''))

    def worker_pid(self):
        return self.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'rolecall sync worker'")


def sync_rates(url, users, in_flight):
    """Syncs per second: (who, what) -> median."""
    server = SyncServer(url, users, f'rolecall.max_in_flight = {in_flight}', f'max_connections = {in_flight + 20}')

    def forget():
        server.sql('VACUUM ANALYZE')  # while there is something to analyze: plans are kept
        server.sql('DELETE FROM rolecall.user_roles; DELETE FROM rolecall.user_units; TRUNCATE rolecall.role_changes;'
                   'UPDATE rolecall.users SET roles_synced = false')
        server.sql('CHECKPOINT')

    def workers(count):
        server.set_workers(count)
        return server.sync_everybody()

    def service(batch):
        server.set_workers(0)
        return users / float(run('python3', f'{WORK}/src/bench/asyncio_service.py', WORK, url, str(in_flight), str(batch)))

    def is_right():
        return server.sql('SELECT md5(string_agg(g, chr(10) ORDER BY g)) FROM (SELECT (user_id, role, scope_kind, scope_id)::text AS g FROM rolecall.user_roles) s')

    first = is_right()
    samples = {}
    for _ in range(ROUNDS):
        samples.setdefault(('bare curl loop', 'fetches only'), []).append(
            users / float(run(f'{WORK}/bare_fetch', url, str(users), str(in_flight))))
        for name, how in (('worker', lambda: workers(1)), ('two workers', lambda: workers(2)),
                          ('service', lambda: service(1)), ('batching service', lambda: service(SYNC_BATCH))):
            forget()
            samples.setdefault((name, 'every user changed'), []).append(how())
            assert is_right() == first, name
            samples.setdefault((name, 'nobody changed'), []).append(how())
    server.stop()
    return {key: statistics.median(values) for key, values in samples.items()}


def syncs():
    users, in_flight = 10_000, 64
    run('g++', '-O2', '-o', f'{WORK}/bare_fetch', f'{WORK}/src/bench/bare_fetch.cpp', '-lcurl')
    heading('Synchronizing everybody', f'{rounds_of(ROUNDS)}, medians')
    for delay in (0.020, 0):
        with provider(users, delay * 1000) as url:
            rates = sync_rates(url, users, in_flight)
        bound = f', which allows at most {in_flight / delay:,.0f} answers a second for {in_flight} requests' if delay else '; the demo provider shares a core'
        print(f'{users:,} users, {in_flight} requests in flight, and a provider that answers after {delay * 1000:.0f} ms{bound}. '
              'The service (`bench/asyncio_service.py`) uses a transaction for each user; the batching service uses a transaction '
              f'for as many users as the worker does, {SYNC_BATCH}. The bare loop (`bench/bare_fetch.cpp`) writes nothing.\n')
        print('| | per second | of the most possible | of the bare loop | against the service | against the batching one |')
        print('|---|---:|---:|---:|---:|---:|')
        for (name, what), rate in rates.items():
            share = f'{rate * delay / in_flight:.2f}' if delay else ''
            bare = f"{rate / rates['bare curl loop', 'fetches only']:.2f}"
            against = ['', ''] if name == 'bare curl loop' else [
                f'{rate / rates[other, what]:.1f}' for other in ('service', 'batching service')]
            print(f"| {name}, {what} | {rate:,.0f} | {share} | {bare} | {' | '.join(against)} |")
        print()


def upkeep():
    """What remains of many syncs that change nothing."""
    users, rounds = 20_000, int(os.environ.get('UPKEEP_ROUNDS', '200'))
    with provider(users, 0) as url:
        server = SyncServer(url, users, 'autovacuum = on', 'autovacuum_naptime = 5s')
        pid = server.worker_pid()

        def look():
            with open(f'/proc/{pid}/status') as status:
                private = int(re.search(r'RssAnon:\s+(\d+)', status.read()).group(1))
            table, indexes = server.sql("SELECT pg_table_size(c) || ' ' || pg_indexes_size(c) FROM (SELECT 'rolecall.sync_state'::regclass AS c) s").split()
            return private, int(table) // 1024, int(indexes) // 1024

        def ticks():
            with open(f'/proc/{pid}/stat') as stat:
                fields = stat.read().rpartition(') ')[2].split()
            return int(fields[11]) + int(fields[12])

        server.sync_everybody()
        server.sql('CHECKPOINT')
        before = server.sql('SELECT pg_current_wal_insert_lsn()')
        rows = []
        for n in range(1, rounds + 1):
            server.sync_everybody()
            if n == 1:
                wal = server.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}') / {users}")
                before = server.sql('SELECT pg_current_wal_insert_lsn()')
                server.sql('CHECKPOINT')
            if n in (2, rounds // 10, rounds // 4, rounds // 2, 3 * rounds // 4, rounds):
                rows.append((n * users, *look()))
        total = server.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}') / {users * (rounds - 1)}")
        time.sleep(1)
        idle = ticks()
        time.sleep(20)
        idle = ticks() - idle
        assert pid == server.worker_pid()
        server.stop()
    heading('Many syncs that change nothing', f'{rounds * users:,} syncs')
    print(f'{users:,} users are synchronized again and again, with autovacuum on. A sync writes {float(wal):,.0f} bytes of WAL right '
          f'after a checkpoint, and {float(total):,.0f} bytes over all rounds; full page images and the benchmark\'s own UPDATE '
          f'that makes users due are included. An idle '
          f'worker used {idle} ticks of 10 ms in 20 s.\n')
    print('| syncs | worker\'s own memory, kB | sync_state, kB | its indexes, kB |')
    print('|---:|---:|---:|---:|')
    for row in rows:
        print('| ' + ' | '.join(f'{value:,}' for value in row) + ' |')
    print()


def authentication():
    rows = 1_000_000
    server = Server('authentication', 'rolecall.worker = off', 'rolecall.refresh_grace = 1h')
    server.sql(f'''
        CREATE EXTENSION rolecall;
        CREATE SERVER hr FOREIGN DATA WRAPPER rolecall OPTIONS (base_url 'http://127.0.0.1:1');
        INSERT INTO rolecall.users (email, provider, institutional_id) SELECT 'user' || g, 'hr', g::text FROM generate_series(1, {USERS}) g;
        INSERT INTO rolecall.refresh_tokens (user_id, token_hash, expires_at)
        SELECT 1 + g % {USERS}, sha256(lpad(g::text, 43, '0')::bytea), now() + interval '1 day' FROM generate_series(1, {rows}) g;
        INSERT INTO rolecall.oauth_states (state, provider, expires_at)
        SELECT encode(sha256(lpad(g::text, 43, '0')::bytea), 'hex'), 'google', now() + interval '1 day' FROM generate_series(1, {rows}) g''')
    server.sql('VACUUM ANALYZE')
    heading('Refresh tokens and OAuth states')
    pick = f"\\set i random(1, {rows})\n"
    token = "lpad(:i::text, 43, '0')"
    variants = {
        'refresh(token)': pick + f'SELECT * FROM rolecall.refresh({token});',
        'refresh, as separate statements': pick + f'''BEGIN;
SELECT id, user_id, family, revoked, rotated_at, expires_at FROM rolecall.refresh_tokens WHERE token_hash = sha256({token}::bytea) FOR UPDATE \\gset
SELECT is_active FROM rolecall.users WHERE id = :user_id;
UPDATE rolecall.refresh_tokens SET rotated_at = now() WHERE id = :id;
INSERT INTO rolecall.refresh_tokens (user_id, token_hash, family, expires_at) VALUES (:user_id, sha256(gen_random_uuid()::text::bytea), :family, now() + interval '1 day');
SELECT rolecall.trigger_role_sync_for_user(:user_id);
COMMIT;''',
        'validate_and_consume_oauth_state(state, provider)': pick + f"SELECT rolecall.validate_and_consume_oauth_state({token}, 'google');",
        'the same, as separate statements': pick + f'''BEGIN;
SELECT count(*) FROM (SELECT FROM rolecall.oauth_states WHERE state = encode(sha256({token}::bytea), 'hex') AND provider = 'google' AND expires_at > now() FOR UPDATE) s;
DELETE FROM rolecall.oauth_states WHERE state = encode(sha256({token}::bytea), 'hex');
COMMIT;''',
    }
    tps = medians(variants, lambda script: server.pgbench(script, 8))
    print(f'Over a Unix socket, prepared, 8 clients, tables of {rows:,} rows:\n')
    print('| | per second | against separate statements |')
    print('|---|---:|---:|')
    names = list(tps)
    for name, separate in zip(names, (names[1], names[1], names[3], names[3])):
        print(f'| {name} | {tps[name]:,.0f} | {tps[name] / tps[separate]:.1f} |')
    print()
    server.stop()


def writes():
    """What the watches cost whoever writes."""
    users = int(os.environ.get('WRITE_USERS', '1000000'))
    server = Server('writes', f'rolecall.cache_size = {max(64, users // 1000)}MB', 'rolecall.worker = off', 'max_wal_size = 16GB')
    server.load_users(users)
    watches = server.sql("SELECT string_agg(quote_ident(tgname), ' ') FROM pg_trigger WHERE tgrelid = 'rolecall.users'::regclass AND tgfoid = 'rolecall.watch_row'::regproc").split()

    def watch(on):
        for trigger in watches:
            server.sql(f"ALTER TABLE rolecall.users {'ENABLE ALWAYS' if on else 'DISABLE'} TRIGGER {trigger}")

    def update_all(on):
        """Microseconds a row; rolled back, so that each finds the same table."""
        watch(on)
        server.sql('VACUUM rolecall.users')
        server.sql('CHECKPOINT')
        began = time.monotonic()
        server.statements("BEGIN; UPDATE rolecall.users SET function = 'Colleague'; ROLLBACK;")
        return (time.monotonic() - began) / users * 1e6

    def update_one(on):
        watch(on)
        return 1e6 / server.pgbench(f"\\set uid random(1, {users})\nUPDATE rolecall.users SET function = 'Teacher' WHERE id = :uid;")

    update_all(False)
    every = medians({'without': False, 'with': True}, update_all)
    watch(True)
    server.sql('SELECT count(rolecall.me(id)) FROM rolecall.users WHERE id <= 100000')
    one = medians({'without': False, 'with': True}, update_one)
    heading('Writing', f'{rounds_of(ROUNDS)}, medians; server and client on one core, `fsync` off')
    print('| `UPDATE rolecall.users` | without watches, µs a row | with | |')
    print('|---|---:|---:|---:|')
    for name, µs in ((f'all {users:,} rows', every), ('one row, over the wire, prepared', one)):
        print(f"| {name} | {µs['without']:.2f} | {µs['with']:.2f} | {µs['with'] / µs['without']:.2f} |")
    print()
    server.stop()


def lookups():
    users = 100_000
    server = Server('lookups', 'rolecall.worker = off', 'rolecall.cache_size = 512MB')
    server.load_users(users)
    server.sql('''
        CREATE VIEW coarse_view AS SELECT uid, doc, valid_from, valid_until FROM rolecall.me_view;
        SELECT rolecall.create_projection('coarse', 'coarse_view', 'uid', 'doc', watches =>
            '{"rolecall.users": "id", "rolecall.user_roles": "user_id", "rolecall.user_units": "user_id",
              "rolecall.roles": null, "rolecall.units": null, "rolecall.tenants": null}');''')
    heading(f'One edited unit among {users:,} users', 'after each edit, all users are read once')
    read = f"SELECT count(rolecall.project('{{0}}', g::text)) FROM generate_series(1, {users}) g"

    def loads(projection, edit):
        def count():
            return int(server.sql(f"SELECT loads FROM rolecall.stat_projection WHERE projection = '{projection}'"))
        server.sql(read.format(projection))
        before = count()
        server.sql(edit)
        began = time.monotonic()
        server.sql(read.format(projection))
        return count() - before, time.monotonic() - began

    members = server.sql('SELECT count(*) FROM rolecall.user_units WHERE unit_id = 7')
    print(f'{members} users have the unit.\n')
    print('| | documents loaded again | seconds to read all users |')
    print('|---|---:|---:|')
    edit = "UPDATE rolecall.units SET name = name || '!' WHERE id = 7"
    for name, projection, change in (
            ('nothing edited', 'me', 'SELECT 1'),
            ("a unit edited; watched by `watch_lookup('…', 'units', 'id')`", 'me', edit),
            ("a unit edited; watched by `watch_lookup('…', 'units')`", 'coarse', edit)):
        again, seconds = loads(projection, change)
        print(f'| {name} | {again:,} | {seconds:.2f} |')
    print()
    server.stop()


def loadall():
    """All documents in one pass, against computing them; what each takes in memory."""
    users = int(os.environ.get('LOAD_USERS', '1000000'))
    rounds = min(ROUNDS, 3)
    cache = max(64, users * 1400 // 2**20)
    server = Server('loadall', f'rolecall.cache_size = {cache}MB', pinned=False)
    server.load_users(users)

    def timed(statement):
        return float(server.sql(f'''
            SET max_parallel_workers_per_gather = 0;
            DO $$ DECLARE t timestamptz := clock_timestamp(); BEGIN
                {statement};
                PERFORM set_config('bench.s', extract(epoch FROM clock_timestamp() - t)::text, false);
            END $$;
            SELECT current_setting('bench.s')'''))

    def load():
        server.sql("SELECT rolecall.reload('me')")
        progress = "FROM rolecall.stat_progress WHERE projection = 'me'"
        while server.sql(f'SELECT ended_at IS NULL {progress}') == 't':
            time.sleep(0.1)
        return float(server.sql(f'SELECT extract(epoch FROM ended_at - started_at) {progress}'))

    variants = {
        '`SELECT count(doc)` over the view': lambda: timed('PERFORM count(doc) FROM rolecall.me_view'),
        'the same, with the times for which they hold': lambda: timed('PERFORM count(doc), count(valid_from), count(valid_until) FROM rolecall.me_view'),
        "`reload('me')`": load,
    }
    samples = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run_it in variants.items():
            samples[name].append(run_it())
    seconds = {name: statistics.median(values) for name, values in samples.items()}
    first = next(iter(seconds.values()))
    heading('Loading all', f'{rounds_of(rounds)}, medians')
    print(f'{users:,} users, `rolecall.cache_size = {cache}MB`:\n')
    print('| | seconds | |')
    print('|---|---:|---:|')
    for name, value in seconds.items():
        print(f'| {name} | {value:.1f} | {value / first:.2f} |')
    loaded = server.sql("SELECT phase || ': ' || documents_loaded || ' of ' || documents_read FROM rolecall.stat_progress WHERE projection = 'me'")
    print(f'\nThe last load ended with "{loaded}".\n')

    entries, live, ring = (int(x) for x in server.sql('SELECT entries, live_bytes, bytes FROM rolecall.stat_cache').split('|'))
    document = float(server.sql('SELECT avg(pg_column_size(doc)) FROM (SELECT doc FROM rolecall.me_view LIMIT 1000) d'))
    print(f'An entry takes {live / entries:,.0f} bytes, of which the document takes {document:,.0f}. Entries have '
          f'{100 * ring / (cache * 2**20):.1f} % of the cache; index and stamps have the rest.\n')
    server.stop()


def misses():
    """What a miss costs, against running the projection's query by SPI."""
    users = 5 * USERS
    server = Server('misses', 'rolecall.cache_size = 1MB', 'plan_cache_mode = force_generic_plan', 'enable_seqscan = off')  # one plan for both
    server.load_users(users)
    server.sql('''
        CREATE FUNCTION bench_query(uid bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
        DECLARE d jsonb; f timestamptz; u timestamptz;
        BEGIN SELECT v.doc, v.valid_from, v.valid_until INTO d, f, u FROM rolecall.me_view v WHERE v.uid = $1; RETURN d; END $$''')
    key = f'1 + (random() * {users - 1})::bigint'
    variants = {'the query, by SPI': (f'bench_query({key})', 20_000), 'me(uid), a miss': (f'rolecall.me({key})', 20_000)}
    ns = medians(variants, lambda variant: server.nanoseconds(*variant))
    hits = server.sql('SELECT hits, misses FROM rolecall.stat_cache').split('|')
    counts = server.instructions({name: variant[0] for name, variant in variants.items()}, calls=2000)
    heading('A miss', f'{rounds_of(ROUNDS)}, medians; inside the server')
    print(f'With a cache of 1MB and {users:,} users at random, there were {int(hits[1]):,} misses and {int(hits[0]):,} hits.\n')
    print('| | µs | | instructions | |')
    print('|---|---:|---:|---:|---:|')
    base, base_count = ns['the query, by SPI'], counts['the query, by SPI']
    for name, value in ns.items():
        print(f'| {name} | {value / 1000:.1f} | {value / base:.2f} | {counts[name]:,.0f} | {counts[name] / base_count:.2f} |')
    print()


SECTIONS = {f.__name__: f for f in (reads, crowds, policies, loadall, misses, writes, syncs, upkeep, authentication, lookups)}

if __name__ == '__main__':
    names = [name for name in sys.argv[1:] if not name.startswith('--')] or list(SECTIONS)
    for section in names:
        SECTIONS[section]()
