// A user as syncs see one: who it is for the provider, what the provider gave, and when.
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
    bool is_confirmed = false;  ///< by the provider: synchronized, and not stale
    bool stopped = false;       ///< the provider's syncs are
    std::optional<TimestampTz> last_sync;
    provider::Version version;  ///< of the answer that was applied last

    /// Is the other the same person for the same provider?
    bool has_subject_of(const User& other) const {
        return provider == other.provider && institutional_id == other.institutional_id;
    }
};

/// Makes other syncs of this user wait until the transaction ends. Assigns no transaction id. Waits at most
/// so long itself: throws Error 55P03 then. For sessions, which step aside for a worker (sync/overdue.h).
void lock_user(std::int64_t id, std::chrono::milliseconds patience);

/// The same without waiting; false: somebody else is at it.
bool try_lock_user(std::int64_t id);

/// nullopt: no such user. Needs SPI, as everything below.
std::optional<User> find_user(std::int64_t id);

/// Those of these users that exist, by id.
std::unordered_map<std::int64_t, User> find_users(std::span<const std::int64_t> ids);

/// The columns etag, last_modified and fingerprint, which begin at `column`.
provider::Version read_version(const pg::Rows& rows, std::uint64_t row, int column);

/// The user who is this subject for a provider.
std::optional<std::int64_t> find_subject(const std::string& provider, const std::string& subject);

/// Were the roles synchronized less than the TTL before `time`?
bool is_fresh(const User& user, std::int64_t ttl_seconds, TimestampTz time);

/// Were they synchronized by somebody else since `asked_at`? A time that only a wrong clock can have noted
/// says nothing.
bool is_synced_since(const User& user, TimestampTz asked_at, TimestampTz time);

/// When roles synchronized at `time` are due again: within the TTL, with jitter.
TimestampTz due_after(TimestampTz time, std::int64_t ttl_seconds);

/// The user's grants that a provider gave, normalized.
std::vector<core::OwnedGrant> provider_grants(std::int64_t user);

/// The same of several users; of those who hold any.
std::unordered_map<std::int64_t, std::vector<core::OwnedGrant>> provider_grants(
    std::span<const std::int64_t> users);

}  // namespace rolecall::sync
