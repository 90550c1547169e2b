// When to try again after failures: exponential backoff with jitter (Brooker, "Exponential backoff and
// jitter", 2015). Pure: time and chance come in as arguments. Times are microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rolecall::core {

struct Backoff {
    std::int64_t first;  ///< half of the most that the first pause may be
    std::int64_t most;   ///< no pause is longer

    /// The pause after `failures` failures in a row (at least 1) with full jitter: `chance` is uniform in
    /// [0, 1), the pause anything up to the exponential one, so that those who failed together come back
    /// apart.
    constexpr std::int64_t full_jitter(int failures, double chance) const {
        return static_cast<std::int64_t>(static_cast<double>(ceiling(failures)) * chance);
    }

    /// With equal jitter: at least half of the exponential one. For who must not come back at once.
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

/// By how much a clock was set back that showed `seen` before. Two processes that look at it at once may tell
/// of it in the wrong order: that is nothing.
constexpr std::int64_t clock_fell_by(std::int64_t seen, std::int64_t now) {
    constexpr std::int64_t negligible = 1'000'000;
    return now < seen - negligible ? seen - now : 0;
}

constexpr std::int64_t saturated_sum(std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/// When to sync again after a success: before the TTL has passed, so that roles are never older, and spread
/// over its last fifth, so that those who were synchronized together come back apart.
constexpr std::int64_t after_success(std::int64_t ttl, double chance) {
    return ttl - static_cast<std::int64_t>(static_cast<double>(ttl) / 5 * chance);
}

}  // namespace rolecall::core
