#include "projection/shared.h"

#include "pg/settings.h"
#include "pg/shmem.h"
#include "pg/snapshot.h"
#include "pg/testing.h"

extern "C" {
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
}

namespace rolecall::projection {

using testing::Fault;

Shared shared;

namespace {

constexpr std::size_t floor_slots = 1024;
// About one for two documents. All take a sixty-fourth of the cache; a document that shares a stamp is read
// anew when the other changes.
constexpr std::size_t cache_bytes_per_stamp = 2048;

LWLockPadded* partition_locks = nullptr;

struct Layout {
    std::size_t stamp_slots;
    core::Cache::Layout cache;
    std::size_t floors_at, stamps_at, counters_at, cache_at, testing_at, bytes;
};

Layout plan() {
    Layout layout{};
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
    layout.stamps_at = take(core::Stamps::bytes(layout.stamp_slots));
    layout.counters_at = take(counters::bytes());
    layout.cache_at = take(layout.cache.bytes);
    layout.testing_at = take(testing::shared_bytes());
    layout.bytes = at + PG_CACHE_LINE_SIZE;  // to align the start
    return layout;
}

void attach(void* memory, bool is_new, LWLockPadded* locks) {
    const Layout layout = plan();
    char* base = reinterpret_cast<char*>(CACHELINEALIGN(memory));
    auto* head = reinterpret_cast<SharedHead*>(base);
    if (is_new) {
        if (!pg_strong_random(&head->seed, sizeof head->seed))
            ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random seed")));
        if (testing::fault(Fault::floor_at_start_only))
            head->floor_ready.store(1);
    }
    shared.floors = {reinterpret_cast<core::Stamp*>(base + layout.floors_at), floor_slots};
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

// Sub-object 1 of the schema: nothing else locks it.
LOCKTAG definitions_locktag() {
    LOCKTAG tag;
    SET_LOCKTAG_OBJECT(tag, MyDatabaseId, NamespaceRelationId, get_namespace_oid("rolecall", false), 1);
    return tag;
}

// Likewise, of all databases.
LOCKTAG rights_locktag() {
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

namespace {

// Asks `of(stamp)` about each until it says no.
template <typename Of>
bool each_stamp(const Dependencies& on, Of&& of) {
    return of(shared.stamps.of(on.key_hash)) && of(shared.floors[on.floor]) &&
           of(shared.head->common_floor) &&
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
    // Prepared transactions survive a restart, their stamps do not: whatever has an id by now must be
    // finished.
    const core::FullXid bound = pg::next_full_xid();
    core::FullXid none = 0;
    shared.head->first_bound.compare_exchange_strong(none, bound);
    core::raise_bound(shared.head->common_floor, shared.head->horizon, bound);
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
    core::replace_bound(shared.head->common_floor, shared.head->horizon, shared.head->first_bound.load(),
                        {running, count});
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
    core::add_writer(stamp, shared.head->horizon, own, known, [](core::FullXid writer) {
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

void stamp_everything() { add_self(shared.head->common_floor); }

// While an LWLock is held interrupts wait, and nothing that Cache does raises an error: a backend cannot
// leave a bucket half changed but by dying of a signal, and then the server makes all shared memory anew.
void lock_partition(std::uint32_t partition) {
    LWLockAcquire(&partition_locks[partition].lock, LW_EXCLUSIVE);
}

void unlock_partition(std::uint32_t partition) { LWLockRelease(&partition_locks[partition].lock); }

namespace {

// Goes through all of the cache by `step(partition, from)`, which returns where to go on, with the partition
// locked for no longer than one step takes; calls `between()` when it is not.
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

void lock_definitions_for_change() { lock_for_change(definitions_locktag()); }

void lock_rights_for_change() { lock_for_change(rights_locktag()); }

bool definitions_are_quiet() { return is_quiet(definitions_locktag()) && is_quiet(rights_locktag()); }

}  // namespace rolecall::projection
