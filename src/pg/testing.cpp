#include "pg/testing.h"

#ifdef ROLECALL_TESTING

#include "cache/shared.h"
#include "definition/definition.h"
#include "invalidation/reach.h"
#include "pg/function.h"

extern "C" {
#include "executor/spi.h"
#include "postmaster/interrupt.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
}

#include "core/error.h"
#include "pg/guard.h"

namespace rolecall::testing {

namespace {

// A point is held by name; one backend at a time waits at it.
struct Point {
    char name[64];
    std::atomic<int> held;     // 1: who comes waits
    std::atomic<int> waiting;  // process id of who waits, or 0
};

constexpr int point_count = 16;
constexpr long poll_microseconds = 500;

Point* points = nullptr;
int seeded_fault = 0;
int clock_offset_seconds = 0;
int table_slots = 0;      // 0: all
bool stops_here = false;  // rolecall.debug_points: only backends that ask for it stop

Point* find_point(const char* name) {
    for (int i = 0; points != nullptr && i < point_count; ++i)
        if (strcmp(points[i].name, name) == 0)
            return &points[i];
    return nullptr;
}

void at_commit(XactEvent event, void*) {
    if (event == XACT_EVENT_COMMIT)
        point("between-proc-array-and-invalidations");
}

}  // namespace

void init() {
    DefineCustomIntVariable("rolecall.seeded_fault", "Breaks one sentence of the freshness rule.", nullptr,
                            &seeded_fault, 0, 0, 100, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.debug_points", "Stops this session at points that are held.", nullptr,
                             &stops_here, false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.clock_offset", "Moves the clock of syncs.", nullptr,
                            &clock_offset_seconds, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_S, nullptr, nullptr,
                            nullptr);
    if (process_shared_preload_libraries_in_progress)
        DefineCustomIntVariable("rolecall.table_slots", "Slots of each fixed table.", nullptr, &table_slots,
                                0, 0, INT_MAX, PGC_POSTMASTER, 0, nullptr, nullptr, nullptr);
    RegisterXactCallback(at_commit, nullptr);
}

std::size_t shared_bytes() { return sizeof(Point) * point_count; }

void attach(void* memory) { points = static_cast<Point*>(memory); }

std::int64_t clock_offset() { return std::int64_t{clock_offset_seconds} * 1'000'000; }

int slots(int all) { return table_slots > 0 ? std::min(all, table_slots) : all; }

bool fault(Fault which) { return seeded_fault == static_cast<int>(which); }

void point(const char* name) {
    if (!stops_here)
        return;
    Point* p = find_point(name);
    if (p == nullptr || p->held.load() == 0)
        return;
    p->waiting.store(MyProcPid);
    while (p->held.load() != 0 && PostmasterIsAlive())
        pg_usleep(poll_microseconds);
    p->waiting.store(0);
}

void stamp_lookup_by_query(const TriggerData& data) {
    char* relation = SPI_getrelname(data.tg_relation);
    if (strcmp(relation, "units") != 0)
        return;
    bool is_null = false;
    const int column = SPI_fnumber(RelationGetDescr(data.tg_relation), "id");
    const Datum unit = SPI_getbinval(data.tg_trigtuple, RelationGetDescr(data.tg_relation), column, &is_null);
    Oid types[] = {INT8OID};
    Datum values[] = {unit};
    SPI_connect();
    SPI_execute_with_args("SELECT user_id FROM rolecall.user_units WHERE unit_id = $1", 1, types, values,
                          nullptr, false, 0);
    const projection::Definition& d = projection::me_definition_seen();
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        projection::KeyBuffer buffer;
        const Datum user = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null);
        projection::stamp(projection::key_hash(d.id, projection::canonical_key(d.key_kind, user, buffer)));
    }
    SPI_finish();
}

}  // namespace rolecall::testing

using namespace rolecall;

namespace {

// Raises `flag` when destroyed: proves that destructors ran.
struct Witness {
    bool& flag;
    explicit Witness(bool& f) : flag(f) {}
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;
    ~Witness() { flag = true; }
};

bool witnessed = false;

}  // namespace

extern "C" {

// hold(point text): whoever of the sessions with rolecall.debug_points comes there waits.
ROLECALL_FUNCTION(rolecall_test_hold, pg::takes(VOIDOID, TEXTOID)) {
    const char* name = text_to_cstring(PG_GETARG_TEXT_PP(0));
    testing::Point* p = testing::find_point(name);
    if (p == nullptr)
        p = testing::find_point("");
    if (p == nullptr)
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many debug points")));
    strlcpy(p->name, name, sizeof p->name);
    p->held.store(1);
    PG_RETURN_VOID();
}

ROLECALL_FUNCTION(rolecall_test_release, pg::takes(VOIDOID, TEXTOID)) {
    testing::Point* p = testing::find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    if (p != nullptr)
        p->held.store(0);
    PG_RETURN_VOID();
}

// waiting(point text): the process id of who waits there, or 0.
ROLECALL_FUNCTION(rolecall_test_waiting, pg::takes(INT4OID, TEXTOID)) {
    const testing::Point* p = testing::find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    PG_RETURN_INT32(p != nullptr ? p->waiting.load() : 0);
}

// throw(kind text): throws through one guard or both, with a witness on the stack.
ROLECALL_FUNCTION(rolecall_test_throw, pg::takes(TEXTOID, TEXTOID)) {
    const char* kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
    witnessed = false;
    return pg::guarded([&]() -> Datum {
        const Witness witness(witnessed);
        const std::string on_the_heap(1000, 'x');
        if (strcmp(kind, "error") == 0)
            throw Error("RC999", "a message", "A detail.", "A hint.");
        if (strcmp(kind, "bad_alloc") == 0)
            throw std::bad_alloc();
        if (strcmp(kind, "exception") == 0)
            throw std::runtime_error("a runtime error");
        if (strcmp(kind, "unknown") == 0)
            throw 42;
        if (strcmp(kind, "postgres") == 0)
            pg::call([] {
                ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("a message of PostgreSQL"),
                                errdetail("A detail of PostgreSQL."), errhint("A hint of PostgreSQL.")));
            });
        return pg::call([&] { return CStringGetTextDatum("nothing thrown"); });
    });
}

ROLECALL_FUNCTION(rolecall_test_witnessed, pg::takes(BOOLOID)) { PG_RETURN_BOOL(witnessed); }

// reach(tag int): how far statements with this node tag reach.
ROLECALL_FUNCTION(rolecall_test_reach, pg::takes(TEXTOID, INT4OID)) {
    constexpr const char* names[] = {"nothing", "relation", "roles", "database", "all databases"};
    const auto reach = projection::reach_of_tag(static_cast<NodeTag>(PG_GETARG_INT32(0)));
    PG_RETURN_TEXT_P(cstring_to_text(names[static_cast<int>(reach)]));
}

}  // extern "C"

#endif
