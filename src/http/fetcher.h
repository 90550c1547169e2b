// Fetches that take several requests, and several pages each: all answers of one subject come together, or a
// failure.
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

/// What came of a fetch: the answers to its requests, in their order. Or, with the others given up, the
/// completion that has a failure or a status other than 200 (or the 304 that was asked for), or why pages
/// could not be followed (Pager). The first request, which is about the subject itself, has the last word:
/// what befalls the others waits for its answer, in whatever order they end.
struct Fetched {
    FetchId id = 0;
    std::vector<Pages> answers;  ///< of a fetch that failed: the first one's, if it is complete; else none
    std::optional<Completion> failed;
    bool failed_at_once = false;  ///< the first request did, at its first page
    std::optional<Error> refused;
    int requests = 0;  ///< that were made, pages counted

    bool is_complete() const { return !failed && !refused; }
};

/// Runs fetches over a transport, which it owns. One thread, as the transport.
class Fetcher {
 public:
    using Clock = std::chrono::steady_clock;

    /// `now` is for tests.
    explicit Fetcher(std::unique_ptr<Transport> transport,
                     std::function<Clock::time_point()> now = Clock::now)
        : transport_(std::move(transport)), now_(std::move(now)) {}

    /// Starts a fetch of at least one request. Time and size that a request allows are for all its pages
    /// together. Throws what Transport::start() throws, and leaves nothing behind.
    FetchId start(const std::vector<PagedRequest>& requests);

    /// Gives a fetch up; nothing is heard of it any more.
    void cancel(FetchId id);

    /// Does what can be done without waiting, and returns the fetches that ended since.
    std::vector<Fetched> advance();

    /// As Transport.
    int fd() const { return transport_->fd(); }
    std::chrono::milliseconds timeout() const { return transport_->timeout(); }

    std::size_t in_flight() const { return fetches_.size(); }

 private:
    // One request of a fetch, on its way through its pages.
    struct PartialFetch {
        Pager pager;
        RequestId under_way = 0;  // 0: it has ended
        Clock::time_point deadline;
        std::size_t room = 0;  // bytes
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
