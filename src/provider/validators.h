// Identifies the answer from which a user's roles are, so that the provider can be asked for a different one
// only.
#pragma once

#include "pg/pg.h"

#include "core/grant_set.h"
#include "provider/provider.h"

namespace rolecall::provider {

/// The validators that the provider sent with its answer, and a fingerprint of the roles made of it.
struct Version {
    http::Validators validators;
    std::int64_t fingerprint = 0;
};

/// Returns the version of an answer that gave these roles (normalized).
Version version_of(const http::Completion& answer, const Provider& provider,
                   const std::vector<core::OwnedGrant>& roles);

/// Returns whether the same answer would give the roles that the user holds from the provider. It would not
/// if the roles were changed since, if a role could not be granted, or if the provider is now asked, or its
/// answers are read, in another way.
bool gives(const Version& version, const Provider& provider, const std::vector<core::OwnedGrant>& held);

}  // namespace rolecall::provider
