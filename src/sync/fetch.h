// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "sync/provider.h"

namespace rolecall::sync {

struct Answers {
    std::string profile;
    std::string roles;  ///< empty: in the profile
};

/// The requests to make about one subject: the user, and the roles where those come apart.
std::vector<provider::Request> requests_for(const Provider& provider, const std::string& subject);

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Throws Error RC101 where the provider cannot be reached or is in
/// trouble, RC102 where it refuses us, RC103 where it does not know the subject, RC104 for any other status.
Answers fetch(const Provider& provider, const std::string& subject);

/// Throws the error that an answer's status or failure stands for.
void check_completion(const Provider& provider, const std::string& subject, const provider::Completion& done);

/// Is an error of check_completion() the provider's, rather than about the subject?
bool is_trouble(const Error& error);

}  // namespace rolecall::sync
