// The fixed tables in shared memory: how full each is, and what came of that. One that is full frees what is
// dead, says so in the log, once, and shows it in rolecall.stat_slots.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

struct SlotCounts {
    std::int64_t slots = 0;
    std::int64_t used = 0;
    std::int64_t evicted = 0;  ///< what made room for something else
    std::int64_t refused = 0;  ///< times that nothing was free
};

struct SlotTable {
    const char* name;
    SlotCounts (*count)();
};

/// Shows a table. From the attach() of its area.
void add_slots(const SlotTable& table);

/// At LOG: a table is full, and what follows from that.
void log_full(const char* name, int slots, const char* consequence);

}  // namespace rolecall::pg
