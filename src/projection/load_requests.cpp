#include "projection/load_requests.h"

#include <csignal>

#include "cache/shared.h"
#include "pg/function.h"
#include "pg/shmem.h"
#include "pg/slots.h"
#include "pg/testing.h"

extern "C" {
#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "storage/ipc.h"
#include "utils/tuplestore.h"
}

namespace rolecall::projection {

void (*on_load_requested)(Oid database) = nullptr;

namespace {

constexpr int record_count = 256;  // in all databases
constexpr std::size_t message_bytes = 256;

struct LoadRecord {
    Oid database;  // InvalidOid: free
    std::uint64_t projection;
    LoadPhase phase;
    pid_t pid;         // the process that loads; 0: none
    bool begin_again;  // requested again while it was loading
    bool cancelled;
    TimestampTz requested_at;
    TimestampTz started_at;
    TimestampTz ended_at;
    double expected;
    std::uint64_t read;
    std::uint64_t loaded;
    std::uint64_t failed;
    char message[message_bytes];
};

struct Area {
    LWLock* lock;
    std::int64_t refused;
    LoadRecord records[record_count];
};

Area* area = nullptr;
LoadRecord* mine = nullptr;  // the load that this process runs
bool (*may_begin_again)() = nullptr;
List* pending = NIL;  // projection ids (std::uint64_t *), in TopTransactionContext

std::span<LoadRecord> records() {
    return {area->records, static_cast<std::size_t>(testing::slots(record_count))};
}

bool is_over(const LoadRecord& record) { return record.phase >= LoadPhase::done; }

void set_message(LoadRecord& record, const char* message) {
    record.message[0] = '\0';
    const auto length = static_cast<int>(strlen(message));
    const int clipped = pg_mbcliplen(message, length, message_bytes - 1);
    memcpy(record.message, message, static_cast<std::size_t>(clipped));
    record.message[clipped] = '\0';
}

void ask(LoadRecord& record) {
    record.phase = LoadPhase::requested;
    record.pid = 0;
    record.begin_again = record.cancelled = false;
    record.requested_at = GetCurrentTimestamp();
    record.started_at = record.ended_at = 0;
    record.expected = 0;
    record.read = record.loaded = record.failed = 0;
    record.message[0] = '\0';
}

LoadRecord* find(Oid database, std::uint64_t projection) {
    for (LoadRecord& record : records())
        if (record.database == database && record.projection == projection)
            return &record;
    return nullptr;
}

// Returns a free record, or else that of the load that ended first, or nullptr if all are in use.
LoadRecord* find_free() {
    LoadRecord* found = nullptr;
    for (LoadRecord& record : records()) {
        if (!OidIsValid(record.database))
            return &record;
        if (is_over(record) && (found == nullptr || record.ended_at < found->ended_at))
            found = &record;
    }
    return found;
}

void finish(LoadRecord& record, LoadPhase phase, const char* message) {
    if (record.begin_again) {
        ask(record);
        return;
    }
    record.phase = phase;
    record.pid = 0;
    record.ended_at = GetCurrentTimestamp();
    set_message(record, message);
}

void on_exit(int, Datum) {
    if (mine == nullptr)
        return;
    const bool again = may_begin_again();
    const pg::HeldLock held(area->lock);
    mine->begin_again |= again;
    finish(*mine, LoadPhase::failed, "the process that loaded was ended");
    mine = nullptr;
}

void on_transaction_end(XactEvent event, void*) {
    if (pending == NIL)
        return;
    if (event == XACT_EVENT_COMMIT) {
        ListCell* cell = nullptr;
        foreach (cell, pending)
            request_load(*static_cast<std::uint64_t*>(lfirst(cell)));
    }
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        pending = NIL;
}

void attach(void* memory, bool, LWLockPadded* locks) {
    area = static_cast<Area*>(memory);
    area->lock = &locks->lock;
    pg::add_slots(
        {.name = "loads", .count = [] {
             const pg::HeldLock held(area->lock);
             return pg::SlotCounts{
                 .slots = std::ssize(records()),
                 .used = std::ranges::count_if(
                     records(), [](const LoadRecord& r) { return OidIsValid(r.database) && !is_over(r); }),
                 .refused = area->refused};
         }});
}

const char* name_of(LoadPhase phase) {
    switch (phase) {
        case LoadPhase::requested:
            return "requested";
        case LoadPhase::loading:
            return "loading";
        case LoadPhase::waiting:
            return "waiting";
        case LoadPhase::done:
            return "done";
        case LoadPhase::full:
            return "cache full";
        case LoadPhase::unwatched:
            return "not cached";
        case LoadPhase::cancelled:
            return "cancelled";
        case LoadPhase::failed:
            break;
    }
    return "failed";
}

}  // namespace

void loads_init() {
    pg::add_shared_area({.name = "rolecall_loads",
                         .bytes = [] { return sizeof(Area); },
                         .locks = [] { return 1; },
                         .attach = attach});
    RegisterXactCallback(on_transaction_end, nullptr);
}

namespace {

enum class Requested { yes, is_under_way, no_room, no_room_for_the_first_time };

Requested note_request(std::uint64_t projection) {
    const pg::HeldLock held(area->lock);
    LoadRecord* record = find(MyDatabaseId, projection);
    if (record != nullptr && record->pid != 0) {
        record->begin_again = true;
        return Requested::is_under_way;
    }
    if (record == nullptr && (record = find_free()) == nullptr)
        return area->refused++ == 0 ? Requested::no_room_for_the_first_time : Requested::no_room;
    record->database = MyDatabaseId;
    record->projection = projection;
    ask(*record);
    return Requested::yes;
}

}  // namespace

void request_load(std::uint64_t projection) {
    const Requested requested = note_request(projection);
    if (requested == Requested::no_room_for_the_first_time)
        pg::log_full("loads", testing::slots(record_count),
                     "What is asked for beyond them is not loaded; documents are read when they are wanted.");
    if (requested != Requested::yes)
        return;
    if (on_load_requested != nullptr)
        on_load_requested(MyDatabaseId);
}

void request_load_at_commit(std::uint64_t projection) {
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    auto* id = static_cast<std::uint64_t*>(palloc(sizeof(std::uint64_t)));
    *id = projection;
    pending = lappend(pending, id);
    MemoryContextSwitchTo(caller);
}

bool is_load_requested(Oid database) {
    const pg::HeldLock held(area->lock);
    return std::ranges::any_of(records(), [database](const LoadRecord& record) {
        return record.database == database && record.phase == LoadPhase::requested;
    });
}

std::uint64_t take_load(bool (*begin_again)()) {
    static bool registered = false;
    if (!registered)
        before_shmem_exit(on_exit, Datum{0});
    registered = true;
    may_begin_again = begin_again;
    const pg::HeldLock held(area->lock);
    LoadRecord* oldest = nullptr;
    for (LoadRecord& record : records())
        if (record.database == MyDatabaseId && record.phase == LoadPhase::requested &&
            (oldest == nullptr || record.requested_at < oldest->requested_at))
            oldest = &record;
    if (oldest == nullptr)
        return 0;
    mine = oldest;
    mine->phase = LoadPhase::loading;
    mine->pid = MyProcPid;
    mine->started_at = GetCurrentTimestamp();
    return mine->projection;
}

bool report_load(LoadPhase phase, const FullLoad& progress) {
    const pg::HeldLock held(area->lock);
    mine->phase = phase;
    mine->expected = progress.expected;
    mine->read = progress.read;
    mine->loaded = progress.loaded;
    mine->failed = progress.failed;
    return !mine->cancelled && !mine->begin_again;
}

void end_load(LoadPhase phase, const char* message) {
    const pg::HeldLock held(area->lock);
    finish(*mine, phase, message);
    mine = nullptr;
}

bool cancel_load(std::uint64_t projection) {
    const pg::HeldLock held(area->lock);
    bool any = false;
    for (LoadRecord& record : records()) {
        if (record.database != MyDatabaseId || (projection != 0 && record.projection != projection) ||
            is_over(record))
            continue;
        any = true;
        record.begin_again = false;
        record.cancelled = true;
        if (record.pid == 0)
            finish(record, LoadPhase::cancelled, "");
        else
            (void)kill(record.pid, SIGINT);  // ends a wait for the first row
    }
    return any;
}

void keep_loads_of(std::span<const Oid> databases) {
    const pg::HeldLock held(area->lock);
    for (LoadRecord& record : records())
        if (std::find(databases.begin(), databases.end(), record.database) == databases.end())
            record.database = InvalidOid;
}

}  // namespace rolecall::projection

using namespace rolecall::projection;
namespace cache = rolecall::cache;

extern "C" {

// Returns a row for each load of this database, in the order of the view stat_progress.
ROLECALL_FUNCTION(rolecall_load_progress, rolecall::pg::gives_rows()) {
    cache::require_preloaded();
    const ReturnSetInfo& result =
        rolecall::pg::result_set(fcinfo, INT8OID, TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID,
                                 TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID);
    auto* copies = static_cast<LoadRecord*>(palloc(sizeof area->records));
    {
        const rolecall::pg::HeldLock held(area->lock);
        memcpy(copies, area->records, sizeof area->records);
    }
    for (int i = 0; i < record_count; ++i) {
        const LoadRecord& record = copies[i];
        if (record.database != MyDatabaseId)
            continue;
        const bool is_known = record.started_at != 0 && record.expected > 0;
        const Datum values[] = {Int64GetDatum(static_cast<int64>(record.projection)),
                                CStringGetTextDatum(name_of(record.phase)),
                                Int32GetDatum(record.pid),
                                Int64GetDatum(static_cast<int64>(record.expected)),
                                Int64GetDatum(static_cast<int64>(record.read)),
                                Int64GetDatum(static_cast<int64>(record.loaded)),
                                Int64GetDatum(static_cast<int64>(record.failed)),
                                TimestampTzGetDatum(record.requested_at),
                                TimestampTzGetDatum(record.started_at),
                                TimestampTzGetDatum(record.ended_at),
                                CStringGetTextDatum(record.message)};
        const bool nulls[] = {false,
                              false,
                              record.pid == 0,
                              !is_known,
                              false,
                              false,
                              false,
                              false,
                              record.started_at == 0,
                              record.ended_at == 0,
                              record.message[0] == '\0'};
        tuplestore_putvalues(result.setResult, result.setDesc, const_cast<Datum*>(values),
                             const_cast<bool*>(nulls));
    }
    return Datum{0};
}

}  // extern "C"
