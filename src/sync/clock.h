// The clock of syncs: what is due, leased and backed off goes by it, so that tests can move it.
#pragma once

#include "pg/pg.h"

#include "pg/testing.h"

extern "C" {
#include "common/pg_prng.h"
#include "utils/timestamp.h"
}

namespace rolecall::sync {

inline TimestampTz now() { return GetCurrentTimestamp() + testing::clock_offset(); }

/// Uniform in [0, 1), for jitter.
inline double chance() { return pg_prng_double(&pg_global_prng_state); }

}  // namespace rolecall::sync
