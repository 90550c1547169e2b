#include "workers/registry.h"

#include "pg/clock.h"
#include "pg/shmem.h"
#include "pg/slots.h"

extern "C" {
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
}

namespace rolecall::workers {

namespace {

constexpr int slot_count = 512;
constexpr TimestampTz launch_timeout =
    30 * USECS_PER_SEC;  // a launched worker that has not entered by then has failed
constexpr TimestampTz after_failure = 5 * USECS_PER_SEC;  // avoids a restart loop
constexpr TimestampTz between_probes = 60 * USECS_PER_SEC;
constexpr TimestampTz between_looks = 60 * USECS_PER_SEC;

struct Slot {
    Oid database;  // InvalidOid: free
    int index;
    pid_t pid;                // 0: no worker is inside
    pid_t holder;             // the process that keeps workers out; 0: none
    TimestampTz launched_at;  // by steady_now(), like try_after; 0: not launched
    TimestampTz try_after;
    TimestampTz sleeps_until;  // by the clock of syncs; DT_NOEND: awake, every wake counts
    bool woken;
    bool first_visit;
    bool is_idle;  // the last worker found nothing to do
};

struct Registry {
    LWLock* lock;
    pid_t launcher;
    bool look_again;
    bool visited;  // each database has had a loader since the server started
    std::int64_t evicted;
    std::int64_t refused;
    Slot slots[slot_count];
};

Registry* registry = nullptr;
bool (*loader_is_wanted)(Oid database) = nullptr;
TimestampTz wake_pending = DT_NOEND;  // DT_NOEND: no wake is pending
Oid kept_out = InvalidOid;
Oid restart_pending = InvalidOid;
int my_slot = -1;
volatile ExitReason my_exit_reason = ExitReason::failed;  // a signal handler may set it

std::span<Slot> slots() { return {registry->slots, static_cast<std::size_t>(testing::slots(slot_count))}; }

void attach(void* memory, bool, LWLockPadded* locks) {
    auto* area = static_cast<Registry*>(memory);
    area->lock = &locks->lock;
    registry = area;
    pg::add_slots({.name = "workers", .count = [] {
                       const pg::HeldLock held(registry->lock);
                       return pg::SlotCounts{
                           .slots = std::ssize(slots()),
                           .used = std::ranges::count_if(
                               slots(), [](const Slot& slot) { return OidIsValid(slot.database); }),
                           .evicted = registry->evicted,
                           .refused = registry->refused};
                   }});
}

void set_latch_of(pid_t pid) {
    PGPROC* process = pid != 0 ? BackendPidGetProc(pid) : nullptr;
    if (process != nullptr)
        SetLatch(&process->procLatch);
}

void look_again() {
    registry->look_again = true;
    set_latch_of(registry->launcher);
}

void restart(Oid database) {
    const pg::HeldLock held(registry->lock);
    for (Slot& slot : slots()) {
        if (slot.database != database)
            continue;
        slot.try_after = 0;
        if (slot.pid != 0)
            (void)kill(slot.pid, SIGTERM);
    }
    look_again();
}

void let_in() {
    const pg::HeldLock held(registry->lock);
    for (Slot& slot : slots())
        if (slot.holder == MyProcPid)
            slot.holder = 0;
    look_again();
}

void wake(Oid database, TimestampTz due);

void on_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_COMMIT) {
        if (wake_pending != DT_NOEND)
            wake(MyDatabaseId, wake_pending);
        if (OidIsValid(restart_pending))
            restart(restart_pending);
    }
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
        let_workers_in();
        wake_pending = DT_NOEND;
        restart_pending = InvalidOid;
    }
}

// Returns a free slot, or else takes the one of the database that has been idle the longest. That database
// gets a slot again when its turn to be checked comes.
Slot* free_slot(bool may_evict) {
    Slot* idle = nullptr;
    for (Slot& slot : slots()) {
        if (!OidIsValid(slot.database))
            return &slot;
        if (may_evict && slot.is_idle && slot.pid == 0 && slot.launched_at == 0 && slot.holder == 0 &&
            !slot.woken && (idle == nullptr || slot.try_after < idle->try_after))
            idle = &slot;
    }
    registry->evicted += idle != nullptr ? 1 : 0;
    return idle;
}

Slot* find_slot(Oid database, int index) {
    for (Slot& slot : slots())
        if (slot.database == database && slot.index == index)
            return &slot;
    return nullptr;
}

Slot* find_or_make_slot(Oid database, int index, bool may_evict = true) {
    Slot* slot = find_slot(database, index);
    if (slot == nullptr && (slot = free_slot(may_evict)) != nullptr) {
        *slot = {};
        slot->database = database;
        slot->index = index;
    }
    if (slot == nullptr && may_evict)
        ++registry->refused;
    return slot;
}

void wake(Oid database, TimestampTz due) {
    const pg::HeldLock held(registry->lock);
    bool running = false;
    bool is_known = false;
    for (Slot& slot : slots()) {
        if (slot.database != database)
            continue;
        is_known = true;
        slot.try_after = 0;
        if (due < slot.sleeps_until) {
            slot.woken = true;
            set_latch_of(slot.pid);
        }
        running |= slot.pid != 0;
    }
    // A wake gives the database a slot even if all are taken; it does not wait for its turn.
    if (Slot* slot = is_known ? nullptr : find_or_make_slot(database, 0); slot != nullptr)
        slot->woken = true;
    if (!running)
        look_again();
}

// Logs without the lock, because this is not urgent.
void complain_if_full() {
    static bool is_told = false;
    if (is_told || registry->refused == 0)
        return;
    is_told = true;
    pg::log_full("workers", testing::slots(slot_count),
                 "Databases that come later are not synchronized, and their documents are not loaded.");
}

// A process that ended without let_in() no longer keeps workers out.
bool is_held(Slot& slot) {
    if (slot.holder != 0 && BackendPidGetProc(slot.holder) == nullptr)
        slot.holder = 0;
    return slot.holder != 0;
}

TimestampTz launchable_at(const Slot& slot) {
    return slot.launched_at == 0 ? slot.try_after
                                 : std::max(slot.try_after, slot.launched_at + launch_timeout);
}

bool is_launchable(Slot& slot, TimestampTz time) {
    return OidIsValid(slot.database) && slot.pid == 0 && !is_held(slot) && launchable_at(slot) <= time;
}

void begin_look(Slot& slot) {
    slot.woken = false;
    slot.sleeps_until = DT_NOEND;
}

void strike_off(int, Datum) {
    const pg::HeldLock held(registry->lock);
    Slot& slot = registry->slots[my_slot];
    if (slot.pid != MyProcPid)
        return;
    slot.pid = 0;
    slot.launched_at = 0;
    if (slot.index == loader_index && !slot.first_visit && !loader_is_wanted(slot.database))
        slot.database = InvalidOid;
    const TimestampTz time = pg::steady_now();
    if (my_exit_reason == ExitReason::failed)
        slot.try_after = time + after_failure;
    else if (my_exit_reason == ExitReason::nothing_to_do && !slot.woken)
        slot.try_after = time + between_probes;
    slot.is_idle = my_exit_reason == ExitReason::nothing_to_do;
    look_again();
}

void strike_off_launcher(int, Datum) {
    const pg::HeldLock held(registry->lock);
    if (registry->launcher == MyProcPid)
        registry->launcher = 0;
}

}  // namespace

void registry_init(bool (*is_loader_wanted)(Oid database)) {
    loader_is_wanted = is_loader_wanted;
    pg::add_shared_area({.name = "rolecall_sync",
                         .bytes = [] { return sizeof(Registry); },
                         .locks = [] { return 1; },
                         .attach = attach});
    RegisterXactCallback(on_transaction_end, nullptr);
}

void wake_workers_at_commit(TimestampTz due) {
    if (registry != nullptr)
        wake_pending = std::min(wake_pending, due);
}

void restart_workers_at_commit(Oid database) {
    restart_pending = registry != nullptr ? database : InvalidOid;
}

void launch_loader(Oid database) {
    const pg::HeldLock held(registry->lock);  // if there is no room, the launcher logs it
    if (Slot* slot = find_or_make_slot(database, loader_index); slot != nullptr)
        slot->try_after = 0;
    look_again();
}

void let_workers_in() {
    if (OidIsValid(kept_out))
        let_in();
    kept_out = InvalidOid;
}

int keep_out_until_end(Oid database) {
    const pg::HeldLock held(registry->lock);
    kept_out = database;
    int inside = 0;
    (void)find_or_make_slot(database, 0);  // makes the hold visible to the launcher
    for (Slot& slot : slots()) {
        if (slot.database != database)
            continue;
        slot.holder = MyProcPid;
        if (slot.pid != 0) {
            ++inside;
            (void)kill(slot.pid, SIGTERM);
        }
    }
    return inside;
}

bool enter(int number, WorkerSlot& place) {
    my_slot = number;
    before_shmem_exit(strike_off, 0);
    const pg::HeldLock held(registry->lock);
    Slot& slot = registry->slots[number];
    place = {number, slot.database, slot.index, slot.first_visit, pg::now()};
    if (!OidIsValid(slot.database) || slot.pid != 0 || is_held(slot))
        return false;
    slot.pid = MyProcPid;
    begin_look(slot);
    return true;
}

bool may_stay(const WorkerSlot& place) {
    const pg::HeldLock held(registry->lock);
    return !is_held(registry->slots[place.slot]);
}

void begin_look(const WorkerSlot& place) {
    const pg::HeldLock held(registry->lock);
    begin_look(registry->slots[place.slot]);
}

bool may_sleep(const WorkerSlot& place, TimestampTz until) {
    const pg::HeldLock held(registry->lock);
    Slot& slot = registry->slots[place.slot];
    slot.sleeps_until = until;
    return !slot.woken;
}

void note_visited(const WorkerSlot& place) {
    const pg::HeldLock held(registry->lock);
    registry->slots[place.slot].first_visit = false;
}

void note_exit_reason(ExitReason why) { my_exit_reason = why; }

void enter_launcher() {
    before_shmem_exit(strike_off_launcher, 0);
    const pg::HeldLock held(registry->lock);
    registry->launcher = MyProcPid;
    registry->look_again = true;
}

namespace {

void fill_registry(const Oid* databases, int count, int workers) {
    const pg::HeldLock held(registry->lock);
    for (Slot& slot : slots()) {
        const bool listed = std::find(databases, databases + count, slot.database) != databases + count;
        if (OidIsValid(slot.database) && slot.pid == 0 && !is_held(slot) &&
            (!listed || slot.index >= workers))
            slot.database = InvalidOid;
    }
    // If there are more databases than slots, they are checked in turn, and each once before the first comes
    // again.
    static int first = 0;
    static TimestampTz next_turn = 0;
    const bool is_turn = pg::steady_now() >= next_turn;
    if (is_turn)
        next_turn = pg::steady_now() + between_looks;
    for (int i = 0; i < count; ++i)
        for (int index = 0; index < workers; ++index)
            (void)find_or_make_slot(databases[(first + i) % count], index, is_turn);
    if (is_turn)
        first = count > std::ssize(slots()) ? static_cast<int>((first + std::ssize(slots())) % count) : 0;
    for (int i = 0; i < count && !registry->visited; ++i)
        if (Slot* slot = find_or_make_slot(databases[i], loader_index); slot != nullptr)
            slot->first_visit = true;
    registry->visited = true;
}

}  // namespace

void set_databases(const Oid* databases, int count, int workers) {
    fill_registry(databases, count, workers);
    complain_if_full();
}

void reconsider() {
    const pg::HeldLock held(registry->lock);
    for (Slot& slot : slots()) {
        slot.try_after = 0;
        slot.woken = true;
    }
    registry->look_again = true;
}

int next_to_launch() {
    const pg::HeldLock held(registry->lock);
    const TimestampTz time = pg::steady_now();
    for (int i = 0; i < std::ssize(slots()); ++i) {
        if (is_launchable(registry->slots[i], time)) {
            registry->slots[i].launched_at = time;
            return i;
        }
    }
    return -1;
}

bool is_for_loader(int number) {
    const pg::HeldLock held(registry->lock);
    return registry->slots[number].index == loader_index;
}

void take_back_launch(int number) {
    const pg::HeldLock held(registry->lock);
    registry->slots[number].launched_at = 0;
    registry->slots[number].try_after = pg::steady_now() + after_failure;
}

long until_next_launch() {
    static TimestampTz next_look = 0;
    const pg::HeldLock held(registry->lock);
    const TimestampTz time = pg::steady_now();
    if (registry->look_again || time >= next_look) {
        registry->look_again = false;
        next_look = time + between_looks;
        return 0;
    }
    TimestampTz next = next_look;
    for (Slot& slot : slots())
        if (OidIsValid(slot.database) && slot.pid == 0 && slot.holder == 0)
            next = std::min(next, launchable_at(slot));
    if (next <= time)
        return 0;
    return static_cast<long>((next - time + 999) / 1000);
}

}  // namespace rolecall::workers
