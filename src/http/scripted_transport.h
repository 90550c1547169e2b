// A transport for tests. The script decides when and how requests complete; no network or clock is used.
#pragma once

#include <functional>
#include <set>
#include <utility>

#include "core/error.h"
#include "http/transport.h"

namespace rolecall::http {

class ScriptedTransport final : public Transport {
 public:
    /// A request that was started, for the script to inspect.
    struct Started {
        RequestId id;
        Request request;
    };

    RequestId start(const Request& request) override {
        if (refuse_after == 0)
            throw Error("22023", "refused by the script");
        if (refuse_after > 0)
            --refuse_after;
        started.push_back({++last_id_, request});
        open_.insert(last_id_);
        return last_id_;
    }

    void cancel(RequestId id) override {
        open_.erase(id);
        cancelled.insert(id);
    }

    std::vector<Completion> advance() override { return std::exchange(ready_, {}); }
    int fd() const override { return -1; }
    std::chrono::milliseconds timeout() const override { return std::chrono::milliseconds(0); }
    std::size_t in_flight() const override { return open_.size(); }

    /// Called by the script to complete a request with an answer or with a failure.
    void answer(RequestId id, int status, std::string body) {
        Completion completion;
        completion.id = id;
        completion.status = status;
        completion.received = body.size();
        completion.body = std::move(body);
        complete(std::move(completion));
    }
    void fail(RequestId id, Phase phase, std::string failure) {
        Completion completion;
        completion.id = id;
        completion.failed_in = phase;
        completion.failure = std::move(failure);
        complete(std::move(completion));
    }

    std::vector<Started> started;
    std::set<RequestId> cancelled;
    int refuse_after = -1;  ///< start() throws after this many calls; -1: never

 private:
    void complete(Completion completion) {
        if (open_.erase(completion.id) > 0)
            ready_.push_back(std::move(completion));
    }

    RequestId last_id_ = 0;
    std::set<RequestId> open_;
    std::vector<Completion> ready_;
};

}  // namespace rolecall::http
