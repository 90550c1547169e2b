// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "provider/fetcher.h"
#include "sync/provider.h"
#include "sync/statistics.h"

namespace rolecall::sync {

/// The requests to make about one subject: the user, and the roles where those come apart. Where `known` is
/// not empty, the roles only if they are another answer.
std::vector<provider::PagedRequest> requests_for(const Provider& provider, const std::string& subject,
                                                 const provider::Validators& known);

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Returns the answers to requests_for(). Throws Error RC105 where the
/// provider is not to be asked now, and what judge() throws.
std::vector<provider::Pages> fetch(const Provider& provider, const std::string& subject,
                                   const provider::Validators& known);

/// Reports to the breaker and the rate limit what came of a fetch, and throws the error that it ended with,
/// if it did: Error RC101 where the provider cannot be reached or is in trouble, RC102 where it refuses us,
/// RC103 where it does not know the subject, RC104 for any other status and for pages that cannot be
/// followed.
void judge(const Provider& provider, const std::string& subject, const provider::Fetched& fetched);

/// What asking about a subject takes.
Asking asking(const Provider& provider);

}  // namespace rolecall::sync
