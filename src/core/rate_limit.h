// The request rate limit of one provider: the generic cell rate algorithm (ITU-T I.371), a leaky bucket that
// is one number. Plain data, for shared memory; the caller holds the lock that guards it. Times are
// microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/backoff.h"

namespace rolecall::core {

class RateLimit {
 public:
    /// Returns when the next request may be made at `per_second` (0: no limit), or `now` if that is at once.
    /// After a pause, the requests of a tenth of a second may be made together, but at least one.
    std::int64_t next(std::int64_t now, double per_second) {
        if (per_second <= 0)
            return now;
        set_clock(now);
        const double burst = std::max(1.0, per_second / 10);
        return std::max(now, due_ - cost(burst - 1, per_second));
    }

    /// Counts `requests` that are made now or will be made at the time that next() returned.
    void take(std::int64_t now, double per_second, int requests) {
        if (per_second <= 0)
            return;
        set_clock(now);
        due_ = saturated_sum(std::max(due_, now), cost(requests, per_second));
    }

    /// Takes back `requests` that were counted by take() but not made.
    void give_back(double per_second, int requests) {
        if (per_second > 0)
            due_ -= std::min(due_, cost(requests, per_second));
    }

    bool is_idle(std::int64_t now) const { return due_ <= now; }

 private:
    // Keeps the due time as far ahead as it was when a clock that was ahead is set back.
    void set_clock(std::int64_t now) {
        due_ -= clock_fell_by(seen_, now);
        seen_ = now;
    }

    static std::int64_t cost(double requests, double per_second) {
        return static_cast<std::int64_t>(std::min(requests * 1e6 / per_second, 1e15));
    }

    std::int64_t due_ = 0;   // when all requests so far would have been made at even intervals
    std::int64_t seen_ = 0;  // time of the last call
};

}  // namespace rolecall::core
