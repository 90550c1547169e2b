// Fetches that consist of several requests, each with several pages. A fetch ends with all answers for its
// subject, or with a failure.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "core/error.h"
#include "http/pager.h"
#include "http/transport.h"

namespace rolecall::http {

using FetchId = std::uint64_t;

/// A request whose answer may come in pages.
struct PagedRequest {
    Request request;
    Paging paging;
};

/// A complete answer: its pages, at least one.
using Pages = std::vector<Completion>;

/// The result of a fetch. A complete fetch has the answers to its requests, in their order. A failed fetch
/// has `failed`, a completion with a failure or with a status other than 200 (304 is accepted for a
/// conditional request), or `refused`, the reason why pages could not be followed (Pager); its remaining
/// requests are cancelled. The first request, which is about the subject itself, takes precedence: a failure
/// of another request ends the fetch only when the answer to the first one is complete, whichever ends first.
struct Fetched {
    FetchId id = 0;
    std::vector<Pages> answers;  ///< if the fetch failed: the first request's if complete, else none
    std::optional<Completion> failed;
    bool failed_at_once = false;  ///< the first request failed at its first page
    std::optional<Error> refused;
    int requests = 0;  ///< requests made; each page counts

    bool is_complete() const { return !failed && !refused; }
};

/// Runs fetches over a transport, which it owns. Like the transport, it belongs to one thread.
class Fetcher {
 public:
    using Clock = std::chrono::steady_clock;

    /// Tests replace `now`.
    explicit Fetcher(std::unique_ptr<Transport> transport,
                     std::function<Clock::time_point()> now = Clock::now)
        : transport_(std::move(transport)), now_(std::move(now)) {}

    /// Starts a fetch of at least one request. A request's limits of time and size apply to all its pages
    /// together. Throws what Transport::start() throws; then no request of the fetch stays under way.
    FetchId start(const std::vector<PagedRequest>& requests);

    /// Cancels a fetch. advance() will not return it.
    void cancel(FetchId id);

    /// Processes what can be processed without waiting, and returns the fetches that ended since the last
    /// call.
    std::vector<Fetched> advance();

    /// Like those of Transport.
    int fd() const { return transport_->fd(); }
    std::chrono::milliseconds timeout() const { return transport_->timeout(); }

    std::size_t in_flight() const { return fetches_.size(); }

 private:
    // One request of a fetch, and the pages received so far.
    struct PartialFetch {
        Pager pager;
        RequestId under_way = 0;  // 0: no request is under way; this part has ended
        Clock::time_point deadline;
        std::size_t room = 0;  // bytes that further pages may have
        Pages pages;
        std::optional<Completion> failed{};
        std::optional<Error> refused{};

        bool has_failed() const { return failed || refused; }
        bool is_complete() const { return under_way == 0 && !has_failed(); }
    };

    struct Fetch {
        std::vector<PartialFetch> parts;
        int requests = 0;
    };

    void ask(FetchId id, Fetch& fetch, PartialFetch& part, const Request& request);
    void take(FetchId id, Fetch& fetch, Completion completion);
    static bool has_ended(const Fetch& fetch);
    static Fetched result_of(FetchId id, Fetch fetch);
    std::optional<Completion> ask_for_next_page(FetchId id, Fetch& fetch, PartialFetch& part);
    void give_up(const Fetch& fetch);

    std::unique_ptr<Transport> transport_;
    std::function<Clock::time_point()> now_;
    FetchId last_id_ = 0;
    std::map<FetchId, Fetch> fetches_;
    std::map<RequestId, FetchId> owners_;
};

}  // namespace rolecall::http
