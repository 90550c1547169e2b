// What is counted of reads: per backend, so that counting shares no cache line, and per projection.
#pragma once

#include "pg/pg.h"

namespace rolecall::cache {

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
    skip_room,  // ... another document would have had to make room for one of a load of all
    evictions,  // live entries that made room
    loads,      // queries of the view
    load_time,  // microseconds
    counts,
};

/// A projection's place among the counters. So many projections of the server have one each; what comes later
/// shares the last, until one is dropped.
using CounterPlace = int;

namespace counters {

std::size_t bytes();
void attach(void* memory);

/// The place of a projection of a database, given the hash that names it there (projection_hash()).
CounterPlace place_of(Oid database, std::uint64_t hash);

/// The same, or -1 where nothing was counted of it.
CounterPlace existing_place_of(std::uint64_t hash);

/// Is none free? What has none then is counted, but not by itself.
bool is_full();

/// A projection was dropped: another one may have its place, and begins at zero.
void forget(std::uint64_t hash);

/// Forgets the projections of all other databases, and says in the log, once, if there is no room.
void keep_of(std::span<const Oid> databases);

constexpr CounterPlace places = 32;

struct alignas(64) Block {
    std::atomic<std::uint64_t> values[static_cast<int>(Count::counts)];
};

namespace detail {
extern Block* own;  // this backend's, by place; found when it first counts
Block* find_own();  // nullptr: a process that counts nothing
}  // namespace detail

inline void add(CounterPlace place, Count what, std::uint64_t number = 1) {
    Block* const own = detail::own != nullptr ? detail::own : detail::find_own();
    if (own == nullptr)
        return;
    // Only this backend writes here: no read-modify-write is needed.
    auto& value = own[place].values[static_cast<int>(what)];
    value.store(value.load(std::memory_order_relaxed) + number, std::memory_order_relaxed);
}

/// Sums over all backends that there were since the server started; of one place, or of all.
std::uint64_t total(CounterPlace place, Count what);
std::uint64_t total(Count what);

}  // namespace counters

}  // namespace rolecall::cache
