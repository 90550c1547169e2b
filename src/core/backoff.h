// When to try again after failures: exponential backoff with jitter (Brooker, "Exponential backoff and
// jitter", 2015). Pure: time and chance come in as arguments. Times are microseconds.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rolecall::core {

struct Backoff {
    std::int64_t first;  ///< mean of the first pause
    std::int64_t most;   ///< no pause is longer

    /// The pause after `failures` failures in a row (at least 1). `chance` is uniform in [0, 1): the pause
    /// lies between half of the exponential one and all of it, so that those who failed together come back
    /// apart.
    constexpr std::int64_t pause(int failures, double chance) const {
        std::int64_t ceiling = first * 2;
        for (int i = 1; i < failures && ceiling < most; ++i)
            ceiling *= 2;
        ceiling = std::min(ceiling, most);
        const std::int64_t half = ceiling / 2;
        return half + static_cast<std::int64_t>(static_cast<double>(half) * chance);
    }
};

/// When to sync again after a success: before the TTL has passed, so that roles are never older, and spread
/// over its last fifth, so that those who were synchronized together come back apart.
constexpr std::int64_t after_success(std::int64_t ttl, double chance) {
    return ttl - static_cast<std::int64_t>(static_cast<double>(ttl) / 5 * chance);
}

}  // namespace rolecall::core
