// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "provider/fetcher.h"
#include "sync/provider.h"

namespace rolecall::sync {

/// The requests to make about one subject: the user, and the roles where those come apart. Where `known` is
/// not empty, the roles only if they are another answer.
std::vector<provider::PagedRequest> requests_for(const Provider& provider, const std::string& subject,
                                                 const provider::Validators& known);

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Returns the answers to requests_for(). Throws what check_fetched()
/// throws.
std::vector<provider::Pages> fetch(const Provider& provider, const std::string& subject,
                                   const provider::Validators& known);

/// Throws the error that a fetch ended with, if it did: Error RC101 where the provider cannot be reached or
/// is in trouble, RC102 where it refuses us, RC103 where it does not know the subject, RC104 for any other
/// status and for pages that cannot be followed.
void check_fetched(const Provider& provider, const std::string& subject, const provider::Fetched& fetched);

/// Is an error of check_fetched() the provider's, rather than about the subject?
bool is_trouble(const Error& error);

}  // namespace rolecall::sync
