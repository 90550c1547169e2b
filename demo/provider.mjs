// An identity provider for the demo and the tests: a real HTTP server on loopback, without any framework.
//
//   node demo/provider.mjs [--users 10000] [--delay MS] [--token T] [--basic user:password] [--tls DIR]
//        [--http2] [--validators etag | modified]
//
// It prints one line of JSON with its addresses: {"url": ..., "tls": ..., "control": ...}, and then serves
//
//   GET {url}/users/{code}                        a user with roles, for kind 'json'
//   GET {url}/users                               {"users": [...]}: all of them
//   GET {url}/persons/{id}                        the same user, for kind 'accred'
//   GET {url}/authorizations?persid={id}&...      and what that kind says of roles
//
// With ?size=N an array comes in pages of N, chosen by page=1, 2 ..., by offset=, or by cursor=; the header Link and
// the member "next" (an address with next=address) name the next page.
//
// Users 100000, 100001 ... exist from the start. The control server, on a port of its own, changes things:
//
//   PUT    {control}/users/{code}   a user as JSON;  DELETE removes one
//   PUT    {control}/fault          {"mode": "slow", "ms": 500, "subject": "100003"}; without subject: for all; with a
//                                   resource ("persons"): only there
//   DELETE {control}/fault          no faults any more
//   GET    {control}/requests       {"total", "in_flight", "most_in_flight", "most_of_one", "by_subject", "order",
//                                   "not_modified", "connections", "http2", "headers"}: order has the subjects as
//                                   they came, most_of_one how many requests for one were under way at once,
//                                   http2 counts requests, headers are the last request's, without credentials
//   DELETE {control}/requests       starts counting anew
//
// Faults: slow (ms), hang, down, 403, 404, 410, 429 (retry_after), 500, broken_json, truncated, nested (depth), latin1,
// twice, echo, wrong_subject, no_roles, empty_object, inactive, huge (bytes), endless (of: body, trailers, extensions,
// headers or informational), many_roles (count, role), reset, redirect (location), raw (body, or base64; status); and of
// pages: same_page, next_page (link), endless_pages. A fault with "from": N spares what comes before item N; one with "ms" comes so much later.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const FIRST_CODE = 100000;
const ROLES = ['reader', 'editor', 'admin', 'auditor', 'manager'];
const UNITS = 200;
const MOST_ORDER = 200_000;

const { values: options } = parseArgs({
    options: {
        users: { type: 'string', default: '10000' },
        delay: { type: 'string', default: '0' },
        token: { type: 'string' },
        basic: { type: 'string' },
        tls: { type: 'string' },
        http2: { type: 'boolean', default: false },
        validators: { type: 'string' },
    },
});

// ---- Users ---------------------------------------------------------------------------------------------------

const changed = new Map();
const changes = new Map();  // how many of each

function generated(code) {
    const n = Number(code) - FIRST_CODE;
    if (!/^[0-9]{6,}$/.test(code) || n < 0 || n >= Number(options.users)) return undefined;
    const roles = [{ role: 'reader', on: 'global' }];
    for (let i = 0; i < n % 4; i++) {
        roles.push({ role: ROLES[(n + i) % ROLES.length], on: { institutional_id: `unit${(n + 7 * i) % UNITS}` } });
    }
    return {
        code,
        email: `user${n}@example.org`,
        display_name: `User ${n}`,
        function: n % 10 === 0 ? 'Head of unit' : 'Collaborator',
        roles,
    };
}

function userOf(code) {
    return changed.has(code) ? changed.get(code) : generated(code);
}

function authorizations(user) {
    return user.roles.map(({ role, on }) => ({
        name: role,
        state: 'active',
        type: 'right',
        persid: user.code,
        reason: { resource: typeof on === 'object' ? { cf: on.institutional_id } : {} },
    }));
}

// ---- Counting ------------------------------------------------------------------------------------------------

const counts = { in_flight: 0, headers: {} };
const underWay = new Map();  // by subject

function resetCounts() {
    Object.assign(counts, {
        total: 0, most_in_flight: counts.in_flight, most_of_one: 0, by_subject: {}, order: [], not_modified: 0,
        connections: 0, http2: 0,
    });
}
resetCounts();

function countRequest(subject, response) {
    counts.total += 1;
    counts.in_flight += 1;
    counts.most_in_flight = Math.max(counts.most_in_flight, counts.in_flight);
    counts.by_subject[subject] = (counts.by_subject[subject] ?? 0) + 1;
    if (counts.order.length < MOST_ORDER) counts.order.push(subject);
    counts.http2 += response.req.httpVersion === '2.0';
    underWay.set(subject, (underWay.get(subject) ?? 0) + 1);
    counts.most_of_one = Math.max(counts.most_of_one, underWay.get(subject));
    const { authorization, ...headers } = response.req.headers;
    counts.headers = headers;
    response.on('close', () => {
        counts.in_flight -= 1;
        underWay.set(subject, underWay.get(subject) - 1);
    });
}

// ---- Pages ---------------------------------------------------------------------------------------------------

// Where a page begins: page and offset count, a cursor is opaque to whoever follows it.
function startOf(query, size) {
    if (query.has('page')) return (Number(query.get('page')) - 1) * size;
    if (query.has('cursor')) return Number(atob(query.get('cursor')).slice(1));
    return Number(query.get('offset') ?? 0);
}

// The page that the query asks for of the array `name` in `body`, and the headers that go with it.
function pageOf(url, body, name, fault) {
    const size = Number(url.searchParams.get('size') ?? 0);
    if (size === 0) return { body, headers: {} };
    const start = fault.mode === 'same_page' ? 0 : startOf(url.searchParams, size);
    const end = start + size;
    const endless = fault.mode === 'endless_pages';
    const page = { ...body, [name]: body[name].slice(...(endless ? [0, size] : [start, end])) };
    if (!endless && end >= body[name].length) return { body: { ...page, next: null }, headers: {} };
    const cursor = btoa(`c${end}`);
    const query = new URLSearchParams(url.searchParams);
    query.set('cursor', cursor);
    const next = fault.mode === 'next_page' ? fault.link : `${url.pathname}?${query}`;
    const host = `http://${url.host}`;
    return {
        body: { ...page, serial: start, next: url.searchParams.get('next') === 'address' ? new URL(next, host).href : cursor },
        headers: { link: `<${host}/>; rel="start", <${next}>; title="a, b"; rel="last next"` },
    };
}

// ---- Versions ------------------------------------------------------------------------------------------------

// What a user's answer is sent with, so that it can be asked for another one only. Times are of long ago: one of just
// now would not tell two changes apart.
function validatorsOf(subject, body) {
    if (options.validators === 'etag') return { etag: `"${createHash('sha256').update(JSON.stringify(body)).digest('hex')}"` };
    if (options.validators !== 'modified') return {};
    return { 'last-modified': new Date(Date.UTC(2020, 0, 1) + 1000 * (changes.get(subject) ?? 0)).toUTCString() };
}

function isKnown(request, { etag, 'last-modified': modified }) {
    return (etag !== undefined && request.headers['if-none-match'] === etag)
        || (modified !== undefined && request.headers['if-modified-since'] === modified);
}

// ---- Faults --------------------------------------------------------------------------------------------------

const faults = new Map();  // by subject; '' is for all

function faultFor(subject, resource, start) {
    const fault = faults.get(`${subject}/${resource}`) ?? faults.get(subject) ?? faults.get('');
    return fault !== undefined && start >= (fault.from ?? 0) ? fault : { mode: 'none' };
}

function sendJson(response, status, body, headers = {}) {
    const text = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(text);
}

// Each is written as it stands, and then the second part for ever.
const headOfChunks = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
const endlessParts = {
    body: ['HTTP/1.1 200 OK\r\n\r\n', `${' '.repeat(65535)}\n`],
    trailers: [`${headOfChunks}2\r\n{}\r\n0\r\n`, `x-more: ${'x'.repeat(4000)}\r\n`],
    extensions: [`${headOfChunks}2;`, 'extension='.repeat(1000)],
    headers: ['HTTP/1.1 200 OK\r\n', `x-more: ${'x'.repeat(4000)}\r\n`],
    informational: ['', `HTTP/1.1 103 Early Hints\r\nlink: <${'x'.repeat(4000)}>\r\n\r\n`],
};

function pour({ socket }, [first, part]) {
    const more = () => {
        while (!socket.destroyed && socket.write(part));
        if (!socket.destroyed) socket.once('drain', more);
    };
    socket.on('error', () => {});
    if (first !== '') socket.write(first);
    more();
}

// Each answers instead of `answer`, which is what would have been sent.
const faultModes = {
    none: (fault, request, response, answer) => answer(),
    slow: (fault, request, response, answer) => { setTimeout(answer, fault.ms ?? 1000); },
    hang: () => {},
    403: (fault, request, response) => sendJson(response, 403, { error: 'not for you' }),
    404: (fault, request, response) => sendJson(response, 404, { error: 'not found' }),
    410: (fault, request, response) => sendJson(response, 410, { error: 'gone' }),
    429: (fault, request, response) =>
        sendJson(response, 429, { error: 'slow down' }, { 'retry-after': String(fault.retry_after ?? 1) }),
    500: (fault, request, response) => sendJson(response, 500, { error: 'trouble' }),
    broken_json: (fault, request, response) => sendJson(response, 200, '{"code": "100000", "roles": ['),
    // Less than it says.
    truncated: (fault, request, response, answer) => answer((body) => {
        const text = JSON.stringify(body);
        response.setHeader('content-length', Buffer.byteLength(text) + 10);
        setTimeout(() => request.socket.destroy(), 50);
        return text;
    }),
    nested: (fault, request, response, answer) => answer((body) => {
        const depth = fault.depth ?? 200_000;
        return JSON.stringify({ ...body, roles: [0] }).replace('[0]', '['.repeat(depth) + ']'.repeat(depth));
    }),
    latin1: (fault, request, response, answer) => answer((body) => Buffer.from(JSON.stringify({ ...body, display_name: 'Zo\u00eb' }), 'latin1')),
    // Members that come twice: the last would be believed.
    twice: (fault, request, response, answer) => answer((body) => JSON.stringify(body).replace(/\}$/, ',"roles":[],"authorizations":[],"users":[]}')),
    // What a debugging proxy does: not JSON, with the request in it.
    echo: (fault, request, response) => sendJson(response, 200, `${request.headers.authorization?.split(' ')[1]} ${JSON.stringify(request.headers)}`),
    inactive: (fault, request, response, answer) => answer(({ roles, authorizations: dropped, ...rest }) => ({ ...rest, active: false })),
    wrong_subject: (fault, request, response, answer) => answer((body) => ({ ...body, code: 'other', id: 'other' })),
    no_roles: (fault, request, response, answer) =>
        answer(({ roles, authorizations: dropped, ...rest }) => rest),
    empty_object: (fault, request, response) => sendJson(response, 200, {}),
    huge: (fault, request, response, answer) => answer((body) => ({ ...body, padding: 'x'.repeat(fault.bytes ?? 1 << 27) })),
    endless: (fault, request) => pour(request, endlessParts[fault.of ?? 'body']),
    many_roles: (fault, request, response, answer) => answer((body) => ({ ...body, roles: Array(fault.count).fill(fault.role ?? {}) })),
    raw: (fault, request, response) => sendJson(response, fault.status ?? 200, fault.base64 === undefined ? fault.body : Buffer.from(fault.base64, 'base64')),
    reset: (fault, request) => request.socket.resetAndDestroy(),
    same_page: (fault, request, response, answer) => answer(),
    next_page: (fault, request, response, answer) => answer(),
    endless_pages: (fault, request, response, answer) => answer(),
    redirect: (fault, request, response) => {
        response.writeHead(302, { location: fault.location });
        response.end();
    },
};

// ---- The provider --------------------------------------------------------------------------------------------

function authorized(request) {
    const given = request.headers.authorization;
    if (options.token !== undefined) return given === `Bearer ${options.token}`;
    if (options.basic !== undefined) return given === `Basic ${Buffer.from(options.basic).toString('base64')}`;
    return true;
}

const routes = {
    users: (user) => user,
    persons: (user) => ({ id: user.code, email: user.email, display: user.display_name, position: user.function }),
    authorizations: (user) => ({ authorizations: authorizations(user) }),
};

function everybody() {
    const codes = new Set(changed.keys());
    for (let n = 0; n < Number(options.users); n += 1) codes.add(String(FIRST_CODE + n));
    return { users: [...codes].map(userOf).filter((user) => user !== undefined) };
}

// What there is at an address, and the name of its array; undefined: nothing.
function resourceAt(resource, subject) {
    if (resource === 'users' && subject === '') return [everybody(), 'users'];
    const user = userOf(subject);
    if (routes[resource] === undefined || user === undefined) return undefined;
    return [routes[resource](user), resource === 'authorizations' ? 'authorizations' : 'roles'];
}

function provide(request, response) {
    const url = new URL(request.url, `http://${request.headers.host ?? request.authority}`);
    const [, resource, last = ''] = url.pathname.split('/');
    const subject = resource === 'authorizations' ? url.searchParams.get('persid') ?? '' : decodeURIComponent(last);
    countRequest(subject, response);
    if (!authorized(request)) return sendJson(response, 401, { error: 'who are you?' });
    const fault = faultFor(subject, resource, startOf(url.searchParams, Number(url.searchParams.get('size'))));
    const answer = (change = (body) => body) => {
        const found = resourceAt(resource, subject);
        if (found === undefined) return sendJson(response, 404, { error: 'not found' });
        const { body, headers } = pageOf(url, ...found, fault);
        const validators = validatorsOf(subject, body);
        if (isKnown(request, validators)) {
            counts.not_modified += 1;
            response.writeHead(304, validators);
            return response.end();
        }
        return sendJson(response, 200, change(body), { ...headers, ...validators });
    };
    const act = () => faultModes[fault.mode](fault, request, response, answer);
    const delay = Number(options.delay) + (fault.mode === 'slow' ? 0 : fault.ms ?? 0);
    return delay > 0 ? setTimeout(act, delay) : act();
}

// A server that can go down and come back on the same port.
class Listener {
    constructor(create) {
        this.create = create;
        this.port = 0;
    }

    async up() {
        if (this.server) return;
        this.server = this.create();
        this.server.keepAliveTimeout = 60_000;
        this.server.on('connection', () => { counts.connections += 1; });
        await new Promise((resolve) => { this.server.listen(this.port, '127.0.0.1', resolve); });
        this.port = this.server.address().port;
    }

    async down() {
        if (!this.server) return;
        const { server } = this;
        this.server = undefined;
        const closed = new Promise((resolve) => { server.close(resolve); });
        server.closeAllConnections?.();
        await closed;
    }
}

// ---- Control -------------------------------------------------------------------------------------------------

async function bodyOf(request) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    return JSON.parse(Buffer.concat(chunks).toString());
}

async function setFault(fault, listeners) {
    if (fault.mode === 'down') {
        await Promise.all(listeners.map((listener) => listener.down()));
        return;
    }
    if (!Object.hasOwn(faultModes, fault.mode)) throw new Error(`unknown fault: ${fault.mode}`);
    faults.set((fault.subject ?? '') + (fault.resource === undefined ? '' : `/${fault.resource}`), fault);
}

function controller(listeners) {
    const actions = {
        'PUT users': async (code, request) => {
            changed.set(code, { code, ...(await bodyOf(request)) });
            changes.set(code, (changes.get(code) ?? 0) + 1);
        },
        'DELETE users': async (code) => { changed.set(code, undefined); },
        'PUT fault': async (_, request) => setFault(await bodyOf(request), listeners),
        'DELETE fault': async () => {
            faults.clear();
            await Promise.all(listeners.map((listener) => listener.up()));
        },
        'GET requests': async () => counts,
        'DELETE requests': async () => resetCounts(),
    };
    return async (request, response) => {
        const [, resource, last = ''] = new URL(request.url, 'http://control').pathname.split('/');
        const action = actions[`${request.method} ${resource}`];
        if (action === undefined) return sendJson(response, 404, { error: 'no such action' });
        try {
            return sendJson(response, 200, (await action(decodeURIComponent(last), request)) ?? {});
        } catch (error) {
            return sendJson(response, 400, { error: error.message });
        }
    };
}

// A certificate that nobody trusts, unless ca_file names it.
function certificate(directory) {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(directory, name));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days',
        '30', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert],
    { stdio: 'ignore' });
    return { key: readFileSync(key), cert: readFileSync(cert) };
}

const plain = new Listener(() => http.createServer(provide));
const listeners = [plain];
await plain.up();
const addresses = { url: `http://127.0.0.1:${plain.port}` };
if (options.tls !== undefined) {
    const pair = certificate(options.tls);
    const secure = new Listener(() => (options.http2
        ? http2.createSecureServer({ ...pair, allowHTTP1: true }, provide)
        : https.createServer(pair, provide)));
    await secure.up();
    listeners.push(secure);
    addresses.tls = `https://localhost:${secure.port}`;
}
const control = new Listener(() => http.createServer(controller(listeners)));
await control.up();
addresses.control = `http://127.0.0.1:${control.port}`;
console.log(JSON.stringify(addresses));
