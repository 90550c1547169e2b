// Sets of grants, and the changes that lead from one set to another.
#pragma once

#include <compare>
#include <string>
#include <vector>

namespace rolecall::core {

/// A grant that owns its text: a role on a scope of some kind. A global grant has kind "global" and scope "".
struct OwnedGrant {
    std::string role;
    std::string kind;
    std::string scope;

    auto operator<=>(const OwnedGrant&) const = default;
};

/// Sorts the grants and removes duplicates.
void normalize(std::vector<OwnedGrant>& grants);

struct GrantDiff {
    std::vector<OwnedGrant> added;
    std::vector<OwnedGrant> removed;

    bool empty() const { return added.empty() && removed.empty(); }
};

/// Returns the changes that turn `held` into `wanted`. Both must be normalized.
GrantDiff diff(const std::vector<OwnedGrant>& held, const std::vector<OwnedGrant>& wanted);

}  // namespace rolecall::core
