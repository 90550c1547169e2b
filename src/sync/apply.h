// Compares what a provider says with what the directory has, and applies the difference.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <optional>

#include "core/grant_set.h"
#include "pg/spi.h"
#include "sync/brake.h"
#include "sync/mapping.h"
#include "sync/provider.h"
#include "sync/version.h"

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
    bool stopped = false;  ///< the provider's syncs are
    std::optional<TimestampTz> last_sync;
    Version version;  ///< of the answer that was applied last

    /// Is the other the same person for the same provider?
    bool has_subject_of(const User& other) const {
        return provider == other.provider && institutional_id == other.institutional_id;
    }
};

/// Why a sync was not applied; nothing was written then.
enum class Hindrance {
    none,
    busy,   ///< without patience: another transaction takes something away just now
    brake,  ///< the provider's syncs are to be stopped
};

struct Outcome {
    Hindrance hindrance = Hindrance::none;
    Excess excess{};  ///< with Hindrance::brake
    bool roles_changed = false;
    bool units_changed = false;
    bool deactivated = false;
    bool no_unit_known = false;  ///< something changed, and of the units that the roles name none is known
    std::vector<core::OwnedGrant> old_roles{};
    std::vector<core::OwnedGrant> new_roles{};

    bool changed() const { return roles_changed || units_changed || deactivated; }
};

/// Makes other syncs of this user wait until the transaction ends. Assigns no transaction id. Waits at most
/// so long itself: throws Error 55P03 then.
void lock_user(std::int64_t id, std::chrono::milliseconds patience);

/// The same without waiting; false: somebody else is at it.
bool try_lock_user(std::int64_t id);

/// nullopt: no such user. Needs SPI, as everything below.
std::optional<User> find_user(std::int64_t id);

/// The columns etag, last_modified and fingerprint, which begin at `column`.
Version read_version(const pg::Rows& rows, std::uint64_t row, int column);

/// The user who is this subject for a provider.
std::optional<std::int64_t> find_subject(const std::string& provider, const std::string& subject);

/// Were the roles synchronized less than the TTL before `time`?
bool is_fresh(const User& user, std::int64_t ttl_seconds, TimestampTz time);

/// When roles synchronized at `time` are due again: within the TTL, with jitter.
TimestampTz due_after(TimestampTz time, std::int64_t ttl_seconds);

/// The user's grants that a provider gave, normalized.
std::vector<core::OwnedGrant> provider_grants(std::int64_t user);

/// Replaces the provider's grants by those that it names, lets units follow, and notes the sync as of `time`,
/// the next one to be due at `next`, and which answer the roles are from. Local grants are not touched. Roles
/// that do not exist are created. A subject that is gone loses the provider's grants, and is deactivated if
/// the rules say so. The last holder of a protected role keeps it, and stays active; a warning says so.
Outcome apply(const User& user, const ProviderUser& said, const Rules& rules, Patience patience,
              TimestampTz time, TimestampTz next);

struct UnitsOutcome {
    bool changed = false;
    bool none_known = false;  ///< units were named, and none of them is known
};

/// Makes the user's memberships exactly the known units that the roles name, each with the most important of
/// its roles.
UnitsOutcome apply_units(const User& user, const std::vector<core::OwnedGrant>& roles);

void warn_of_unknown_units(std::int64_t user);

}  // namespace rolecall::sync
