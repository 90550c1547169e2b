#include "sync/queue.h"

#include "pg/clock.h"
#include "pg/spi.h"

namespace rolecall::sync {

namespace {

pg::Statement take_requests_statement(
    "WITH taken AS ("
    "    DELETE FROM rolecall.sync_requests WHERE id IN ("
    "        SELECT r.id FROM rolecall.sync_requests r JOIN rolecall.sync_state s ON s.user_id = r.user_id"
    "        ORDER BY r.id LIMIT 1000 FOR UPDATE OF r, s SKIP LOCKED)"
    "    RETURNING user_id, force, requested_at"
    ") UPDATE rolecall.sync_state s SET requested_at = least(s.requested_at, t.requested_at), force = "
    "s.force OR t.force, active_at = greatest(s.active_at, t.last_requested_at)"
    " FROM (SELECT user_id, bool_or(force) AS force, min(requested_at) AS requested_at,"
    " max(requested_at) AS last_requested_at FROM taken GROUP BY "
    "user_id) t"
    " WHERE s.user_id = t.user_id",
    {});

// While another transaction adds a user's row to sync_state, its foreign key locks the user, which is then
// skipped.
pg::Statement add_missing_statement(
    "WITH missing AS MATERIALIZED ("
    " SELECT u.id, u.provider FROM rolecall.users u"
    " WHERE u.provider IS NOT NULL AND u.institutional_id IS NOT NULL"
    "   AND NOT EXISTS (SELECT FROM rolecall.sync_state s WHERE s.user_id = u.id AND s.provider = u.provider)"
    " LIMIT $2 FOR UPDATE OF u SKIP LOCKED"
    ") INSERT INTO rolecall.sync_state AS q (user_id, provider, next_sync_at)"
    " SELECT id, provider, $1 FROM missing ON CONFLICT (user_id) DO UPDATE SET provider = excluded.provider "
    "RETURNING 1",
    {TIMESTAMPTZOID, INT8OID});

// $1 provider, $2 now, $3 active since, $4 how many. Rows that are locked are skipped until the next time.
pg::Statement put_to_sleep_statement(
    "UPDATE rolecall.sync_state s SET next_sync_at = 'infinity' FROM ("
    "    SELECT user_id FROM rolecall.sync_state WHERE provider = $1 AND next_sync_at <= $2"
    "    AND (active_at IS NULL OR active_at < $3) AND requested_at IS NULL"
    "    AND (leased_until IS NULL OR leased_until <= $2)"
    "    ORDER BY next_sync_at LIMIT $4 FOR UPDATE SKIP LOCKED) i"
    " WHERE s.user_id = i.user_id RETURNING 1",
    {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID});

pg::Statement wake_up_statement(
    "UPDATE rolecall.sync_state s SET next_sync_at = $2 FROM ("
    "    SELECT user_id FROM rolecall.sync_state WHERE provider = $1 AND next_sync_at = 'infinity'"
    "    LIMIT $3 FOR UPDATE SKIP LOCKED) i"
    " WHERE s.user_id = i.user_id",
    {TEXTOID, TIMESTAMPTZOID, INT8OID});

pg::Statement providers_statement(
    "SELECT q.name FROM rolecall.queued_providers() q(name)"
    " WHERE NOT EXISTS (SELECT FROM rolecall.stopped_providers s WHERE s.provider = q.name)",
    {});

// $1 provider, $2 now, $3 later than any possible due time, $4 TTL in seconds, $5 how many. A user with such
// a due time was synchronized while the clock was wrong, or while the TTL was longer.
pg::Statement correct_statement(
    "UPDATE rolecall.sync_state s SET next_sync_at = $2 + make_interval(secs => $4 * random()),"
    "     last_roles_sync_at = CASE WHEN s.last_roles_sync_at <= $2 THEN s.last_roles_sync_at END FROM ("
    "    SELECT user_id FROM rolecall.sync_state WHERE provider = $1 AND next_sync_at > $3"
    "    AND next_sync_at < 'infinity' LIMIT $5 FOR UPDATE SKIP LOCKED) i"
    " WHERE s.user_id = i.user_id RETURNING 1",
    {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID, INT8OID});

// For both claims: $1 now, $2 lease until, $3 index, $4 started, $5 provider, $6 how many, $7 active since. A
// lease counts until it ends, unless an earlier worker of this index took it, or the clock was wrong: no
// lease lasts for hours or begins in the future. The rows are returned in the order in which to make the
// requests, without users that were changed meanwhile and therefore not taken. `= ANY` on ctid finds the
// locked rows directly, whatever the planner estimates for the table. IS TRUE keeps `taken` a hashed subplan.
#define ROLECALL_CLAIM(condition, order)                                                                \
    "WITH found AS MATERIALIZED ("                                                                      \
    "SELECT d.ctid AS place, d.user_id, u.institutional_id, d.last_roles_sync_at, d.force,"             \
    "     d.next_sync_at IS NOT NULL AND d.next_sync_at <= $1 AS due, d.attempts,"                      \
    "     d.etag, d.last_modified, d.fingerprint"                                                       \
    " FROM rolecall.sync_state d JOIN rolecall.users u ON u.id = d.user_id"                             \
    " WHERE d.provider = $5 AND " condition                                                             \
    "   AND u.provider = $5 AND u.institutional_id IS NOT NULL"                                         \
    "   AND (d.leased_until IS NULL OR d.leased_until <= $1 OR (d.leased_by = $3 AND d.leased_at < $4)" \
    "        OR d.leased_until > $1 + interval '4 hours' OR d.leased_at > $1 + interval '1 minute'"     \
    "        OR d.leased_by IS NULL AND d.last_error_at > $1 + interval '1 minute')"                    \
    " ORDER BY " order                                                                                  \
    " LIMIT $6 FOR UPDATE OF d SKIP LOCKED"                                                             \
    "), taken AS ("                                                                                     \
    "UPDATE rolecall.sync_state SET leased_by = $3, leased_at = $1, leased_until = $2"                  \
    " WHERE ctid = ANY (ARRAY(SELECT place FROM found)) RETURNING user_id"                              \
    ") SELECT user_id, institutional_id, last_roles_sync_at, force, due, attempts,"                     \
    "     etag, last_modified, fingerprint"                                                             \
    " FROM found WHERE (user_id IN (SELECT user_id FROM taken)) IS TRUE"

const std::initializer_list<Oid> claim_types = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID,       TIMESTAMPTZOID,
                                                TEXTOID,        INT8OID,        TIMESTAMPTZOID};

pg::Statement claim_requested_statement(ROLECALL_CLAIM("d.requested_at IS NOT NULL",
                                                       "d.force DESC, d.requested_at"),
                                        claim_types, CURSOR_OPT_GENERIC_PLAN);
// Checks active_at again: inactive users may have become due after put_inactive_to_sleep().
pg::Statement claim_due_statement(
    ROLECALL_CLAIM("d.next_sync_at <= $1 AND coalesce(d.active_at, '-infinity') >= $7", "d.next_sync_at"),
    claim_types, CURSOR_OPT_GENERIC_PLAN);

// Updates that record something of one user do not wait for its row, because a lease ends by itself.
#define ROLECALL_IF_FREE \
    " WHERE user_id = (SELECT user_id FROM rolecall.sync_state WHERE user_id = $1 FOR UPDATE SKIP LOCKED)"

pg::Statement put_back_statement(
    "UPDATE rolecall.sync_state SET leased_by = NULL, leased_at = NULL, leased_until = $2" ROLECALL_IF_FREE,
    {INT8OID, TIMESTAMPTZOID});

// $1 users, $2 index, $3 started: those that this worker has claimed.
pg::Statement put_all_back_statement(
    "UPDATE rolecall.sync_state SET leased_by = NULL, leased_at = NULL, leased_until = NULL"
    " WHERE user_id IN (SELECT user_id FROM rolecall.sync_state WHERE user_id = ANY ($1) AND leased_by = $2"
    "                   AND leased_at >= $3 FOR UPDATE SKIP LOCKED)",
    {INT8ARRAYOID, INT4OID, TIMESTAMPTZOID});

pg::Statement forget_version_statement(
    "UPDATE rolecall.sync_state SET etag = NULL, last_modified = NULL,"
    " fingerprint = NULL" ROLECALL_IF_FREE,
    {INT8OID});

pg::Statement drop_request_statement(
    "UPDATE rolecall.sync_state SET requested_at = NULL, force = false,"
    " leased_by = NULL, leased_at = NULL, leased_until = NULL" ROLECALL_IF_FREE,
    {INT8OID});

pg::Statement failure_statement(
    "UPDATE rolecall.sync_state SET attempts = attempts + 1, last_error = $2, last_error_at = $3,"
    " leased_by = NULL, leased_at = NULL, leased_until = $4,"
    " next_sync_at = greatest(next_sync_at, $4)" ROLECALL_IF_FREE,
    {INT8OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID});

// Returns those of $1 for which no other transaction holds a row that a sync may change. Their rows are
// locked.
pg::Statement lock_rows_statement(
    "WITH w AS (SELECT DISTINCT id FROM unnest($1) w(id)"
    "), u AS MATERIALIZED ("
    "    SELECT id FROM rolecall.users WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED"
    "), s AS MATERIALIZED ("
    "    SELECT user_id FROM rolecall.sync_state WHERE user_id = ANY ($1) FOR UPDATE SKIP LOCKED"
    "), g AS MATERIALIZED ("
    "    SELECT user_id FROM rolecall.user_roles WHERE user_id = ANY ($1) AND source = 'provider'"
    "    FOR UPDATE SKIP LOCKED"
    "), m AS MATERIALIZED ("
    "    SELECT user_id FROM rolecall.user_units WHERE user_id = ANY ($1) FOR UPDATE SKIP LOCKED"
    ") SELECT w.id FROM w"
    " WHERE (SELECT count(*) FROM u WHERE u.id = w.id) >="
    "       (SELECT count(*) FROM rolecall.users x WHERE x.id = w.id)"
    " AND (SELECT count(*) FROM s WHERE s.user_id = w.id) >="
    "     (SELECT count(*) FROM rolecall.sync_state x WHERE x.user_id = w.id)"
    " AND (SELECT count(*) FROM g WHERE g.user_id = w.id) >="
    "     (SELECT count(*) FROM rolecall.user_roles x WHERE x.user_id = w.id AND x.source = 'provider')"
    " AND (SELECT count(*) FROM m WHERE m.user_id = w.id) >="
    "     (SELECT count(*) FROM rolecall.user_units x WHERE x.user_id = w.id)",
    {INT8ARRAYOID});

// The first user that is due by TTL or retry, and the first requested user, among those without a lease. A
// worker checks the users that it leases itself, and a lease ends later than the longest sleep.
pg::Statement next_due_statement(
    "SELECT least((SELECT next_sync_at FROM rolecall.sync_state WHERE provider = $1 AND leased_by IS NULL"
    "              ORDER BY next_sync_at LIMIT 1),"
    "             (SELECT min(coalesce(leased_until, '-infinity')) FROM rolecall.sync_state"
    "              WHERE provider = $1 AND requested_at IS NOT NULL))",
    {TEXTOID});

pg::Statement inbox_statement("SELECT EXISTS (SELECT FROM rolecall.sync_requests)", {});

pg::Statement request_statement(
    "WITH known AS (SELECT id, CASE WHEN institutional_id IS NOT NULL THEN provider END AS provider"
    "               FROM rolecall.users WHERE id = $1), put AS ("
    "    INSERT INTO rolecall.sync_requests (user_id, force) SELECT id, $2 FROM known"
    "    WHERE NOT EXISTS (SELECT FROM rolecall.sync_requests r WHERE r.user_id = $1 AND r.force >= $2)"
    "), state AS ("
    "    INSERT INTO rolecall.sync_state (user_id, provider) SELECT id, provider FROM known"
    "    WHERE NOT EXISTS (SELECT FROM rolecall.sync_state s WHERE s.user_id = $1) ON CONFLICT DO NOTHING"
    ") SELECT EXISTS (SELECT FROM known)",
    {INT8OID, BOOLOID});

void append(std::vector<Claim>& claims, const std::string& provider, const pg::Rows& rows) {
    for (std::uint64_t row = 0; row < rows.size(); ++row) {
        Claim claim;
        claim.user = {.id = rows.bigint(row, 1),
                      .provider = provider,
                      .institutional_id = rows.string(row, 2).value_or(""),
                      .last_sync = std::nullopt,
                      .version = read_version(rows, row, 7)};
        if (!rows.is_null(row, 3))
            claim.user.last_sync = rows.time(row, 3);
        claim.forced = rows.boolean(row, 4);
        claim.due = rows.boolean(row, 5);
        claim.attempts = rows.integer(row, 6);
        claims.push_back(std::move(claim));
    }
}

}  // namespace

void take_requests() { take_requests_statement.run({}); }

std::int64_t add_missing_users(TimestampTz now, std::int64_t most) {
    return static_cast<std::int64_t>(
        add_missing_statement.run({pg::time_parameter(now), pg::bigint_parameter(most)}).size());
}

std::int64_t put_inactive_to_sleep(const std::string& provider, TimestampTz now, TimestampTz active_since,
                                   std::int64_t most) {
    return static_cast<std::int64_t>(put_to_sleep_statement
                                         .run({pg::text_parameter(provider), pg::time_parameter(now),
                                               pg::time_parameter(active_since), pg::bigint_parameter(most)})
                                         .size());
}

void wake_up(const std::string& provider, TimestampTz now, std::int64_t most) {
    wake_up_statement.run(
        {pg::text_parameter(provider), pg::time_parameter(now), pg::bigint_parameter(most)});
}

std::int64_t correct_times(const std::string& provider, TimestampTz now, std::int64_t ttl_seconds,
                           std::int64_t most) {
    const TimestampTz latest = pg::after_seconds(now, std::max(ttl_seconds, longest_pause_seconds) + 60);
    const double ttl = static_cast<double>(pg::after_seconds(now, ttl_seconds) - now) / USECS_PER_SEC;
    return static_cast<std::int64_t>(
        correct_statement
            .run({pg::text_parameter(provider), pg::time_parameter(now), pg::time_parameter(latest),
                  Float8GetDatum(ttl), pg::bigint_parameter(most)})
            .size());
}

std::vector<std::string> queued_providers() {
    const pg::Rows rows = providers_statement.run({});
    std::vector<std::string> names;
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        names.push_back(rows.string(row, 1).value_or(""));
    return names;
}

std::vector<Claim> claim(const Claimer& claimer, const std::string& provider, TimestampTz now,
                         TimestampTz lease_until, TimestampTz active_since, std::int64_t most) {
    std::vector<Claim> claims;
    const pg::Parameter name = pg::text_parameter(provider);
    for (pg::Statement* statement : {&claim_requested_statement, &claim_due_statement}) {
        const std::int64_t left = most - static_cast<std::int64_t>(claims.size());
        if (left > 0)
            append(claims, provider,
                   statement->run({pg::time_parameter(now), pg::time_parameter(lease_until),
                                   pg::integer_parameter(claimer.index), pg::time_parameter(claimer.started),
                                   name, pg::bigint_parameter(left), pg::time_parameter(active_since)}));
    }
    return claims;
}

void put_back(std::int64_t user, TimestampTz not_before) {
    put_back_statement.run({pg::bigint_parameter(user), pg::time_parameter(not_before)});
}

void put_all_back(const Claimer& claimer, std::span<const std::int64_t> users) {
    put_all_back_statement.run({pg::bigint_array_parameter(users), pg::integer_parameter(claimer.index),
                                pg::time_parameter(claimer.started)});
}

std::unordered_set<std::int64_t> lock_rows(std::span<const std::int64_t> users) {
    const pg::Rows rows = lock_rows_statement.run({pg::bigint_array_parameter(users)});
    std::unordered_set<std::int64_t> locked;
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        locked.insert(rows.bigint(row, 1));
    return locked;
}

void forget_version(std::int64_t user) { forget_version_statement.run({pg::bigint_parameter(user)}); }

void drop_request(std::int64_t user) { drop_request_statement.run({pg::bigint_parameter(user)}); }

void note_failure(std::int64_t user, const std::string& error, TimestampTz now, TimestampTz retry_at) {
    failure_statement.run({pg::bigint_parameter(user), pg::text_parameter(error), pg::time_parameter(now),
                           pg::time_parameter(retry_at)});
}

std::optional<TimestampTz> next_due(const std::string& provider) {
    const pg::Rows rows = next_due_statement.run({pg::text_parameter(provider)});
    if (rows.is_null(0, 1))
        return std::nullopt;
    return rows.time(0, 1);
}

bool has_requests() { return inbox_statement.run({}).boolean(0, 1); }

bool request_sync(std::int64_t user, bool force) {
    return request_statement.run({pg::bigint_parameter(user), pg::bool_parameter(force)}).boolean(0, 1);
}

}  // namespace rolecall::sync
