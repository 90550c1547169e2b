// Fetches that take one request or several: all answers of one subject come together.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "provider/transport.h"

namespace rolecall::provider {

using FetchId = std::uint64_t;

/// What came of a fetch: the completions of its requests, in their order. When one does not bring a 2xx
/// status the others are given up, and it is the only one.
struct Fetched {
    FetchId id = 0;
    std::vector<Completion> completions;
};

/// Runs fetches over a transport, which it owns. One thread, as the transport.
class Fetcher {
 public:
    explicit Fetcher(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}

    /// Starts a fetch of at least one request. Throws what Transport::start() throws, and leaves nothing
    /// behind.
    FetchId start(const std::vector<Request>& requests);

    /// Gives a fetch up; nothing is heard of it any more.
    void cancel(FetchId id);

    /// Does what can be done without waiting, and returns the fetches that ended since.
    std::vector<Fetched> advance();

    /// As Transport.
    int fd() const { return transport_->fd(); }
    std::chrono::milliseconds timeout() const { return transport_->timeout(); }

    std::size_t in_flight() const { return fetches_.size(); }

 private:
    struct Fetch {
        std::vector<RequestId> requests;
        std::vector<Completion> completions;  // a place for each request
        std::size_t missing = 0;
    };

    void give_up(const Fetch& fetch);

    std::unique_ptr<Transport> transport_;
    FetchId last_id_ = 0;
    std::map<FetchId, Fetch> fetches_;
    std::map<RequestId, FetchId> owners_;
};

}  // namespace rolecall::provider
