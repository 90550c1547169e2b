#include "cache/shared.h"

#include "pg/settings.h"
#include "pg/shmem.h"
#include "pg/snapshot.h"
#include "pg/testing.h"

extern "C" {
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
}

namespace rolecall::cache {

using testing::Fault;

Shared shared;

namespace {

constexpr std::size_t floor_slots = 1024;
constexpr std::size_t database_slots = 128;
// About one stamp for two documents. The stamps take a sixty-fourth of the cache. Documents that share a
// stamp are all loaded again when one of them changes.
constexpr std::size_t cache_bytes_per_stamp = 2048;

LWLockPadded* partition_locks = nullptr;

// The invalidations noted for a floor. The array has the floors of projections first, then those of
// databases.
struct InvalidationRecord {
    std::atomic<std::uint64_t> count;
    std::atomic<std::uint64_t> last;  // number of the invalidation << tag_bits | command tag; 0: none
};
constexpr int tag_bits = 16;

InvalidationRecord* records = nullptr;
std::atomic<std::uint64_t>* last_invalidation = nullptr;  // the number of the last one

std::atomic<bool>* texts = nullptr;  // by floor: whether it is marked by mark_text()

std::atomic<std::uint64_t>* name_changes = nullptr;  // by a database's floor: changes_of_names()

struct Areas {
    std::size_t stamp_slots;
    core::Cache::Layout cache;
    std::size_t texts_at, name_changes_at, floors_at, database_floors_at, invalidations_at, stamps_at,
        counters_at, cache_at, testing_at, bytes;
};

Areas plan() {
    Areas layout{};
    const std::size_t budget = std::size_t{1024} * settings::cache_size;
    layout.stamp_slots = std::bit_floor(budget / cache_bytes_per_stamp);
    layout.cache = core::Cache::plan(budget - core::Stamps::bytes(layout.stamp_slots),
                                     std::size_t{1024} * settings::max_document_size);

    std::size_t at = CACHELINEALIGN(sizeof(SharedHead));
    const auto take = [&at](std::size_t bytes) {
        const std::size_t here = at;
        at = add_size(at, CACHELINEALIGN(bytes));
        return here;
    };
    layout.floors_at = take(core::Stamps::bytes(floor_slots));
    layout.database_floors_at = take(core::Stamps::bytes(database_slots));
    layout.invalidations_at =
        take(sizeof(InvalidationRecord) * (floor_slots + database_slots) + sizeof(*last_invalidation));
    layout.texts_at = take(sizeof(*texts) * floor_slots);
    layout.name_changes_at = take(sizeof(*name_changes) * database_slots);
    layout.stamps_at = take(core::Stamps::bytes(layout.stamp_slots));
    layout.counters_at = take(counters::bytes());
    layout.cache_at = take(layout.cache.bytes);
    layout.testing_at = take(testing::shared_bytes());
    layout.bytes = at + PG_CACHE_LINE_SIZE;  // to align the start
    return layout;
}

void attach(void* memory, bool is_new, LWLockPadded* locks) {
    const Areas layout = plan();
    char* base = reinterpret_cast<char*>(CACHELINEALIGN(memory));
    auto* head = reinterpret_cast<SharedHead*>(base);
    if (is_new) {
        if (!pg_strong_random(&head->seed, sizeof head->seed))
            ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random seed")));
        if (testing::fault(Fault::floor_at_start_only))
            head->floor_ready.store(1);
    }
    shared.floors = {reinterpret_cast<core::Stamp*>(base + layout.floors_at), floor_slots};
    shared.database_floors = {reinterpret_cast<core::Stamp*>(base + layout.database_floors_at),
                              database_slots};
    records = reinterpret_cast<InvalidationRecord*>(base + layout.invalidations_at);
    last_invalidation = reinterpret_cast<std::atomic<std::uint64_t>*>(records + floor_slots + database_slots);
    texts = reinterpret_cast<std::atomic<bool>*>(base + layout.texts_at);
    name_changes = reinterpret_cast<std::atomic<std::uint64_t>*>(base + layout.name_changes_at);
    shared.stamps = {reinterpret_cast<core::Stamp*>(base + layout.stamps_at), layout.stamp_slots};
    counters::attach(base + layout.counters_at);
    shared.cache = {base + layout.cache_at, layout.cache};
    shared.cache.on_eviction = [](std::uint32_t database, std::uint64_t projection) {
        const std::uint64_t hash = core::hash(shared.head->seed, database, projection, {});
        counters::add(counters::place_of(database, hash), Count::evictions);
    };
    testing::attach(base + layout.testing_at);
    partition_locks = locks;
    shared.head = head;
}

// The lock is on sub-object 1 of a schema that every database has, which nothing else locks. So it does not
// matter whether the extension exists there.
LOCKTAG definitions_locktag(Oid database) {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, database, NamespaceRelationId, PG_CATALOG_NAMESPACE, 1);
    return tag;
}

// The lock for changes that affect all databases, on sub-object 1 of a role that every cluster has.
LOCKTAG common_locktag() {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, InvalidOid, AuthIdRelationId, BOOTSTRAP_SUPERUSERID, 1);
    return tag;
}

}  // namespace

void shared_init() {
    if (settings::max_document_size > settings::cache_size / 4)
        ereport(
            ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("\"rolecall.max_document_size\" must be at most a quarter of \"rolecall.cache_size\"")));
    pg::add_shared_area({.name = "rolecall",
                         .bytes = [] { return plan().bytes; },
                         .locks = [] { return static_cast<int>(plan().cache.partitions); },
                         .attach = attach});
}

void complain_not_preloaded() {
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("rolecall is not loaded by the server"),
                    errdetail("Its shared memory is set aside when the server starts."),
                    errhint("Add rolecall to shared_preload_libraries in postgresql.conf and restart the "
                            "server.")));
    pg_unreachable();
}

std::uint64_t projection_hash(std::uint64_t projection) { return key_hash(projection, {}); }

std::uint64_t database_hash(Oid database) { return core::hash(shared.head->seed, database, 0, {}); }

std::uint64_t version_of_database_floor() {
    if (!preloaded())
        return 0;
    shared.database_floor = &shared.database_floors.of(database_hash(MyDatabaseId));
    return testing::fault(Fault::database_floor_not_read) ? 0 : core::version_of(*shared.database_floor);
}

namespace {

// Calls `of(stamp)` for each stamp and floor until it returns false. Returns false in that case.
template <typename Of>
bool each_stamp(const Dependencies& on, Of&& of) {
    return of(shared.stamps.of(on.key_hash)) && of(*on.floor) &&
           (testing::fault(Fault::database_floor_not_read) || of(*shared.database_floor)) &&
           std::all_of(on.groups.begin(), on.groups.end(),
                       [&](std::uint32_t group) { return of(shared.stamps[group]); });
}

}  // namespace

bool settled(const Dependencies& on, const core::Snapshot& snapshot, std::uint64_t& versions) {
    versions = 0;
    return each_stamp(on, [&](const core::Stamp& stamp) { return core::settled(stamp, snapshot, versions); });
}

core::Writers writers_of(const Dependencies& on, const core::Snapshot& snapshot) {
    core::Writers writers;
    (void)each_stamp(on, [&](const core::Stamp& stamp) {
        core::describe(stamp, snapshot, writers);
        return true;
    });
    return writers;
}

bool make_floor_ready() {
    if (RecoveryInProgress())
        return false;
    // Prepared transactions survive a restart, but their stamps do not. So every transaction that has an id
    // by now must have ended.
    const core::FullXid bound = pg::next_full_xid();
    core::FullXid none = 0;
    shared.head->first_bound.compare_exchange_strong(none, bound);
    for (std::uint32_t slot = 0; slot < database_slots; ++slot)
        core::raise_bound(shared.database_floors[slot], shared.head->high_water, bound);
    shared.head->floor_ready.store(1, std::memory_order_release);
    return true;
}

void narrow_floor() {
    if (!floor_is_ready() || testing::fault(Fault::floor_at_start_only))
        return;
    const core::FullXid own = U64FromFullTransactionId(GetTopFullTransactionId());
    const core::Snapshot now = pg::xid_snapshot(GetLatestSnapshot());
    auto* running = static_cast<core::FullXid*>(palloc(sizeof(core::FullXid) * (now.running.size() + 1)));
    std::size_t count = 0;
    running[count++] = own;
    for (const TransactionId xid : now.running)
        if (BackendXidGetPid(xid) == 0 && TransactionIdIsInProgress(xid))  // prepared
            running[count++] = core::widen(xid, now.xmax);
    for (std::uint32_t slot = 0; slot < database_slots; ++slot)
        core::replace_bound(shared.database_floors[slot], shared.head->high_water,
                            shared.head->first_bound.load(), {running, count});
}

namespace {

core::FullXid own_id() {
    if (testing::fault(Fault::subtransaction_id))
        return GetCurrentSubTransactionId();
    const core::FullXid own = U64FromFullTransactionId(GetTopFullTransactionId());
    return testing::fault(Fault::stamp_of_the_one_before) ? own - 1 : own;
}

void add_self(core::Stamp& stamp) {
    const core::FullXid own = own_id();
    core::Snapshot known;
    if (ActiveSnapshotSet() && pg::is_plain(GetActiveSnapshot()))
        known = pg::xid_snapshot(GetActiveSnapshot());
    core::add_writer(stamp, shared.head->high_water, own, known, [](core::FullXid writer) {
        return TransactionIdIsInProgress(static_cast<TransactionId>(writer));
    });
}

}  // namespace

void stamp(std::uint64_t hash) { add_self(shared.stamps.of(hash)); }

void stamp_projection(std::uint64_t projection) {
    core::Stamp& floor = shared.floors.of(projection_hash(projection));
    if (testing::fault(Fault::floor_stored))
        for (auto& writer : floor.writers)
            writer.store(0);
    add_self(floor);
}

void stamp_database(Oid database) { add_self(shared.database_floors.of(database_hash(database))); }

void stamp_all_databases() {
    for (std::uint32_t slot = 0; slot < database_slots; ++slot)
        add_self(shared.database_floors[slot]);
}

bool mark_text(std::uint64_t projection) {
    return testing::fault(Fault::texts_not_marked) ||
           texts[shared.floors.index(projection_hash(projection))].exchange(true);
}

namespace {

void note_invalidation(InvalidationRecord& record, CommandTag by) {
    record.count.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t number = last_invalidation->fetch_add(1, std::memory_order_relaxed) + 1;
    record.last.store(number << tag_bits | static_cast<std::uint64_t>(by), std::memory_order_relaxed);
}

InvalidationRecord& record_of(std::uint64_t projection) {
    return records[shared.floors.index(projection_hash(projection))];
}

InvalidationRecord& record_of_database(Oid database) {
    return records[floor_slots + shared.database_floors.index(database_hash(database))];
}

}  // namespace

void stamp_texts(CommandTag by) {
    for (std::uint32_t slot = 0; slot < floor_slots; ++slot) {
        if (!texts[slot].load())
            continue;
        add_self(shared.floors[slot]);
        note_invalidation(records[slot], by);
    }
}

std::uint64_t changes_of_names(Oid database) {
    return name_changes[shared.database_floors.index(database_hash(database))].load();
}

void count_change_of_names() {
    name_changes[shared.database_floors.index(database_hash(MyDatabaseId))].fetch_add(1);
}

void count_change_of_names_everywhere() {
    for (std::uint32_t slot = 0; slot < database_slots; ++slot)
        name_changes[slot].fetch_add(1);
}

void note_invalidation(std::uint64_t projection, CommandTag by) {
    note_invalidation(record_of(projection), by);
}

void note_invalidation_of_database(Oid database, CommandTag by) {
    note_invalidation(record_of_database(database), by);
}

void note_invalidation_of_all(CommandTag by) {
    for (std::size_t slot = 0; slot < database_slots; ++slot)
        note_invalidation(records[floor_slots + slot], by);
}

Invalidations invalidations_of(std::uint64_t projection) {
    const InvalidationRecord& own = record_of(projection);
    const InvalidationRecord& common = record_of_database(MyDatabaseId);
    const std::uint64_t last =
        std::max(own.last.load(std::memory_order_relaxed), common.last.load(std::memory_order_relaxed));
    return {.count = own.count.load(std::memory_order_relaxed) + common.count.load(std::memory_order_relaxed),
            .last = static_cast<CommandTag>(last & ((1U << tag_bits) - 1))};
}

// Interrupts are held off while an LWLock is held, and Cache's functions raise no errors. So a backend can
// leave a bucket half changed only if it crashes, and then the postmaster reinitializes shared memory.
void lock_partition(std::uint32_t partition) {
    LWLockAcquire(&partition_locks[partition].lock, LW_EXCLUSIVE);
}

void unlock_partition(std::uint32_t partition) { LWLockRelease(&partition_locks[partition].lock); }

namespace {

// Walks the whole cache. `step(partition, from)` runs with the partition locked and returns where to
// continue, or 0 at the end. `between()` runs after each step, with no lock held.
template <typename Step>
void walk_cache(Step&& step, void (*between)()) {
    for (std::uint32_t p = 0; p < shared.cache.partitions(); ++p) {
        std::uint32_t at = 0;
        do {
            lock_partition(p);
            at = step(p, at);
            unlock_partition(p);
            between();
        } while (at != 0);
    }
}

}  // namespace

void forget_documents(Oid database, std::uint64_t projection) {
    const auto is_gone = [&](std::uint32_t of_database, std::uint64_t of_projection) {
        return of_database == database && (projection == 0 || of_projection == projection);
    };
    walk_cache([&](std::uint32_t p, std::uint32_t at) { return shared.cache.remove_if(p, at, is_gone); },
               [] {});
}

void count_holdings(std::span<const std::uint64_t> projections, Holding* holdings) {
    const auto add = [&](std::uint32_t database, std::uint64_t projection, std::uint64_t bytes) {
        const auto found = std::find(projections.begin(), projections.end(), projection);
        if (database != MyDatabaseId || found == projections.end())
            return;
        Holding& holding = holdings[found - projections.begin()];
        holding.entries += 1;
        holding.bytes += bytes;
    };
    walk_cache([&](std::uint32_t p, std::uint32_t at) { return shared.cache.visit(p, at, add); },
               [] { CHECK_FOR_INTERRUPTS(); });
}

namespace {

void lock_for_change(const LOCKTAG& tag) {
    if (!testing::fault(Fault::no_ddl_lock))
        (void)LockAcquire(&tag, ShareLock, false, false);
}

bool is_quiet(const LOCKTAG& tag) {
    if (testing::fault(Fault::no_ddl_lock))
        return true;
    if (LockAcquire(&tag, RowExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
        return false;
    LockRelease(&tag, RowExclusiveLock, false);
    return true;
}

}  // namespace

void lock_definitions() { lock_for_change(definitions_locktag(MyDatabaseId)); }

void lock_all_definitions() { lock_for_change(common_locktag()); }

bool definitions_are_quiet_in(Oid database) {
    return is_quiet(definitions_locktag(database)) && is_quiet(common_locktag());
}

bool definitions_are_quiet() { return definitions_are_quiet_in(MyDatabaseId); }

}  // namespace rolecall::cache
