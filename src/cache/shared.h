// The shared memory of projections: stamps, floors, cached documents and counters; and the lock that orders
// loaders behind DDL. Made by the postmaster; absent when the library was not preloaded.
#pragma once

#include "pg/pg.h"

#include "cache/counters.h"
#include "core/cache.h"
#include "core/hash.h"
#include "core/stamps.h"
#include "pg/testing.h"

extern "C" {
#include "tcop/cmdtag.h"
}

namespace rolecall::cache {

// What every hit reads, in one cache line.
struct alignas(64) SharedHead {
    std::uint64_t seed;                      // of core::hash
    core::HighWaterMark high_water;          // of all stamps
    std::atomic<core::FullXid> first_bound;  // to which all databases' floors were raised after recovery
    std::atomic<std::uint32_t> floor_ready;  // ... when they were
};
static_assert(sizeof(SharedHead) == 64);

/// This process's view of the shared memory.
struct Shared {
    SharedHead* head = nullptr;
    core::Stamps floors;                          // of projections, by hash
    core::Stamps database_floors;                 // of databases, by hash
    const core::Stamp* database_floor = nullptr;  // of this one; there when a definition has been read
    core::Stamps stamps;                          // of keys and groups, by hash
    core::Cache cache;
};

extern Shared shared;

/// Requests and attaches shared memory; called once, from _PG_init, while preloading.
void shared_init();

inline bool preloaded() { return shared.head != nullptr; }

[[noreturn]] void complain_not_preloaded();

/// Raises an error that says what to put into shared_preload_libraries, unless preloaded().
inline void require_preloaded() {
    if (!preloaded()) [[unlikely]]
        complain_not_preloaded();
}

/// The hash of a projection's key in this database; or of a group, the rows with one value in a lookup, whose
/// watch's id stands for the projection's.
inline std::uint64_t key_hash(std::uint64_t projection, std::string_view key) {
    return core::hash(shared.head->seed, MyDatabaseId, projection, key);
}

/// Says early that a key will be read.
inline void expect(const core::Key& key) {
    shared.cache.expect(key);
    __builtin_prefetch(&shared.stamps.of(key.hash));
}

/// The same of the stamps of groups; they need not be any.
inline void expect(std::span<const std::uint32_t> groups) {
    for (const std::uint32_t group : groups)
        __builtin_prefetch(&shared.stamps[group]);
}

/// The hash that names a projection of this database: of its floor, and of its counters.
std::uint64_t projection_hash(std::uint64_t projection);

/// The hash that names a database's floor.
std::uint64_t database_hash(Oid database);

/// All that a document depends on: its key's stamp, its projection's floor, its database's, and the stamps of
/// its groups.
struct Dependencies {
    std::uint64_t key_hash;
    const core::Stamp* floor;
    std::span<const std::uint32_t> groups;
};

/// The versions of a projection's floor and its database's, added up.
inline std::uint64_t floor_versions(const core::Stamp* floor) {
    const std::uint64_t own = core::version_of(*floor);
    if (testing::fault(testing::Fault::database_floor_not_read))
        return own;
    return own + core::version_of(*shared.database_floor);
}

/// The version of this database's floor, which a definition's reading begins with; 0: not preloaded.
std::uint64_t version_of_database_floor();

/// The sum of the other versions as they are. With those of the floors: another than settled() told if one
/// has changed, or changes now.
inline std::uint64_t stamp_versions(const Dependencies& on) {
    std::uint64_t sum = core::version_of(shared.stamps.of(on.key_hash));
    for (const std::uint32_t group : on.groups)
        sum += core::version_of(shared.stamps[group]);
    return sum;
}

/// Has everybody who wrote to one of them finished for this snapshot? `versions` is then the sum of their
/// versions.
bool settled(const Dependencies& on, const core::Snapshot& snapshot, std::uint64_t& versions);

core::Writers writers_of(const Dependencies& on, const core::Snapshot& snapshot);

/// Raises all databases' floors at the first use after recovery: everybody must have finished who had an id
/// by then, for the stamps of prepared transactions were lost. False while the server is in recovery.
bool make_floor_ready();
inline bool floor_is_ready() {
    return shared.head->floor_ready.load(std::memory_order_acquire) != 0 || make_floor_ready();
}

/// Lets only those wait for whom it must be: the prepared transactions that are still there. Else any
/// transaction that was open at the first use would keep everything from being cached until it ends. Once
/// after recovery, in a transaction of the caller's that does nothing else.
void narrow_floor();

/// Each adds the caller's transaction to a stamp, assigning its id if it has none.
void stamp(std::uint64_t hash);
void stamp_projection(std::uint64_t projection);
void stamp_database(Oid database);
void stamp_all_databases();

/// Projections that run functions whose text may name anything (text_functions.h). mark_text(): was it known?
/// stamp_texts() stamps those that are known, those of other databases too, and notes by which statement.
bool mark_text(std::uint64_t projection);
void stamp_texts(CommandTag by);

/// How often definitions of a database have changed so that a name or a type may mean something else in the
/// text of a function (definition/compiled.h). A transaction counts its change when it has locked
/// definitions, before it commits.
std::uint64_t changes_of_names(Oid database);
void count_change_of_names();
void count_change_of_names_everywhere();

/// What definitions made unusable: how often, and by which statement the last time.
struct Invalidations {
    std::uint64_t count = 0;
    CommandTag last = CMDTAG_UNKNOWN;
};
/// Notes that a statement did, of what was stamped; and tells what was noted of a projection, or its
/// database.
void note_invalidation(std::uint64_t projection, CommandTag by);
void note_invalidation_of_database(Oid database, CommandTag by);
void note_invalidation_of_all(CommandTag by);
Invalidations invalidations_of(std::uint64_t projection);

/// The lock of one partition of the cache. An error in between releases it, as any LWLock.
void lock_partition(std::uint32_t partition);
void unlock_partition(std::uint32_t partition);

/// Gives back the memory of a projection's documents in a database; of all projections where it is 0. At any
/// time: what is forgotten is loaded again when it is wanted.
void forget_documents(Oid database, std::uint64_t projection);

/// How many documents of a projection of this database are cached, and their bytes.
struct Holding {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
};
/// Adds up what is held of each of `projections` (ids), walking the whole index; `holdings` has as many.
void count_holdings(std::span<const std::uint64_t> projections, Holding* holdings);

/// The objects whose locks order loaders behind changes of definitions: one of this database, and one of what
/// counts in all. Who is about to commit such a change takes its own in ShareLock and holds it to the end, a
/// loader tries RowExclusiveLock on both and gives it back at once.
void lock_definitions();
void lock_all_definitions();
bool definitions_are_quiet();
bool definitions_are_quiet_in(Oid database);

}  // namespace rolecall::cache
