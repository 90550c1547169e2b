"""What the worker is measured against: a plain asyncio service that synchronizes every user once, with a number of
requests in flight, against the same tables and the same provider. Prints the seconds it took.

    asyncio_service.py SOCKET_DIRECTORY PROVIDER_URL IN_FLIGHT BATCH

BATCH 1: a transaction for each user, on as many connections as there are requests. More: one writer, which applies
up to so many users in one transaction, while the next are asked for.
"""
import asyncio
import json
import sys
import time

import aiohttp
import asyncpg


def grant(role):
    on = role.get('on', 'global')
    if on == 'global':
        return role['role'], 'global', ''
    (kind, scope), = on.items()
    return role['role'], 'institutional' if kind == 'institutional_id' else kind, scope


async def apply(connection, uid, roles):
    """Compares as sets, applies the difference, lets units follow, notes the time: as rolecall does."""
    has = {tuple(row) for row in await connection.fetch(
        "SELECT role, scope_kind, scope_id FROM rolecall.user_roles WHERE user_id = $1 AND source = 'provider'", uid)}
    gone, new = has - roles, roles - has
    if gone:
        await connection.executemany(
            "DELETE FROM rolecall.user_roles WHERE user_id = $1 AND source = 'provider'"
            ' AND role = $2 AND scope_kind = $3 AND scope_id = $4', [(uid, *g) for g in gone])
    if new:
        await connection.executemany('INSERT INTO rolecall.roles (name) VALUES ($1) ON CONFLICT DO NOTHING', [(g[0],) for g in new])
        await connection.executemany(
            'INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id, source)'
            " VALUES ($1, $2, $3, $4, 'provider')", [(uid, *g) for g in new])
    is_in = {tuple(row) for row in await connection.fetch(
        'SELECT unit_id, role FROM rolecall.user_units WHERE user_id = $1', uid)}
    should = {tuple(row) for row in await connection.fetch(
        'SELECT DISTINCT ON (n.id) n.id, r.name FROM rolecall.units n'
        ' JOIN unnest($1::text[], $2::text[]) g(role, unit) ON g.unit = n.institutional_id'
        ' JOIN rolecall.roles r ON r.name = g.role ORDER BY n.id, r.priority, r.name',
        [g[0] for g in roles if g[1] == 'institutional'], [g[2] for g in roles if g[1] == 'institutional'])}
    if is_in - should:
        await connection.executemany(
            'DELETE FROM rolecall.user_units WHERE user_id = $1 AND unit_id = $2', [(uid, m[0]) for m in is_in - should])
    if should - is_in:
        await connection.executemany(
            'INSERT INTO rolecall.user_units (user_id, unit_id, role) VALUES ($1, $2, $3)', [(uid, *m) for m in should - is_in])
    if gone or new or is_in != should:
        await connection.execute('UPDATE rolecall.users SET roles_synced = true WHERE id = $1', uid)
    await connection.execute(
        'UPDATE rolecall.sync_state SET last_roles_sync_at = clock_timestamp(), attempts = 0, last_error = NULL,'
        " next_sync_at = clock_timestamp() + interval '15 minutes' WHERE user_id = $1", uid)


async def main(socket_directory, url, in_flight, batch):
    async with asyncpg.create_pool(host=socket_directory, user='postgres', database='postgres',
                                   min_size=1 if batch > 1 else in_flight, max_size=in_flight) as pool, aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=in_flight)) as http:
        users = asyncio.Queue()
        answers = asyncio.Queue(2 * batch)
        for row in await pool.fetch('SELECT id, institutional_id FROM rolecall.users ORDER BY id'):
            users.put_nowait(row)
        started = time.monotonic()

        async def work():
            while not users.empty():
                uid, subject = users.get_nowait()
                async with http.get(f'{url}/users/{subject}') as response:
                    said = json.loads(await response.read())
                assert said['code'] == subject
                roles = {grant(role) for role in said['roles']}
                if batch > 1:
                    await answers.put((uid, roles))
                    continue
                async with pool.acquire() as connection, connection.transaction():
                    await apply(connection, uid, roles)

        async def write(left):
            async with pool.acquire() as connection:
                while left > 0:
                    together = [await answers.get()]
                    while not answers.empty() and len(together) < batch:
                        together.append(answers.get_nowait())
                    async with connection.transaction():
                        for uid, roles in together:
                            await apply(connection, uid, roles)
                    left -= len(together)

        writer = [write(users.qsize())] if batch > 1 else []
        await asyncio.gather(*writer, *(work() for _ in range(in_flight)))
        print(time.monotonic() - started)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
