// Fetching what a provider says, in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "http/fetcher.h"
#include "provider/provider.h"
#include "provider/statistics.h"

namespace rolecall::provider {

/// A transport whose sockets count among the process's descriptors, as the server counts them.
std::unique_ptr<http::Transport> make_transport();

struct Answers {
    std::vector<http::Pages> pages;  ///< to requests_for()
    std::string not_found;  ///< otherwise than empty: the provider does not know the subject, and says so how
    std::size_t bytes = 0;  ///< of all that was received
    std::optional<Error> failed{};  ///< of a request after the first: no roles, but who is gone is gone
};

/// A subject as addresses have it, whatever encoding the database is in; as it is where it has no such form.
/// In a transaction.
std::string in_utf8(const std::string& subject);

/// The requests to make about one subject, which is in UTF-8: the user, and the roles where those come apart.
/// Where `known` is not empty, the roles only if they are another answer. The provider is sent `request_id`,
/// so that its log and our audit can be laid side by side.
std::vector<http::PagedRequest> requests_for(const Provider& provider, const std::string& subject,
                                             const http::Validators& known, const std::string& request_id);

/// Asks the provider about one subject and waits, interruptibly: a cancel or a timeout of the statement ends
/// it. No transaction id is assigned. Throws Error RC105 where the provider is not to be asked now, and what
/// judge() throws.
Answers fetch(const Provider& provider, const std::string& subject, const http::Validators& known,
              const std::string& request_id);

/// The first request for a provider's list of users.
http::Request list_request(const Provider& provider, const std::string& request_id);

/// Asks for one page of it, as fetch().
http::Completion fetch_page(const Provider& provider, const http::Request& request);

/// Reports to the breaker and the rate limit what came of a fetch, and throws the error that it ended with,
/// if it did: Error RC101 where the provider cannot be reached or is in trouble, RC102 where it refuses us,
/// RC104 for any other status and for pages that cannot be followed. A subject that is not found is no error,
/// nor is a request after the first that failed: the first answer may say that the subject is gone.
/// `subject`: whom it was about; empty: a list.
void judge(const Provider& provider, const http::Fetched& fetched, const std::string& subject = {});

/// A fetch that judge() lets pass, as answers.
Answers answers_of(const Provider& provider, http::Fetched fetched);

/// What asking about a subject takes.
Asking asking(const Provider& provider);

}  // namespace rolecall::provider
