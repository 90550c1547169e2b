// Areas of shared memory, allocated at server start.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "storage/lwlock.h"
}

namespace rolecall::pg {

struct SharedArea {
    const char* name;        ///< of the area and of its LWLock tranche
    std::size_t (*bytes)();  ///< called when MaxBackends is known
    int (*locks)();

    /// Called in each process, in one process at a time. `is_new`: the memory is zeroed and no process has
    /// used it.
    void (*attach)(void* memory, bool is_new, LWLockPadded* locks);
};

/// Requests an area. Call it from _PG_init, while preloading.
void add_shared_area(const SharedArea& area);

/// Holds a lock of an area for its scope. Nothing in the scope may raise an error of PostgreSQL, which would
/// jump over the destructor; the end of the transaction releases the lock then.
class HeldLock {
 public:
    explicit HeldLock(LWLock* lock, LWLockMode mode = LW_EXCLUSIVE) : lock_(lock) {
        LWLockAcquire(lock_, mode);
    }
    ~HeldLock() { LWLockRelease(lock_); }
    HeldLock(const HeldLock&) = delete;
    HeldLock& operator=(const HeldLock&) = delete;

 private:
    LWLock* lock_;
};

}  // namespace rolecall::pg
