// Fetches a provider's answers in a session.
#pragma once

#include "pg/pg.h"

#include "core/error.h"
#include "http/fetcher.h"
#include "provider/provider.h"
#include "provider/statistics.h"

namespace rolecall::provider {

/// Returns a transport whose sockets count among the process's file descriptors, as the server counts them.
std::unique_ptr<http::Transport> make_transport();

struct Answers {
    std::vector<http::Pages> pages;  ///< one for each of requests_for()
    std::string not_found;  ///< if not empty: how the provider said that it does not know the subject
    std::size_t bytes = 0;  ///< received in total
    /// The error of a request after the first. There are no roles then, but the first answer may still say
    /// that the subject is gone.
    std::optional<Error> failed{};
};

/// Returns a subject as it is used in URLs: in UTF-8, whatever the database encoding is, or unchanged if it
/// cannot be converted. In a transaction.
std::string in_utf8(const std::string& subject);

/// Returns the requests to make about one subject, which is in UTF-8: one for the user, and one for the roles
/// if those have a request of their own. If `known` is not empty, the request for the roles is
/// conditional: the provider sends them only if the answer differs from the known one. `request_id` is sent
/// to the provider, so that its log can be matched with our audit.
std::vector<http::PagedRequest> requests_for(const Provider& provider, const std::string& subject,
                                             const http::Validators& known, const std::string& request_id);

/// Requests one subject from the provider and waits. Interruptible: a cancel or a statement timeout ends the
/// wait. No transaction id is assigned. Throws Error RC105 if the provider must not be asked now, and what
/// judge() throws.
Answers fetch(const Provider& provider, const std::string& subject, const http::Validators& known,
              const std::string& request_id);

/// Returns the first request for a provider's list of users.
http::Request list_request(const Provider& provider, const std::string& request_id);

/// Fetches one page of the list. Waits and throws like fetch().
http::Completion fetch_page(const Provider& provider, const http::Request& request);

/// Reports the result of a fetch to the breaker and the rate limit, and throws the error with which it ended,
/// if any: Error RC101 if the provider cannot be reached or is in trouble, RC102 if it refuses the
/// request, RC104 for any other status and for pages that cannot be followed. A subject that is not found is
/// not an error. Nor is a failed request after the first, because the first answer may say that the subject
/// is gone. `subject` is the subject of the request; it is empty for a list.
void judge(const Provider& provider, const http::Fetched& fetched, const std::string& subject = {});

/// Returns the answers of a fetch that judge() lets pass.
Answers answers_of(const Provider& provider, http::Fetched fetched);

/// Returns the parameters for may_ask() and its like (provider/statistics.h) for requests about one subject.
Asking asking(const Provider& provider);

}  // namespace rolecall::provider
