// What tests need of invalidation; in an ordinary build nothing (pg/testing.h).
#pragma once

#include "pg/pg.h"

extern "C" {
#include "commands/trigger.h"
}

namespace rolecall::testing {

#ifdef ROLECALL_TESTING
/// The fault lookup_keys_by_query: stamps the users whom a query finds for a changed row.
void stamp_lookup_by_query(const TriggerData& data);
#else
inline void stamp_lookup_by_query(const TriggerData&) {}
#endif

}  // namespace rolecall::testing
