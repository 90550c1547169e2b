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
    std::atomic<core::FullXid> first_bound;  // ... to this
    core::Stamp common_floor;
};

/// This process's view of the shared memory.
struct Shared {
    SharedHead* head = nullptr;
    core::Stamps floors;  // of projections, by hash
    core::Stamps stamps;  // of keys and groups, by hash
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

/// The hash of a projection's key in this database; or of a group, the rows with one value in a lookup, whose
/// watch's id stands for the projection's.
std::uint64_t key_hash(std::uint64_t projection, std::string_view key);

/// Says early that a key will be read.
inline void expect(const core::Key& key) {
    shared.cache.expect(key);
    __builtin_prefetch(&shared.stamps.of(key.hash));
}

/// Which stamp is a projection's floor.
std::uint32_t floor_index(std::uint64_t projection);

/// All that a document depends on: its key's stamp, the floors above it, and the stamps of its groups.
struct Dependencies {
    std::uint64_t key_hash;
    std::uint32_t floor;
    std::span<const std::uint32_t> groups;
};

/// Has everybody who wrote to one of them finished for this snapshot? `versions` is then the sum of their
/// versions.
bool settled(const Dependencies& on, const core::Snapshot& snapshot, std::uint64_t& versions);

/// The sum alone; false while one of them changes.
bool versions_of(const Dependencies& on, std::uint64_t& versions);

core::Writers writers_of(const Dependencies& on, const core::Snapshot& snapshot);

/// Raises the common floor at the first use after recovery: everybody must have finished who had an id by
/// then, for the stamps of prepared transactions were lost. False while the server is in recovery.
bool floor_is_ready();

/// Lets only those wait for whom it must be: the prepared transactions that are still there. Else any
/// transaction that was open at the first use would keep everything from being cached until it ends. Once
/// after recovery, in a transaction of the caller's that does nothing else.
void narrow_floor();

/// Each adds the caller's transaction to a stamp, assigning its id if it has none.
void stamp(std::uint64_t hash);
void stamp_projection(std::uint64_t projection);
void stamp_everything();

/// The lock of one partition of the cache. An error in between releases it, as any LWLock.
void lock_partition(std::uint32_t partition);
void unlock_partition(std::uint32_t partition);

/// Gives back the memory of a projection's documents in a database; of all projections where it is 0. At any
/// time: what is forgotten is loaded again when it is wanted.
void forget_documents(Oid database, std::uint64_t projection);

/// The rolecall object whose lock orders definitions: DDL holds it in ShareLock to its end, a loader tries
/// RowExclusiveLock and gives it back at once.
void lock_definitions_for_change();
bool definitions_are_quiet();

}  // namespace rolecall::projection
