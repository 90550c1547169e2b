// Compares what a provider says with what the directory has, and applies the difference.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/grant_set.h"
#include "sync/provider.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// A user, as a sync needs one.
struct User {
    std::int64_t id = 0;
    std::string provider;          ///< empty: none
    std::string institutional_id;  ///< empty: none
    std::optional<TimestampTz> last_sync;
};

struct Outcome {
    bool roles_changed = false;
    bool units_changed = false;
    std::vector<core::OwnedGrant> old_roles;
    std::vector<core::OwnedGrant> new_roles;
};

/// Makes other syncs of this user wait until the transaction ends. Assigns no transaction id.
void lock_user(std::int64_t id);

/// nullopt: no such user. Needs SPI, as everything below.
std::optional<User> find_user(std::int64_t id);

/// The user's grants that a provider gave, normalized.
std::vector<core::OwnedGrant> provider_grants(std::int64_t user);

/// Replaces the provider's grants by `roles` (normalized), lets units follow, and notes the sync as of `now`,
/// the next one to be due `ttl_seconds` later. Local grants are not touched. Roles that do not exist are
/// created.
Outcome apply(const User& user, const std::vector<core::OwnedGrant>& roles, TimestampTz now,
              std::int64_t ttl_seconds);

/// Makes the user's memberships exactly the known units that the roles name, each with the most important of
/// its roles; warns where units are named and none is known. True when that changed something.
bool apply_units(const User& user, const std::vector<core::OwnedGrant>& roles);

}  // namespace rolecall::sync
