#include "sync/user.h"

#include "core/backoff.h"
#include "core/error.h"
#include "pg/clock.h"
#include "sync/locks.h"
#include "sync/overdue.h"

namespace rolecall::sync {

namespace {

pg::Statement find_statement(
    "SELECT u.provider, u.institutional_id, s.last_roles_sync_at, s.etag, s.last_modified, s.fingerprint,"
    "       u.is_active, EXISTS (SELECT FROM rolecall.stopped_providers p WHERE p.provider = u.provider), "
    "u.id, u.roles_synced AND NOT u.roles_stale"
    " FROM rolecall.users u LEFT JOIN rolecall.sync_state s ON s.user_id = u.id WHERE u.id = ANY ($1)",
    {INT8ARRAYOID});

pg::Statement subject_statement("SELECT id FROM rolecall.users WHERE provider = $1 AND institutional_id = $2",
                                {TEXTOID, TEXTOID});

pg::Statement held_statement(
    "SELECT user_id, role, scope_kind, scope_id FROM rolecall.user_roles"
    " WHERE user_id = ANY ($1) AND source = 'provider'",
    {INT8ARRAYOID});

}  // namespace

// A session that waited steps aside as well, because the worker may have tried to lock the user meanwhile.
void lock_user(std::int64_t id, std::chrono::milliseconds lock_wait) {
    step_aside_for_worker(id);
    if (try_lock_user(id))
        return;
    if (!lock_within(locktag_of_user(id), ExclusiveLock, lock_wait))
        throw Error(
            "55P03", "user " + std::to_string(id) + " is being synchronized by another session",
            "It was waited for for " + std::to_string(lock_wait.count()) + " ms, the request timeout.",
            "Try again, or leave it to the worker by trigger_role_sync_for_user().");
    try {
        refuse_overdue(id);
    } catch (const Error&) {
        unlock(locktag_of_user(id), ExclusiveLock);
        throw;
    }
}

bool try_lock_user(std::int64_t id) { return try_lock(locktag_of_user(id), ExclusiveLock); }

std::unordered_map<std::int64_t, User> find_users(std::span<const std::int64_t> ids) {
    const pg::Rows rows = find_statement.run({pg::bigint_array_parameter(ids)});
    std::unordered_map<std::int64_t, User> users;
    for (std::uint64_t row = 0; row < rows.size(); ++row) {
        User user{.id = rows.bigint(row, 9),
                  .provider = rows.string(row, 1).value_or(""),
                  .institutional_id = rows.string(row, 2).value_or(""),
                  .is_active = rows.boolean(row, 7),
                  .is_confirmed = rows.boolean(row, 10),
                  .stopped = rows.boolean(row, 8),
                  .last_sync = std::nullopt,
                  .version = read_version(rows, row, 4)};
        if (!rows.is_null(row, 3))
            user.last_sync = rows.time(row, 3);
        users.emplace(user.id, std::move(user));
    }
    return users;
}

std::optional<User> find_user(std::int64_t id) {
    auto found = find_users({&id, 1});
    return found.empty() ? std::nullopt : std::optional(std::move(found.begin()->second));
}

std::optional<std::int64_t> find_subject(const std::string& provider, const std::string& subject) {
    const pg::Rows rows = subject_statement.run({pg::text_parameter(provider), pg::text_parameter(subject)});
    return rows.size() == 0 ? std::nullopt : std::optional(rows.bigint(0, 1));
}

std::unordered_map<std::int64_t, std::vector<core::OwnedGrant>> provider_grants(
    std::span<const std::int64_t> users) {
    const pg::Rows rows = held_statement.run({pg::bigint_array_parameter(users)});
    std::unordered_map<std::int64_t, std::vector<core::OwnedGrant>> grants;
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        grants[rows.bigint(row, 1)].push_back({rows.string(row, 2).value_or(""),
                                               rows.string(row, 3).value_or(""),
                                               rows.string(row, 4).value_or("")});
    for (auto& entry : grants)
        core::normalize(entry.second);
    return grants;
}

std::vector<core::OwnedGrant> provider_grants(std::int64_t user) {
    return std::move(provider_grants({&user, 1})[user]);
}

provider::Version read_version(const pg::Rows& rows, std::uint64_t row, int column) {
    return {.validators = {.etag = rows.string(row, column).value_or(""),
                           .last_modified = rows.string(row, column + 1).value_or("")},
            .fingerprint = rows.bigint(row, column + 2)};
}

bool is_fresh(const User& user, std::int64_t ttl_seconds, TimestampTz time) {
    return user.last_sync && *user.last_sync <= time &&
           pg::after_seconds(*user.last_sync, ttl_seconds) > time;
}

bool is_synced_since(const User& user, TimestampTz asked_at, TimestampTz time) {
    return user.last_sync && *user.last_sync > asked_at && *user.last_sync <= time;
}

TimestampTz due_after(TimestampTz time, std::int64_t ttl_seconds) {
    const std::int64_t ttl = pg::after_seconds(time, ttl_seconds) - time;
    return pg::after_seconds(time, 0) + core::after_success(ttl, pg::chance());
}

}  // namespace rolecall::sync
