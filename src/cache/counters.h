// Counters of reads: per backend, so that backends share no cache line, and per projection.
#pragma once

#include "pg/pg.h"

namespace rolecall::cache {

enum class Count : int {
    hits,
    misses,  // the view was queried although the cache could have had the document
    installs,
    bypass_off,       // rolecall.cache = off
    bypass_recovery,  // a standby, or the floor is not ready
    bypass_snapshot,
    bypass_serializable,
    bypass_own_writes,
    skip_own_id,  // loaded but not installed: the transaction has an id
    skip_ddl,     // ... a definition is being changed
    skip_unwatched,
    skip_writers,  // ... a writer of this key had not ended for the loader's snapshot
    skip_size,
    skip_room,  // ... a full load found no free memory
    evictions,  // live entries removed to make room
    loads,      // queries of the view
    load_time,  // microseconds
    counts,
};

/// The place of a projection among the counters. A limited number of projections of the server have a place
/// each; later ones share the last place until a projection is dropped.
using CounterPlace = int;

namespace counters {

std::size_t bytes();
void attach(void* memory);

/// Returns the place of a projection of a database, and assigns one if necessary. `hash` is
/// projection_hash().
CounterPlace place_of(Oid database, std::uint64_t hash);

/// Returns the place of a projection, or -1 if it has none.
CounterPlace existing_place_of(std::uint64_t hash);

/// Returns whether all places are in use. Projections without a place are then counted together.
bool is_full();

/// Frees the place of a projection that was dropped. The next projection that gets it starts at zero.
void forget(std::uint64_t hash);

/// Frees the places of projections in databases other than these. Logs once if there is no free place.
void keep_of(std::span<const Oid> databases);

constexpr CounterPlace places = 32;

struct alignas(64) Block {
    std::atomic<std::uint64_t> values[static_cast<int>(Count::counts)];
};

namespace detail {
extern Block* own;  // this backend's counters by place; found when it first counts
Block* find_own();  // nullptr: this process does not count
}  // namespace detail

inline void add(CounterPlace place, Count what, std::uint64_t number = 1) {
    Block* const own = detail::own != nullptr ? detail::own : detail::find_own();
    if (own == nullptr)
        return;
    // Only this backend writes here, so a read-modify-write instruction is not needed.
    auto& value = own[place].values[static_cast<int>(what)];
    value.store(value.load(std::memory_order_relaxed) + number, std::memory_order_relaxed);
}

/// Return the sum over all backends since the server started, for one place or for all.
std::uint64_t total(CounterPlace place, Count what);
std::uint64_t total(Count what);

}  // namespace counters

}  // namespace rolecall::cache
