// Compares what a provider says with what the directory has, and applies the difference.
#pragma once

#include "pg/pg.h"

#include <functional>

#include "provider/mapping.h"
#include "sync/revocation_limit.h"
#include "sync/user.h"

namespace rolecall::sync {

/// Why a sync was not applied; nothing was written then.
enum class Obstacle {
    none,
    busy,   ///< without patience: another transaction takes something away just now
    brake,  ///< the provider's syncs are to be stopped
};

struct Outcome {
    Obstacle obstacle = Obstacle::none;
    Excess excess{};  ///< with Obstacle::brake
    bool roles_changed = false;
    bool units_changed = false;
    bool deactivated = false;
    bool no_unit_known = false;  ///< something changed, and of the units that the roles name none is known
    std::vector<core::OwnedGrant> old_roles{};
    std::vector<core::OwnedGrant> new_roles{};

    bool changed() const { return roles_changed || units_changed || deactivated; }
};

/// A user's sync that is about to be applied, or was.
struct Sync {
    User user;  ///< as found under its lock, as is `held`
    provider::ProviderUser said;
    std::vector<core::OwnedGrant> held;  ///< provider_grants()
    TimestampTz next = 0;                ///< when the next one is due
    bool only_takes_away = false;  ///< what is to be given is held up: it is left out, and nothing noted
    Outcome outcome{};             ///< set by apply()
};

/// Replaces the provider's grants of each user by those that it names, lets units follow, and notes the sync
/// as of `time`, and which answer the roles are from. Local grants are not touched. Roles that do not exist
/// are created. A subject that is gone loses the provider's grants, and is deactivated if the rules say so.
/// The last holder of a protected role keeps it, and stays active; a warning says so. All are of one
/// provider, each user comes once; after the first that the brake holds nobody is applied. Calls `meanwhile`,
/// which must not wait, between statements.
void apply(
    std::span<Sync> syncs, const provider::Rules& rules, LockWait patience, TimestampTz time,
    const std::function<void()>& meanwhile = [] {});

}  // namespace rolecall::sync
