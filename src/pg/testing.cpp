#include "pg/testing.h"

#ifdef ROLECALL_TESTING

#include "pg/function.h"

extern "C" {
#include "postmaster/interrupt.h"
#include "storage/pmsignal.h"
#include "utils/guc.h"
}

#include "core/error.h"
#include "pg/guard.h"

namespace rolecall::testing {

namespace {

// A point is held by name. One backend at a time waits at it.
struct Point {
    char name[64];
    std::atomic<int> held;     // 1: a backend that reaches the point waits
    std::atomic<int> waiting;  // process id of the waiting backend, or 0
};

constexpr int point_count = 16;
constexpr long poll_microseconds = 500;

Point* points = nullptr;
int seeded_fault = 0;
int clock_offset_seconds = 0;
int table_slots = 0;      // 0: all
bool stops_here = false;  // rolecall.debug_points: stop this backend at held points

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

}  // namespace rolecall::testing

using namespace rolecall;

namespace {

// Sets `flag` when destroyed, which proves that destructors ran.
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

// hold(point text): sessions with rolecall.debug_points wait when they reach the point.
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

// waiting(point text): returns the process id of the backend that waits there, or 0.
ROLECALL_FUNCTION(rolecall_test_waiting, pg::takes(INT4OID, TEXTOID)) {
    const testing::Point* p = testing::find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    PG_RETURN_INT32(p != nullptr ? p->waiting.load() : 0);
}

// throw(kind text): throws through one guard or both, with a Witness on the stack.
ROLECALL_FUNCTION(rolecall_test_throw, pg::takes(TEXTOID, TEXTOID)) {
    const char* kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
    witnessed = false;
    return pg::guarded([&]() -> Datum {
        const Witness witness(witnessed);
        const std::string on_the_heap(1000, 'x');
        if (strcmp(kind, "error") == 0)
            throw Error("RC999", "a message", "A detail.", "A hint.");
        if (strcmp(kind, "long") == 0)
            throw Error("RC999", std::string(3000, 'm'), std::string(3000, 'd'), std::string(3000, 'h'));
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

}  // extern "C"

#endif
