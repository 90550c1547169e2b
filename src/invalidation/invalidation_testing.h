// Support for tests of invalidation. In an ordinary build these functions do nothing (pg/testing.h).
#pragma once

#include "pg/pg.h"

extern "C" {
#include "commands/trigger.h"
}

namespace rolecall::testing {

#ifdef ROLECALL_TESTING
/// For the fault lookup_keys_by_query: stamps the users that a query finds for a changed row.
void stamp_lookup_by_query(const TriggerData& data);
#else
inline void stamp_lookup_by_query(const TriggerData&) {}
#endif

}  // namespace rolecall::testing
