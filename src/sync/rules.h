// What to make of an answer under the provider's rules, before anything is written.
#pragma once

#include "pg/pg.h"

#include "provider/fetch.h"
#include "provider/mapping.h"
#include "sync/apply.h"

namespace rolecall::sync {

/// What the answers say of a subject: maps them, and applies on_not_found and unknown_roles. Throws as
/// map_answers(), Error RC103 for a subject that is gone where nothing is to be done about that, RC104 for
/// unknown roles where those are an error. Needs SPI; writes nothing.
provider::ProviderUser understand(const provider::Provider& provider, const std::string& subject,
                                  const provider::Answers& answers);

/// Only the second half: unknown_roles.
void check_roles(const std::string& provider, const provider::Rules& rules, provider::ProviderUser& said);

/// Fills in what an unchanged answer stands for: the roles that the user holds from the provider. False: they
/// are not what the answer gave, and it must be asked for again, as a whole.
bool keep_roles(Sync& sync, const provider::Provider& provider);

}  // namespace rolecall::sync
