// Compares what a provider says with what the directory contains, and applies the difference.
#pragma once

#include "pg/pg.h"

#include <functional>

#include "provider/mapping.h"
#include "sync/revocation_limit.h"
#include "sync/user.h"

namespace rolecall::sync {

/// Why a sync was not applied. If there is an obstacle, nothing was written.
enum class Obstacle {
    none,
    busy,   ///< the caller did not want to wait, and another transaction is revoking something
    brake,  ///< the provider's syncs must be stopped
};

struct Outcome {
    Obstacle obstacle = Obstacle::none;
    Excess excess{};  ///< with Obstacle::brake
    bool roles_changed = false;
    bool units_changed = false;
    bool deactivated = false;
    bool no_unit_known = false;  ///< something changed, and none of the units that the roles name is known
    std::vector<core::OwnedGrant> old_roles{};
    std::vector<core::OwnedGrant> new_roles{};

    bool changed() const { return roles_changed || units_changed || deactivated; }
};

/// A user's sync, before or after it is applied.
struct Sync {
    User user;  ///< read under its lock, as is `held`
    provider::ProviderUser said;
    std::vector<core::OwnedGrant> held;  ///< provider_grants()
    TimestampTz next = 0;                ///< when the next one is due
    /// The part to be granted is blocked: it is left out, and the sync is not recorded.
    bool only_takes_away = false;
    Outcome outcome{};  ///< set by apply()
};

/// Replaces each user's grants from the provider by those that the provider names, updates units accordingly,
/// and records the sync as of `time` and the version of the answer. Local grants are not changed. Roles that
/// do not exist are created. A subject that is gone loses the provider's grants, and is deactivated if the
/// rules say so. The last holder of a protected role keeps it and stays active; a warning says so. All syncs
/// are of one provider, and each user occurs once. After the first one that the brake stops, none is applied.
/// Calls `meanwhile`, which must not wait, between statements.
void apply(
    std::span<Sync> syncs, const provider::Rules& rules, LockWait lock_wait, TimestampTz time,
    const std::function<void()>& meanwhile = [] {});

}  // namespace rolecall::sync
