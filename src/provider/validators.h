// Which of a provider's answers a user's roles are from, so that the provider can be asked for another one
// only.
#pragma once

#include "pg/pg.h"

#include "core/grant_set.h"
#include "provider/provider.h"

namespace rolecall::provider {

/// What the provider said of its answer, and a fingerprint of what was made of it.
struct Version {
    http::Validators validators;
    std::int64_t fingerprint = 0;
};

/// The version of an answer that gave these roles (normalized).
Version version_of(const http::Completion& answer, const Provider& provider,
                   const std::vector<core::OwnedGrant>& roles);

/// Would the same answer give the roles that the user holds from the provider? Not when somebody changed them
/// since, a role could not be granted, or the provider is asked or its answers are read in another way now.
bool gives(const Version& version, const Provider& provider, const std::vector<core::OwnedGrant>& held);

}  // namespace rolecall::provider
