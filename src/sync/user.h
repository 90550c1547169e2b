// A user from the view of a sync: its identity for the provider, what the provider granted, and when.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <optional>
#include <unordered_map>

#include "core/grant_set.h"
#include "pg/spi.h"
#include "provider/validators.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// A user, as a sync needs one.
struct User {
    std::int64_t id = 0;
    std::string provider;          ///< empty: none
    std::string institutional_id;  ///< empty: none
    bool is_active = false;
    bool is_confirmed = false;  ///< by the provider: synchronized and not stale
    bool stopped = false;       ///< whether the provider's syncs are stopped
    std::optional<TimestampTz> last_sync;
    provider::Version version;  ///< of the last answer that was applied

    /// Returns whether the other is the same subject of the same provider.
    bool has_subject_of(const User& other) const {
        return provider == other.provider && institutional_id == other.institutional_id;
    }
};

/// Blocks other syncs of this user until the transaction ends. Assigns no transaction id. Waits at most
/// `lock_wait`, then throws Error 55P03. For sessions, which step aside for a worker (sync/overdue.h).
void lock_user(std::int64_t id, std::chrono::milliseconds lock_wait);

/// Likewise without waiting. Returns false if another transaction synchronizes the user.
bool try_lock_user(std::int64_t id);

/// Returns nullopt if there is no such user. Needs SPI, as do all functions below.
std::optional<User> find_user(std::int64_t id);

/// Returns those of `ids` that exist, by id.
std::unordered_map<std::int64_t, User> find_users(std::span<const std::int64_t> ids);

/// Reads the columns etag, last_modified and fingerprint, which begin at `column`.
provider::Version read_version(const pg::Rows& rows, std::uint64_t row, int column);

/// Returns the user with this subject of a provider.
std::optional<std::int64_t> find_subject(const std::string& provider, const std::string& subject);

/// Returns whether the roles were synchronized less than the TTL before `time`.
bool is_fresh(const User& user, std::int64_t ttl_seconds, TimestampTz time);

/// Returns whether another sync has synchronized the user since `asked_at`. A recorded time that is possible
/// only with a wrong clock is ignored.
bool is_synced_since(const User& user, TimestampTz asked_at, TimestampTz time);

/// Returns when roles synchronized at `time` are due again: within the TTL, with jitter.
TimestampTz due_after(TimestampTz time, std::int64_t ttl_seconds);

/// Returns the user's grants from a provider, normalized.
std::vector<core::OwnedGrant> provider_grants(std::int64_t user);

/// Likewise for several users. Users without such grants are left out.
std::unordered_map<std::int64_t, std::vector<core::OwnedGrant>> provider_grants(
    std::span<const std::int64_t> users);

}  // namespace rolecall::sync
