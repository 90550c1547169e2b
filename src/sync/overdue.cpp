#include "sync/overdue.h"

#include "core/error.h"
#include "pg/clock.h"
#include "pg/compat.h"
#include "pg/shmem.h"
#include "pg/slots.h"
#include "pg/testing.h"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
}

namespace rolecall::sync {

namespace {

constexpr int user_count = 1024;                         // in all databases together
constexpr TimestampTz lock_wait = 3 * USECS_PER_SEC;     // of a worker, before sessions step aside
constexpr TimestampTz time_to_ask = 30 * USECS_PER_SEC;  // a retry asks the provider first

struct OverdueUser {
    Oid database;  // InvalidOid: free
    std::int64_t user;
    TimestampTz since;
    TimestampTz until;  // after this time the entry is void, because no worker came back
};

struct OverdueTable {
    LWLock* lock;
    pg::SlotCounts slots;
    OverdueUser users[user_count];
};

OverdueTable* table = nullptr;
std::vector<std::int64_t> at_commit;  // users to forget at commit

std::span<OverdueUser> places() {
    return {table->users, static_cast<std::size_t>(testing::slots(user_count))};
}

bool is_free(const OverdueUser& user, TimestampTz now) {
    return !OidIsValid(user.database) || user.until <= now;
}

bool is_it(const OverdueUser& place, std::int64_t user) {
    return place.database == MyDatabaseId && place.user == user;
}

void at_end(XactEvent event, void*) {
    if (event == XACT_EVENT_COMMIT)
        for (const std::int64_t user : at_commit)
            forget_overdue(user);
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        at_commit.clear();
}

void attach(void* memory, bool, LWLockPadded* locks) {
    table = static_cast<OverdueTable*>(memory);
    table->lock = &locks->lock;
    pg::add_slots({.name = "overdue users", .count = [] {
                       pg::SlotCounts counts = table->slots;
                       counts.slots = testing::slots(user_count);
                       const TimestampTz now = pg::steady_now();
                       const pg::HeldLock held(table->lock, LW_SHARED);
                       counts.used = std::ranges::count_if(
                           places(), [=](const OverdueUser& user) { return !is_free(user, now); });
                       return counts;
                   }});
}

}  // namespace

void overdue_init() {
    pg::add_shared_area({.name = "rolecall_overdue",
                         .bytes = [] { return sizeof(OverdueTable); },
                         .locks = [] { return 1; },
                         .attach = attach});
    RegisterXactCallback(at_end, nullptr);
}

// If all places are taken, the user that is tried again last is replaced. The worker records it again at its
// next attempt.
void note_overdue(std::int64_t user, TimestampTz since, TimestampTz retry_at) {
    if (table == nullptr)
        return;
    const TimestampTz now = pg::steady_now();
    OverdueUser* place = places().data();
    const pg::HeldLock held(table->lock);
    for (OverdueUser& other : places()) {
        if (is_it(other, user)) {
            place = &other;
            break;
        }
        if (!is_free(*place, now) && (is_free(other, now) || other.until > place->until))
            place = &other;
    }
    if (!is_free(*place, now) && !is_it(*place, user))
        ++table->slots.evicted;
    *place = {.database = MyDatabaseId, .user = user, .since = since, .until = retry_at + time_to_ask};
}

void forget_overdue(std::int64_t user) {
    if (table == nullptr)
        return;
    const pg::HeldLock held(table->lock);
    for (OverdueUser& place : places())
        if (is_it(place, user))
            place = {};
}

// Does nothing in a subtransaction, because that may still be rolled back.
void forget_overdue_at_commit(std::int64_t user) {
    if (table != nullptr && GetCurrentTransactionNestLevel() == 1)
        at_commit.push_back(user);
}

std::optional<TimestampTz> overdue_since(std::int64_t user) {
    std::optional<TimestampTz> since;
    if (table == nullptr)
        return since;
    const TimestampTz now = pg::steady_now();
    const pg::HeldLock held(table->lock, LW_SHARED);
    for (const OverdueUser& place : places())
        if (is_it(place, user) && !is_free(place, now))
            since = place.since;
    return since;
}

std::span<Overdue> all_overdue() {
    if (table == nullptr)
        return {};
    auto* found = static_cast<Overdue*>(palloc(sizeof(Overdue) * user_count));
    std::size_t count = 0;
    const TimestampTz now = pg::steady_now();
    const pg::HeldLock held(table->lock, LW_SHARED);
    for (const OverdueUser& place : places())
        if (place.database == MyDatabaseId && !is_free(place, now))
            found[count++] = {.user = place.user, .since = place.since, .is_shown = false};
    return {found, count};
}

void refuse_overdue(std::int64_t user) {
    const std::optional<TimestampTz> since = overdue_since(user);
    const TimestampTz waited = since ? pg::steady_now() - *since : 0;
    if (waited < lock_wait)
        return;
    throw Error(
        "RC105", "user " + std::to_string(user) + " is left to the worker",
        "Others have kept the worker from this user for " + std::to_string(waited / USECS_PER_SEC) + " s.",
        "Try again in a moment. rolecall.stat_held_up shows what keeps the worker from it.");
}

}  // namespace rolecall::sync
