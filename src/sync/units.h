// Derives memberships of units from roles: each user is a member of exactly the known units that its
// provider's roles name, with the most important of its roles on each.
#pragma once

#include "pg/pg.h"

#include <unordered_map>

#include "core/grant_set.h"

namespace rolecall::sync {

/// A user, and the roles from which its memberships are derived.
struct Linking {
    std::int64_t user;
    const std::vector<core::OwnedGrant>& roles;
};

struct UnitsOutcome {
    bool changed = false;
    bool none_known = false;  ///< units were named, but none of them is known
};

/// Updates the memberships of users of one provider (empty: none). Each user occurs once. Returns the
/// outcomes by user, without users for which there is nothing to report. Needs SPI.
std::unordered_map<std::int64_t, UnitsOutcome> link_units(const std::string& provider,
                                                          std::span<const Linking> linkings);

void warn_of_unknown_units(std::int64_t user);

}  // namespace rolecall::sync
