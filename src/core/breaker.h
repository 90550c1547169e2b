// A circuit breaker for one provider (Nygard, "Release It!"): after some failures in a row nobody asks for a
// while; then one may probe, and what it finds closes the breaker or opens it for longer. Plain data, for
// shared memory; the caller holds its lock. Times are microseconds.
#pragma once

#include <cstdint>

#include "core/backoff.h"

namespace rolecall::core {

enum class BreakerState { closed, open, half_open };

class Breaker {
 public:
    static constexpr int failures_to_open = 5;
    static constexpr Backoff pauses{.first = 5'000'000, .most = 300'000'000};

    /// May a request be made now? In half-open, to one caller; it must report how that went.
    bool allow(std::int64_t now) {
        if (now < not_before_)
            return false;
        if (state_ == BreakerState::closed)
            return true;
        if (state_ == BreakerState::open && now >= until_) {
            state_ = BreakerState::half_open;
            until_ = now + probe_patience;
            return true;
        }
        if (state_ == BreakerState::half_open && now >= until_) {  // whoever probed never came back
            until_ = now + probe_patience;
            return true;
        }
        return false;
    }

    /// When to ask allow() again; `now` when it says yes already. A probe under way decides soon.
    std::int64_t next(std::int64_t now) const {
        std::int64_t next = now;
        if (state_ == BreakerState::half_open && until_ > now)
            next = std::min(until_, now + probe_poll);
        else if (state_ == BreakerState::open)
            next = std::max(until_, now);
        return std::max(next, not_before_);
    }

    void succeeded() {
        const std::int64_t not_before = not_before_;
        *this = {};
        not_before_ = not_before;
    }

    /// The provider asks to be left alone, however other requests end.
    void wait_until(std::int64_t time) { not_before_ = std::max(not_before_, time); }

    void failed(std::int64_t now, double chance) {
        ++failures_;
        if (state_ == BreakerState::half_open ||
            (state_ == BreakerState::closed && failures_ >= failures_to_open)) {
            ++openings_;
            state_ = BreakerState::open;
            until_ = now + pauses.equal_jitter(openings_, chance);
        }
    }

    BreakerState state() const { return state_; }
    int failures() const { return failures_; }

 private:
    static constexpr std::int64_t probe_patience = 60'000'000;
    static constexpr std::int64_t probe_poll = 1'000'000;

    BreakerState state_ = BreakerState::closed;
    int failures_ = 0;  // in a row
    int openings_ = 0;  // since it was last closed
    std::int64_t until_ = 0;
    std::int64_t not_before_ = 0;
};

}  // namespace rolecall::core
