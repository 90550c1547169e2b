// Areas of shared memory, set aside when the server starts.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "storage/lwlock.h"
}

namespace rolecall::pg {

struct SharedArea {
    const char* name;        ///< of the area, and of its tranche of locks
    std::size_t (*bytes)();  ///< asked when MaxBackends is known
    int (*locks)();

    /// Makes a process see the area; `is_new`: it is zeroed, and nobody has seen it yet. One process at a
    /// time.
    void (*attach)(void* memory, bool is_new, LWLockPadded* locks);
};

/// Asks for an area. From _PG_init, while preloading.
void add_shared_area(const SharedArea& area);

}  // namespace rolecall::pg
