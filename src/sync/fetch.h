// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "sync/provider.h"

namespace rolecall::sync {

struct Answers {
    std::string profile;
    std::string roles;  ///< empty: in the profile
};

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Throws Error RC101 where the provider cannot be reached or is in
/// trouble, RC102 where it refuses us, RC103 where it does not know the subject, RC104 for any other status.
Answers fetch(const Provider& provider, const std::string& subject);

/// The error that an answer's status or failure stands for; never returns when there is one.
void check_completion(const Provider& provider, const std::string& subject, const provider::Completion& done);

}  // namespace rolecall::sync
