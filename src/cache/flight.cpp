#include "cache/flight.h"

#include "pg/shmem.h"

extern "C" {
#include "storage/condition_variable.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

namespace rolecall::cache {

namespace {

// A place at which a key is being loaded. Keys share places by hash. A session that finds another key at its
// place does not wait.
struct Flight {
    std::atomic<std::uint64_t> key;  // hash of the key; 0: none
    std::atomic<int> owner;          // backend number of the session that loads
    ConditionVariable landed;
};

constexpr std::size_t flight_count = 256;
constexpr long longest_wait = 1000;  // milliseconds
constexpr long look_interval = 10;   // milliseconds, between checks of what the owner waits for

Flight* flights = nullptr;
Flight* mine = nullptr;
pg::WaitEvent wait_for_load{"RolecallLoad"};

int own_place() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyProc->pgprocno;
#endif
}

void on_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT || event == XACT_EVENT_COMMIT)
        end_turn();
}

void on_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB)
        end_turn();
}

bool waits_for_lock(const Flight& flight) {
    const volatile PGPROC* owner = &ProcGlobal->allProcs[flight.owner.load(std::memory_order_relaxed)];
    return (owner->wait_event_info & 0xFF000000U) == PG_WAIT_LOCK;
}

void wait_for(Flight& flight, std::uint64_t key) {
    const TimestampTz start = GetCurrentTimestamp();
    ConditionVariablePrepareToSleep(&flight.landed);
    while (flight.key.load(std::memory_order_acquire) == key && !waits_for_lock(flight) &&
           TimestampDifferenceMilliseconds(start, GetCurrentTimestamp()) < longest_wait)
        ConditionVariableTimedSleep(&flight.landed, look_interval, wait_for_load.id());
    ConditionVariableCancelSleep();
}

}  // namespace

void flight_init() {
    pg::add_shared_area({.name = "rolecall loads",
                         .bytes = [] { return sizeof(Flight) * flight_count; },
                         .locks = [] { return 0; },
                         .attach =
                             [](void* memory, bool is_new, LWLockPadded*) {
                                 flights = static_cast<Flight*>(memory);
                                 for (std::size_t i = 0; is_new && i < flight_count; ++i)
                                     ConditionVariableInit(&flights[i].landed);
                             }});
    RegisterXactCallback(on_transaction_end, nullptr);
    RegisterSubXactCallback(on_subtransaction_end, nullptr);
}

Turn take_turn(std::uint64_t key_hash) {
    if (mine != nullptr)
        return Turn::alone;  // our query reads another key; a session that loads it may wait for ours
    const std::uint64_t key = key_hash | 1;
    Flight& flight = flights[key_hash % flight_count];
    std::uint64_t seen = 0;
    if (flight.key.compare_exchange_strong(seen, key, std::memory_order_acq_rel)) {
        flight.owner.store(own_place(), std::memory_order_relaxed);
        mine = &flight;
        return Turn::mine;
    }
    if (seen != key)
        return Turn::alone;
    wait_for(flight, key);
    return Turn::waited;
}

void end_turn() {
    if (mine == nullptr)
        return;
    mine->key.store(0, std::memory_order_release);
    ConditionVariableBroadcast(&mine->landed);
    mine = nullptr;
}

}  // namespace rolecall::cache
