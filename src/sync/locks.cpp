#include "sync/locks.h"

#include "core/hash.h"
#include "pg/clock.h"
#include "pg/function.h"
#include "pg/process.h"
#include "sync/overdue.h"

extern "C" {
#include "access/relation.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
}

namespace rolecall::sync {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

bool is_ours(const LockInstanceData& lock) {
    return lock.locktag.locktag_type == LOCKTAG_ADVISORY && lock.locktag.locktag_field1 == MyDatabaseId &&
           lock.holdMask != 0 && lock.pid != MyProcPid;
}

bool is_of(const LockInstanceData& lock, LockClass lock_class) {
    return lock.locktag.locktag_field4 == static_cast<std::uint16_t>(lock_class);
}

std::int64_t key_of(const LockInstanceData& lock) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(lock.locktag.locktag_field2) << 32 |
                                     lock.locktag.locktag_field3);
}

LOCKTAG locktag_of(LockClass lock_class, std::uint64_t key) {
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, static_cast<std::uint32_t>(key >> 32),
                         static_cast<std::uint32_t>(key), static_cast<std::uint16_t>(lock_class));
    return tag;
}

}  // namespace

LOCKTAG locktag_of_user(std::int64_t user) {
    return locktag_of(LockClass::user, static_cast<std::uint64_t>(user));
}

LOCKTAG locktag_of_provider(LockClass lock_class, const std::string& provider) {
    return locktag_of(lock_class, core::hash(0, 0, 0, provider));
}

bool try_lock(const LOCKTAG& tag, LOCKMODE mode) {
    return pg::call([&] { return LockAcquire(&tag, mode, false, true) != LOCKACQUIRE_NOT_AVAIL; });
}

bool wait_until_free(const LOCKTAG& tag, LOCKMODE mode, milliseconds most_wait) {
    const bool impatient = LockTimeout > 0 && LockTimeout < most_wait.count();  // by its own setting
    ErrorData* report = nullptr;
    auto wait = [&] {
        const int level = NewGUCNestLevel();
        if (!impatient)
            (void)set_config_option("lock_timeout", psprintf("%d", static_cast<int>(most_wait.count())),
                                    PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
        (void)LockAcquire(&tag, mode, false, false);
        (void)LockRelease(&tag, mode, false);
        AtEOXact_GUC(true, level);
    };
    std::string error;
    const bool is_free = pg::run_in_subtransaction(
        [&] {
            try {
                pg::call(wait);
            } catch (const pg::PgError& raised) {
                report = raised.report();
                throw;
            }
        },
        error);
    if (!is_free && (impatient || report == nullptr || report->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE))
        throw pg::PgError(report);
    return is_free;
}

// Waits in a subtransaction, but takes the lock outside: a lock taken in a subtransaction does not belong to
// the statement, so unlock() could not release it.
bool lock_within(const LOCKTAG& tag, LOCKMODE mode, milliseconds most_wait) {
    const Clock::time_point until = Clock::now() + most_wait;
    while (!try_lock(tag, mode)) {
        const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
        if (left.count() <= 0 || !wait_until_free(tag, mode, left))
            return false;
    }
    return true;
}

void unlock(const LOCKTAG& tag, LOCKMODE mode) {
    pg::call([&] { (void)LockRelease(&tag, mode, false); });
}

std::unordered_set<std::int64_t> users_locked_by_others(const std::unordered_set<std::int64_t>& users,
                                                        milliseconds most_wait) {
    std::vector<std::int64_t> locked;
    const LockData* locks = pg::call([] { return GetLockStatusData(); });
    for (int i = 0; i < locks->nelements; ++i) {
        const LockInstanceData& lock = locks->locks[i];
        if (is_ours(lock) && is_of(lock, LockClass::user) && users.contains(key_of(lock)))
            locked.push_back(key_of(lock));
    }
    std::unordered_set<std::int64_t> still;
    const Clock::time_point until = Clock::now() + most_wait;
    for (const std::int64_t user : locked) {
        const LOCKTAG tag = locktag_of_user(user);
        const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
        if (!wait_until_free(tag, ShareLock, std::max(left, milliseconds(1))))
            still.insert(user);
    }
    return still;
}

bool try_read_lock(Oid table) {
    if (!ConditionalLockRelationOid(table, AccessShareLock))
        return false;
    List* locked = list_make1_oid(table);
    bool is_free = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table));
    ListCell* cell = nullptr;
    if (is_free) {
        Relation opened = relation_open(table, NoLock);
        List* indexes = RelationGetIndexList(opened);
        relation_close(opened, NoLock);
        foreach (cell, indexes) {
            is_free = ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
            if (!is_free)
                break;
            locked = lappend_oid(locked, lfirst_oid(cell));
        }
    }
    if (!is_free)
        foreach (cell, locked)
            UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
    return is_free;
}

void step_aside_for_worker(std::int64_t user) {
    const LOCKTAG tag = locktag_of_user(user);
    if (!pg::is_lock_held_by_me(tag, ExclusiveLock))
        refuse_overdue(user);
}

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {

namespace {

constexpr LOCKMASK against_reads = LOCKBIT_ON(AccessExclusiveLock);
constexpr LOCKMASK against_writes =
    LOCKBIT_ON(ShareLock) | LOCKBIT_ON(ShareRowExclusiveLock) | LOCKBIT_ON(ExclusiveLock) | against_reads;

bool is_of_table(const LockInstanceData& lock) {
    return lock.locktag.locktag_type == LOCKTAG_RELATION && lock.locktag.locktag_field1 == MyDatabaseId;
}

LOCKMASK wanted(const LockInstanceData& lock) {
    return lock.waitLockMode != NoLock ? LOCKBIT_ON(lock.waitLockMode) : 0;
}

bool is_in_the_way(const LockInstanceData& holder, const LockInstanceData& waiter) {
    if (holder.locktag.locktag_field2 != waiter.locktag.locktag_field2)
        return false;
    for (LOCKMODE mode = AccessShareLock; mode <= AccessExclusiveLock; ++mode)
        if ((holder.holdMask & LOCKBIT_ON(mode)) != 0 && DoLockModesConflict(mode, waiter.waitLockMode))
            return true;
    return false;
}

struct TableBlocker {
    const char* kind = nullptr;  // nullptr if it does not block syncs
    LOCKMASK mask = 0;           // for a table: the lock modes held, or waited for
    bool waits = false;
};

// A session that waits for a table blocks later ones. So does the session for which it waits.
TableBlocker obstacle_of_table(const LockInstanceData& lock, const LockData& all) {
    if ((lock.holdMask & against_writes) != 0)
        return {.kind = "table", .mask = lock.holdMask};
    if ((wanted(lock) & against_writes) != 0)
        return {.kind = "table", .mask = wanted(lock), .waits = true};
    TableBlocker obstacle;
    if (lock.holdMask == 0)
        return obstacle;
    for (int i = 0; i < all.nelements; ++i) {
        const LockInstanceData& waiter = all.locks[i];
        if (is_of_table(waiter) && (wanted(waiter) & against_writes) != 0 && is_in_the_way(lock, waiter)) {
            obstacle.kind = "table";
            obstacle.mask |= wanted(waiter);
        }
    }
    return obstacle;
}

TableBlocker obstacle_of(const LockInstanceData& lock, const LockData& all) {
    if (lock.pid == MyProcPid)
        return {};
    if (is_of_table(lock))
        return obstacle_of_table(lock, all);
    if (!is_ours(lock))
        return {};
    return {.kind = is_of(lock, LockClass::user)          ? "user"
                    : is_of(lock, LockClass::revocations) ? "revocations"
                    : is_of(lock, LockClass::provider)    ? "provider"
                                                          : nullptr};
}

}  // namespace

// sync_locks(): columns as in statistics.sql. A prepared transaction has no pid; other transactions have no
// xid. For a user from which other syncs keep the worker, waits_since is when that began. If the lock on such
// a user is free at the moment, there is a row without pid and xid.
ROLECALL_FUNCTION(rolecall_sync_locks, pg::gives_rows()) {
    const ReturnSetInfo& result =
        pg::result_set(fcinfo, TEXTOID, INT8OID, INT4OID, XIDOID, BOOLOID, BOOLOID, TIMESTAMPTZOID);
    const TimestampTz ahead = GetCurrentTimestamp() - pg::steady_now();
    std::span<Overdue> overdue = all_overdue();
    const LockData* locks = GetLockStatusData();
    for (int i = 0; i < locks->nelements; ++i) {
        const LockInstanceData& lock = locks->locks[i];
        const TableBlocker obstacle = obstacle_of(lock, *locks);
        if (obstacle.kind == nullptr)
            continue;
        const bool is_prepared = lock.pid == 0;
        Datum values[] = {
            CStringGetTextDatum(obstacle.kind),
            Int64GetDatum(is_of_table(lock) ? std::int64_t{lock.locktag.locktag_field2} : key_of(lock)),
            Int32GetDatum(lock.pid),
            TransactionIdGetDatum(is_prepared ? pg::prepared_transaction_of(lock) : InvalidTransactionId),
            BoolGetDatum((obstacle.mask & against_reads) != 0),
            BoolGetDatum(obstacle.waits),
            TimestampTzGetDatum(lock.waitStart)};
        bool nulls[] = {
            false, false, is_prepared, !is_prepared, false, false, !obstacle.waits || lock.waitStart == 0};
        for (Overdue& user : overdue) {
            if (is_of_table(lock) || !is_of(lock, LockClass::user) || user.user != key_of(lock))
                continue;
            values[6] = TimestampTzGetDatum(user.since + ahead);
            nulls[6] = false;
            user.is_shown = true;
        }
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    for (const Overdue& user : overdue) {  // the lock is free at the moment
        Datum values[] = {CStringGetTextDatum("user"),
                          Int64GetDatum(user.user),
                          Datum{0},
                          Datum{0},
                          BoolGetDatum(false),
                          BoolGetDatum(false),
                          TimestampTzGetDatum(user.since + ahead)};
        bool nulls[] = {false, false, true, true, false, false, false};
        if (!user.is_shown)
            tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    return Datum{0};
}

// try_read_lock(tab regclass)
ROLECALL_FUNCTION(rolecall_try_read_lock, pg::takes(BOOLOID, REGCLASSOID)) {
    PG_RETURN_BOOL(try_read_lock(PG_GETARG_OID(0)));
}

// sync_lock_key(provider text): the key of the provider's advisory locks.
ROLECALL_FUNCTION(rolecall_sync_lock_key, pg::takes(INT8OID, TEXTOID)) {
    return pg::guarded([&]() -> Datum {
        const char* provider = pg::call([&] { return text_to_cstring(PG_GETARG_TEXT_PP(0)); });
        PG_RETURN_INT64(static_cast<std::int64_t>(core::hash(0, 0, 0, provider)));
    });
}

}  // extern "C"
