// The clock of syncs. Due times, leases and backoff use it, so that tests can move all of them.
#pragma once

#include "pg/pg.h"

#include <ctime>

#include "pg/testing.h"

extern "C" {
#include "common/pg_prng.h"
#include "utils/timestamp.h"
}

namespace rolecall::pg {

inline TimestampTz now() { return GetCurrentTimestamp() + testing::clock_offset(); }

/// Returns `time` plus `seconds`, which may be negative. A result beyond the range of timestamptz becomes the
/// last or the first value of the range, so that it can be stored and dumped. Infinite times are returned as
/// they are.
inline TimestampTz after_seconds(TimestampTz time, std::int64_t seconds) {
    if (TIMESTAMP_NOT_FINITE(time))
        return time;
    std::int64_t sum = 0;
    if (__builtin_mul_overflow(seconds, USECS_PER_SEC, &sum) || __builtin_add_overflow(time, sum, &sum))
        sum = seconds < 0 ? MIN_TIMESTAMP : END_TIMESTAMP - 1;
    return std::clamp<std::int64_t>(sum, MIN_TIMESTAMP, END_TIMESTAMP - 1);
}

/// Returns whether `time` lies so far ahead that it was written while the clock was wrong. The caller should
/// then ignore it.
inline bool is_from_a_wrong_clock(TimestampTz time, TimestampTz now) {
    return time > after_seconds(now, 60) && !TIMESTAMP_IS_NOEND(time);
}

/// Returns microseconds of a clock that is never set back and is the same in all processes of the server. For
/// pauses.
inline TimestampTz steady_now() {
    timespec time{};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * USECS_PER_SEC + time.tv_nsec / 1000;
}

/// Returns a random number, uniform in [0, 1), for jitter.
inline double chance() { return pg_prng_double(&pg_global_prng_state); }

}  // namespace rolecall::pg
