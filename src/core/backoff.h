// The time of the next attempt after failures: exponential backoff with jitter (Brooker, "Exponential backoff
// and jitter", 2015). The functions are pure: the time and the random number are arguments. Times are
// microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rolecall::core {

struct Backoff {
    std::int64_t first;  ///< half of the upper limit of the first pause
    std::int64_t most;   ///< upper limit of every pause

    /// Returns the pause after `failures` failures in a row (at least 1) with full jitter: anything up to the
    /// exponential pause, so that callers that failed together come back at different times. `chance` is
    /// uniform in [0, 1).
    constexpr std::int64_t full_jitter(int failures, double chance) const {
        return static_cast<std::int64_t>(static_cast<double>(ceiling(failures)) * chance);
    }

    /// The same with equal jitter: at least half of the exponential pause, for callers that must not come
    /// back at once.
    constexpr std::int64_t equal_jitter(int failures, double chance) const {
        const std::int64_t half = ceiling(failures) / 2;
        return half + static_cast<std::int64_t>(static_cast<double>(half) * chance);
    }

 private:
    constexpr std::int64_t ceiling(int failures) const {
        std::int64_t pause = first * 2;
        for (int i = 1; i < failures && pause < most; ++i)
            pause *= 2;
        return std::min(pause, most);
    }
};

/// Returns by how much a clock that showed `seen` before was set back, or 0. Differences of up to a second do
/// not count, because two processes that read the clock at the same moment may report it in the wrong order.
constexpr std::int64_t clock_fell_by(std::int64_t seen, std::int64_t now) {
    constexpr std::int64_t negligible = 1'000'000;
    return now < seen - negligible ? seen - now : 0;
}

constexpr std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/// Returns when to sync again after a success. This is before the TTL has passed, so that roles are never
/// older than the TTL, and spread over its last fifth, so that users synchronized together come back at
/// different times.
constexpr std::int64_t after_success(std::int64_t ttl, double chance) {
    return ttl - static_cast<std::int64_t>(static_cast<double>(ttl) / 5 * chance);
}

}  // namespace rolecall::core
