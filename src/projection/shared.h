// The shared memory of projections: stamps, floors, cached documents and counters; and the lock that orders
// loaders behind DDL. Made by the postmaster; absent when the library was not preloaded.
#pragma once

#include "pg/pg.h"

#include "core/cache.h"
#include "core/stamps.h"

namespace rolecall::projection {

/// What is counted, per backend and without sharing a cache line; stat_cache adds them up.
enum class Count : int {
    hits,
    misses,  // the view was queried although the cache might have answered
    installs,
    bypass_off,       // rolecall.cache = off
    bypass_recovery,  // a standby, or no snapshot that a cache can answer for
    bypass_snapshot,
    bypass_serializable,
    bypass_own_writes,
    skip_own_id,  // loaded and not installed: the transaction has an id
    skip_ddl,     // ... a definition is being changed
    skip_unwatched,
    skip_writers,  // ... a writer of this key was not finished for the loader's snapshot
    skip_size,
    counts,
};

struct alignas(64) BackendCounters {
    std::atomic<std::uint64_t> values[static_cast<int>(Count::counts)];
};

struct SharedHead {
    std::uint64_t seed;                      // of core::hash
    std::atomic<std::uint32_t> floor_ready;  // the common floor was raised after recovery
    std::atomic<core::FullXid> common_floor;
};

/// This process's view of the shared memory.
struct Shared {
    SharedHead* head = nullptr;
    core::Stamps floors;  // one slot per projection, by hash
    core::Stamps stamps;  // one slot per key, by hash
    core::Cache cache;
    BackendCounters* counters = nullptr;
    int counter_slots = 0;
};

extern Shared shared;

/// Requests and attaches shared memory; called once, from _PG_init, while preloading.
void shared_init();

inline bool preloaded() { return shared.head != nullptr; }

/// Raises an error that says what to put into shared_preload_libraries, unless preloaded().
void require_preloaded();

inline void count(Count what) {
    const int slot = pg::backend_slot();
    if (slot < 0 || slot >= shared.counter_slots)
        return;
    // Only this backend writes here: no read-modify-write is needed.
    auto& value = shared.counters[slot].values[static_cast<int>(what)];
    value.store(value.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

std::uint64_t total(Count what);

/// The hash of a key of this database.
std::uint64_t key_hash(std::uint64_t projection, std::string_view key);

/// The hash under which a projection's floor is kept.
std::uint64_t floor_hash(std::uint64_t projection);

/// The next transaction id to be assigned, in full. Takes a lock.
core::FullXid next_full_xid();

/// Raises the common floor at the first use after recovery. False while the server is in recovery.
bool floor_is_ready();

/// The caller's top-level transaction id plus one, assigning the id if there is none.
core::FullXid own_stamp();

void raise_stamp(std::uint64_t hash);
void raise_projection_floor(std::uint64_t projection);
void raise_common_floor();

/// The lock of one partition of the cache. An error in between releases it, as any LWLock.
void lock_partition(std::uint32_t partition);
void unlock_partition(std::uint32_t partition);

/// The rolecall object whose lock orders definitions: DDL holds it in ShareLock to its end, a loader tries
/// RowExclusiveLock and gives it back at once.
void lock_definitions_for_change();
bool definitions_are_quiet();

}  // namespace rolecall::projection
