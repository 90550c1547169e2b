// Sets of grants, and what must change to get from one to the other.
#pragma once

#include <compare>
#include <string>
#include <vector>

namespace rolecall::core {

/// A grant that owns its text: a role on a scope of some kind. Global: kind "global", scope "".
struct OwnedGrant {
    std::string role;
    std::string kind;
    std::string scope;

    auto operator<=>(const OwnedGrant&) const = default;
};

/// Order and doubles mean nothing: puts grants in ascending order, each once.
void normalize(std::vector<OwnedGrant>& grants);

struct GrantDiff {
    std::vector<OwnedGrant> added;
    std::vector<OwnedGrant> removed;

    bool empty() const { return added.empty() && removed.empty(); }
};

/// What turns `held` into `wanted`. Both normalized.
GrantDiff diff(const std::vector<OwnedGrant>& held, const std::vector<OwnedGrant>& wanted);

}  // namespace rolecall::core
