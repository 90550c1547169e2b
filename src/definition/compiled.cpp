#include "definition/compiled.h"

#include "cache/shared.h"
#include "definition/own_changes.h"
#include "definition/text_functions.h"
#include "pg/client_session.h"
#include "pg/security_context.h"
#include "pg/testing.h"

extern "C" {
#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/hsearch.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

needs_fmgr_hook_type previous_needs_hook = nullptr;
fmgr_hook_type previous_call_hook = nullptr;

// The number of changes of definitions of a database at the time when this process began.
struct Beginning {
    bool is_known;
    Oid database;
    std::uint64_t changes;
};

Beginning beginning{};
bool was_validated = false;  // a language may have compiled a function without a call of it
std::uint64_t calls_in_two_ways = 0;

// What decides how a text is compiled, besides the text and the definitions. `way` is a hash of where names
// are looked up and whether the settings of languages are pinned. A function that was called in two ways may
// have been compiled in either.
struct Called {
    Oid function;  // the key of the table
    std::uint64_t way;
    bool in_two_ways;
};

HTAB* called = nullptr;  // functions with a text that this process has called

// A transaction that announces a change first locks definitions, then counts the change. So if a change is
// counted here already, its lock is found, or its transaction has ended and whatever is compiled from now on
// sees the change. If the change is not counted here yet, it is counted later, and the numbers differ.
// Changes replayed on a standby are not counted, so nothing is known in recovery.
void begin(Oid database) {
    if (!cache::preloaded() || RecoveryInProgress())
        return;
    const std::uint64_t changes = cache::changes_of_names(database);
    beginning = {
        .is_known = cache::definitions_are_quiet_in(database), .database = database, .changes = changes};
}

std::uint64_t way_of_now() {
    std::uint64_t way = pg::compiles_as_pinned() ? 1 : 0;
    Oid path[64];
    const int count =
        std::min(fetch_search_path_array(path, lengthof(path)), static_cast<int>(lengthof(path)));
    for (int i = 0; i < count; ++i)
        way = hash_combine64(way, path[i]);
    return way;
}

enum class CallKind { other, text, validator };

// A function that takes an oid and returns void may be the validator of a language, which compiles the
// function that it is given.
CallKind kind_of(Oid function) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        return CallKind::other;
    const auto* row = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    const bool may_validate =
        row->prorettype == VOIDOID && row->pronargs == 1 && row->proargtypes.values[0] == OIDOID;
    const bool is_kept = has_text(tuple) && (row->prolang != SQLlanguageId || pg::keeps_sql_functions);
    const CallKind kind = is_kept ? CallKind::text : may_validate ? CallKind::validator : CallKind::other;
    ReleaseSysCache(tuple);
    return kind;
}

// Notes a call of a function, because what the call compiles is kept for the life of the process.
void note_call(Oid function) {
    const CallKind kind = kind_of(function);
    was_validated |= kind == CallKind::validator;
    if (kind != CallKind::text)
        return;
    if (called == nullptr) {
        HASHCTL control{};
        control.keysize = sizeof(Oid);
        control.entrysize = sizeof(Called);
        called = hash_create("rolecall called functions", 64, &control, HASH_ELEM | HASH_BLOBS);
    }
    const std::uint64_t way = way_of_now();
    bool found = false;
    auto* entry = static_cast<Called*>(hash_search(called, &function, HASH_ENTER, &found));
    if (!found)
        *entry = {.function = function, .way = way, .in_two_ways = false};
    entry->in_two_ways |= entry->way != way;
    calls_in_two_ways += entry->in_two_ways ? 1 : 0;
}

// Called for each function that is looked up to be called, except for built-in functions and for functions
// that run as their owner or have settings of their own.
bool on_lookup(Oid function) {
    note_call(function);
    return previous_needs_hook != nullptr && previous_needs_hook(function);
}

// Called for functions that run as their owner or have settings of their own, once these are in effect.
void on_call(FmgrHookEventType event, FmgrInfo* function, Datum* state) {
    if (event == FHET_START)
        note_call(function->fn_oid);
    if (previous_call_hook != nullptr)
        previous_call_hook(event, function, state);
}

}  // namespace

void compiled_init() {
    pg::watch_client_sessions(begin);
    previous_needs_hook = needs_fmgr_hook;
    needs_fmgr_hook = on_lookup;
    previous_call_hook = fmgr_hook;
    fmgr_hook = on_call;
}

void compiled_nothing_yet() { begin(MyDatabaseId); }

// Changes that this session made and rolled back are not counted, so detail::noted_once is checked too.
bool compiled_before_changes() {
    if (testing::fault(testing::Fault::old_compilations))
        return false;
    return !beginning.is_known || beginning.database != MyDatabaseId || detail::noted_once ||
           beginning.changes != cache::changes_of_names(MyDatabaseId);
}

std::uint64_t ambiguous_calls() { return calls_in_two_ways; }

bool compiled_differs(std::uint64_t ambiguous_calls_before) {
    if (testing::fault(testing::Fault::old_compilations))
        return false;
    return compiled_before_changes() || was_validated || calls_in_two_ways != ambiguous_calls_before;
}

const char* why_compiled_differs(bool did) {
    if (!did && !compiled_differs(calls_in_two_ways))
        return nullptr;
    if (detail::noted_once)
        return "this session has changed definitions, and may have compiled a function of the view before";
    if (compiled_before_changes())
        return "definitions have changed since this session began, which may have compiled a function of the "
               "view before";
    if (was_validated)
        return "this session has compiled functions without calling them";
    return "this session has called a function of the view under another search_path, or other settings of "
           "its "
           "language";
}

}  // namespace rolecall::projection
