// The clock of syncs: what is due, leased and backed off goes by it, so that tests can move it.
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

/// `time` and so many seconds, which may be negative; what lies beyond the times that there are becomes the
/// last, or the first, of them: it can be written, and dumped. Infinite times stay so.
inline TimestampTz after_seconds(TimestampTz time, std::int64_t seconds) {
    if (TIMESTAMP_NOT_FINITE(time))
        return time;
    std::int64_t sum = 0;
    if (__builtin_mul_overflow(seconds, USECS_PER_SEC, &sum) || __builtin_add_overflow(time, sum, &sum))
        sum = seconds < 0 ? MIN_TIMESTAMP : END_TIMESTAMP - 1;
    return std::clamp<std::int64_t>(sum, MIN_TIMESTAMP, END_TIMESTAMP - 1);
}

/// Does `time` lie so far ahead that it was written while the clock was wrong? It says nothing then.
inline bool is_from_a_wrong_clock(TimestampTz time, TimestampTz now) {
    return time > after_seconds(now, 60) && !TIMESTAMP_IS_NOEND(time);
}

/// Microseconds that only go forward, the same for all processes of the server: for pauses.
inline TimestampTz steady_now() {
    timespec time{};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * USECS_PER_SEC + time.tv_nsec / 1000;
}

/// Uniform in [0, 1), for jitter.
inline double chance() { return pg_prng_double(&pg_global_prng_state); }

}  // namespace rolecall::pg
