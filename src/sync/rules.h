// Applies the provider's rules to an answer, before anything is written.
#pragma once

#include "pg/pg.h"

#include "provider/fetch.h"
#include "provider/mapping.h"
#include "sync/apply.h"

namespace rolecall::sync {

/// Maps the answers about a subject, and applies on_not_found and unknown_roles. Throws what map_answers()
/// throws, Error RC103 if the subject is gone and on_not_found is keep, RC104 for unknown roles if
/// unknown_roles is error. Needs SPI; writes nothing.
provider::ProviderUser understand(const provider::Provider& provider, const std::string& subject,
                                  const provider::Answers& answers);

/// Does only the second half of understand(): unknown_roles.
void check_roles(const std::string& provider, const provider::Rules& rules, provider::ProviderUser& said);

/// Fills in the roles that an unchanged answer stands for: those that the user holds from the provider.
/// Returns false if they are not what that answer gave; then the provider must be asked again, for the whole
/// answer.
bool keep_roles(Sync& sync, const provider::Provider& provider);

}  // namespace rolecall::sync
