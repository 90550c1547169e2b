// The SQL functions with which administrators inspect projections, and cause documents to be loaded again.
#include "pg/pg.h"

#include "cache/shared.h"
#include "definition/check.h"
#include "pg/function.h"
#include "pg/read_only.h"
#include "pg/snapshot.h"
#include "projection/keys.h"
#include "projection/load_requests.h"
#include "projection/read.h"

extern "C" {
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"
}

namespace rolecall::projection {

namespace {

Definition& fresh_definition(const NameData& name) {
    cache::require_preloaded();
    Definition& d = definition_seen(NameStr(name));
    d.fresh = false;  // changes of this transaction may have sent no message yet
    definition_refresh(d);
    return d;
}

Datum text_or_null(const char* value, bool& is_null) {
    is_null = value == nullptr;
    return is_null ? Datum{0} : CStringGetTextDatum(value);
}

}  // namespace

}  // namespace rolecall::projection

using namespace rolecall::projection;
namespace cache = rolecall::cache;

extern "C" {

// projection_problems(projection name) returns rows of (relation, lasting, problem, repair).
ROLECALL_FUNCTION(rolecall_projection_problems, rolecall::pg::gives_rows(NAMEOID)) {
    const Definition& d = fresh_definition(*PG_GETARG_NAME(0));
    const ReturnSetInfo& result = rolecall::pg::result_set(fcinfo, REGCLASSOID, BOOLOID, TEXTOID, TEXTOID);
    ListCell* cell = nullptr;
    foreach (cell, d.problems) {
        const auto* problem = static_cast<Problem*>(lfirst(cell));
        Datum values[4] = {};
        bool nulls[4] = {};
        values[0] = ObjectIdGetDatum(problem->relation);
        nulls[0] = !OidIsValid(problem->relation);
        values[1] = BoolGetDatum(problem->lasting);
        values[2] = text_or_null(problem->text, nulls[2]);
        values[3] = text_or_null(problem->repair, nulls[3]);
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    return Datum{0};
}

// reload(projection name)
ROLECALL_FUNCTION(rolecall_reload, rolecall::pg::takes(VOIDOID, NAMEOID)) {
    rolecall::pg::require_writable("reload a projection");
    const std::uint64_t id = fresh_definition(*PG_GETARG_NAME(0)).id;
    cache::stamp_projection(id);
    request_load_at_commit(id);
    PG_RETURN_VOID();
}

// cancel_load(projection bigint)
ROLECALL_FUNCTION(rolecall_cancel_load, rolecall::pg::takes(BOOLOID, INT8OID)) {
    PG_RETURN_BOOL(cache::preloaded() && cancel_load(static_cast<std::uint64_t>(PG_GETARG_INT64(0))));
}

// invalidate(projection name, key text)
ROLECALL_FUNCTION(rolecall_invalidate, rolecall::pg::takes(VOIDOID, NAMEOID, TEXTOID)) {
    rolecall::pg::require_writable("invalidate a document");
    const Definition& d = fresh_definition(*PG_GETARG_NAME(0));
    KeyBuffer buffer;
    cache::stamp(key_hash(d.id, d.key_kind,
                          canonical_key(d.key_kind, key_from_text(d, PG_GETARG_TEXT_PP(1)), buffer)));
    PG_RETURN_VOID();
}

// cache_entry(projection name, key text)
ROLECALL_FUNCTION(rolecall_cache_entry, rolecall::pg::takes(RECORDOID, NAMEOID, TEXTOID)) {
    Definition& d = fresh_definition(*PG_GETARG_NAME(0));
    TupleDesc columns = rolecall::pg::result_row(fcinfo, BOOLOID, BOOLOID, TEXTOID, TIMESTAMPTZOID, XID8OID,
                                                 TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID);
    const Inspection found = inspect(d, key_from_text(d, PG_GETARG_TEXT_PP(1)));
    const auto& window = found.head.window;
    Datum values[8] = {};
    bool nulls[8] = {};
    values[0] = BoolGetDatum(found.cached);
    values[1] = BoolGetDatum(found.reason == nullptr);
    values[2] = text_or_null(found.reason, nulls[2]);
    values[3] = TimestampTzGetDatum(found.head.loaded_at);
    values[4] = FullTransactionIdGetDatum(FullTransactionIdFromU64(found.changed_by));
    nulls[4] = found.changed_by == 0;
    values[5] = TimestampTzGetDatum(window.from);
    values[6] = TimestampTzGetDatum(window.until);
    values[7] = Int32GetDatum(static_cast<int32>(found.head.document_bytes));
    nulls[3] = nulls[5] = nulls[6] = nulls[7] = !found.cached;
    nulls[5] |= window.from == INT64_MIN;
    nulls[6] |= window.until == INT64_MAX;
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(columns, values, nulls)));
}

}  // extern "C"
