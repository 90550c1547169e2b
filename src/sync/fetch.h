// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "sync/provider.h"

namespace rolecall::sync {

struct Answers {
    std::string profile;
    std::string roles;      ///< empty: in the profile
    std::string not_found;  ///< otherwise than empty: the provider does not know the subject, and says so how
};

/// The requests to make about one subject: the user, and the roles where those come apart.
std::vector<provider::Request> requests_for(const Provider& provider, const std::string& subject);

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Throws Error RC101 where the provider cannot be reached or is in
/// trouble, RC102 where it refuses us, RC104 for any other status but 404 and 410.
Answers fetch(const Provider& provider, const std::string& subject);

/// Throws the error that an answer's status or failure stands for; a subject that is not found is none.
void check_completion(const Provider& provider, const provider::Completion& done);

/// The completions of requests_for(), checked, as answers.
Answers answers_of(std::vector<provider::Completion> completions);

/// Is an error of check_completion() the provider's, rather than about the subject?
bool is_trouble(const Error& error);

}  // namespace rolecall::sync
