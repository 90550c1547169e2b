// The shared memory of projections (stamps, floors, cached documents and counters), and the locks that order
// loaders behind DDL. The postmaster creates the shared memory. It does not exist if the library was not
// preloaded.
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

// Every cache hit reads these fields; they share one cache line.
struct alignas(64) SharedHead {
    std::uint64_t seed;                      // for core::hash()
    core::HighWaterMark high_water;          // of all stamps
    std::atomic<core::FullXid> first_bound;  // the floors' bound after recovery; 0: not yet known
    std::atomic<std::uint32_t> floor_ready;  // 1 when they have been raised
};
static_assert(sizeof(SharedHead) == 64);

/// This process's view of the shared memory.
struct Shared {
    SharedHead* head = nullptr;
    core::Stamps floors;                          // of projections, by projection_hash()
    core::Stamps database_floors;                 // of databases, by database_hash()
    const core::Stamp* database_floor = nullptr;  // of this database; set by version_of_database_floor()
    core::Stamps stamps;                          // of keys and groups, by hash
    core::Cache cache;
};

extern Shared shared;

/// Requests and attaches the shared memory. _PG_init calls it once, while preloading.
void shared_init();

inline bool preloaded() { return shared.head != nullptr; }

[[noreturn]] void complain_not_preloaded();

/// Raises an error with a hint about shared_preload_libraries, unless preloaded().
inline void require_preloaded() {
    if (!preloaded()) [[unlikely]]
        complain_not_preloaded();
}

/// Returns the hash of a projection's key in this database, or of a group: the rows with one value in a
/// lookup. For a group, `projection` is the id of the lookup's watch.
inline std::uint64_t key_hash(std::uint64_t projection, std::string_view key) {
    return core::hash(shared.head->seed, MyDatabaseId, projection, key);
}

/// Prefetches what will be read for a key.
inline void expect(const core::Key& key) {
    shared.cache.expect(key);
    __builtin_prefetch(&shared.stamps.of(key.hash));
}

/// Prefetches the stamps of groups. The numbers may be invalid.
inline void expect(std::span<const std::uint32_t> groups) {
    for (const std::uint32_t group : groups)
        __builtin_prefetch(&shared.stamps[group]);
}

/// Returns the hash for the floor and the counters of a projection of this database.
std::uint64_t projection_hash(std::uint64_t projection);

/// Returns the hash for a database's floor.
std::uint64_t database_hash(Oid database);

/// The stamps that a document depends on: the stamp of its key, the floors of its projection and of this
/// database, and the stamps of its groups.
struct Dependencies {
    std::uint64_t key_hash;
    const core::Stamp* floor;
    std::span<const std::uint32_t> groups;
};

/// Returns the sum of the versions of a projection's floor and of this database's floor.
inline std::uint64_t floor_versions(const core::Stamp* floor) {
    const std::uint64_t own = core::version_of(*floor);
    if (testing::fault(testing::Fault::database_floor_not_read))
        return own;
    return own + core::version_of(*shared.database_floor);
}

/// Returns the version of this database's floor, or 0 if the library is not preloaded. The reading of a
/// definition starts with this call.
std::uint64_t version_of_database_floor();

/// Returns the sum of the current versions of the key's stamp and of the groups' stamps. Together with
/// floor_versions(), it differs from the `versions` of settled() if one of the stamps or floors has changed
/// since, or is changing now.
inline std::uint64_t stamp_versions(const Dependencies& on) {
    std::uint64_t sum = core::version_of(shared.stamps.of(on.key_hash));
    for (const std::uint32_t group : on.groups)
        sum += core::version_of(shared.stamps[group]);
    return sum;
}

/// Returns whether all transactions that these stamps name have ended for the snapshot. If so, `versions` is
/// the sum of the stamps' versions.
bool settled(const Dependencies& on, const core::Snapshot& snapshot, std::uint64_t& versions);

/// Returns the highest transaction that these stamps name, and one that has not ended for the snapshot.
core::Writers writers_of(const Dependencies& on, const core::Snapshot& snapshot);

/// Raises all databases' floors at the first use after recovery. The stamps of prepared transactions were
/// lost, so every transaction that has an id by then must have ended. Returns false while the server is in
/// recovery.
bool make_floor_ready();
inline bool floor_is_ready() {
    return shared.head->floor_ready.load(std::memory_order_acquire) != 0 || make_floor_ready();
}

/// Replaces the bound of make_floor_ready() by the prepared transactions that are still there and the
/// caller's own. Otherwise any transaction that was open at the first use would prevent all caching until it
/// ends. Called once after recovery, in a transaction that does nothing else.
void narrow_floor();

/// Add the current transaction to a stamp, to a projection's floor, to a database's floor or to all
/// databases' floors. If the transaction has no id, one is assigned.
void stamp(std::uint64_t hash);
void stamp_projection(std::uint64_t projection);
void stamp_database(Oid database);
void stamp_all_databases();

/// Projections that run functions whose text may name anything (text_functions.h). mark_text() marks such a
/// projection and returns whether it was marked before. stamp_texts() stamps all marked projections,
/// including those of other databases, and notes the statement.
bool mark_text(std::uint64_t projection);
void stamp_texts(CommandTag by);

/// The number of changes of a database's definitions after which a name or a type in the text of a function
/// may have another meaning (definition/compiled.h). A transaction counts its change after it has locked the
/// definitions and before it commits.
std::uint64_t changes_of_names(Oid database);
void count_change_of_names();
void count_change_of_names_everywhere();

/// How often cached documents became invalid because definitions changed, and the statement that did it last.
struct Invalidations {
    std::uint64_t count = 0;
    CommandTag last = CMDTAG_UNKNOWN;
};
/// note_invalidation...() note that a statement invalidated a projection, a database or all databases; the
/// caller has stamped these. invalidations_of() returns the sum of what was noted for a projection and for
/// this database.
void note_invalidation(std::uint64_t projection, CommandTag by);
void note_invalidation_of_database(Oid database, CommandTag by);
void note_invalidation_of_all(CommandTag by);
Invalidations invalidations_of(std::uint64_t projection);

/// Acquire and release the lock of one partition of the cache. It is an LWLock, so an error releases it.
void lock_partition(std::uint32_t partition);
void unlock_partition(std::uint32_t partition);

/// Removes the cached documents of a projection of a database, or of all its projections if `projection` is
/// 0. It may be called at any time, because removed documents are loaded again when they are read.
void forget_documents(Oid database, std::uint64_t projection);

/// The number of cached documents of a projection of this database, and their size in bytes.
struct Holding {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
};
/// Adds what is cached for each of `projections` (ids) to the element of `holdings` at the same position.
/// Walks the whole index.
void count_holdings(std::span<const std::uint64_t> projections, Holding* holdings);

/// Two heavyweight locks order loaders behind changes of definitions: one for each database, and one for
/// changes that affect all databases. A transaction that is about to commit such a change takes the lock for
/// it in ShareLock mode and holds it to its end. A loader tries to take both in RowExclusiveLock mode and
/// releases them at once; definitions_are_quiet() and definitions_are_quiet_in() return whether that
/// succeeds.
void lock_definitions();
void lock_all_definitions();
bool definitions_are_quiet();
bool definitions_are_quiet_in(Oid database);

}  // namespace rolecall::cache
