// Statistics of the fixed tables in shared memory. A table that becomes full frees dead slots, logs this
// once, and shows it in rolecall.stat_slots.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

struct SlotCounts {
    std::int64_t slots = 0;
    std::int64_t used = 0;
    std::int64_t evicted = 0;  ///< entries removed to make room
    std::int64_t refused = 0;  ///< times that no slot was free
};

struct SlotTable {
    const char* name;
    SlotCounts (*count)();
};

/// Adds a table to the statistics. Call it from the attach() of the table's area.
void add_slots(const SlotTable& table);

/// Logs at LOG level that a table is full, and the consequence.
void log_full(const char* name, int slots, const char* consequence);

}  // namespace rolecall::pg
