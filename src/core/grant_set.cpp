#include "core/grant_set.h"

#include <algorithm>
#include <iterator>

namespace rolecall::core {

void normalize(std::vector<OwnedGrant>& grants) {
    std::sort(grants.begin(), grants.end());
    grants.erase(std::unique(grants.begin(), grants.end()), grants.end());
}

GrantDiff diff(const std::vector<OwnedGrant>& held, const std::vector<OwnedGrant>& wanted) {
    GrantDiff result;
    std::set_difference(wanted.begin(), wanted.end(), held.begin(), held.end(),
                        std::back_inserter(result.added));
    std::set_difference(held.begin(), held.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(result.removed));
    return result;
}

}  // namespace rolecall::core
