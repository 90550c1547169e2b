#include "invalidation/watch.h"

#include "cache/shared.h"
#include "definition/definition.h"
#include "definition/groups.h"
#include "invalidation/announce.h"
#include "invalidation/closure.h"
#include "invalidation/invalidation_testing.h"
#include "pg/security_context.h"
#include "pg/testing.h"
#include "pg/trigger.h"

extern "C" {
#include "executor/spi.h"
#include "utils/inval.h"
}

namespace rolecall::invalidation {

using testing::Fault;

namespace {

// The arguments of a row trigger, resolved for its relation once per statement.
struct Watcher {
    std::uint64_t projection;
    std::uint64_t group;  // the id of a lookup's watch, if `column` identifies its groups; 0: none
    bool keyed;           // false: the whole projection depends on each row
    AttrNumber column;
    projection::KeyKind kind;
    Oid type;
};

Watcher* watcher_of(FunctionCallInfo fcinfo, const pg::RowTrigger& call) {
    auto* watcher = static_cast<Watcher*>(fcinfo->flinfo->fn_extra);
    if (watcher != nullptr)
        return watcher;
    const std::uint64_t projection = call.id_argument(0);
    const std::uint64_t group = call.argument(2) != nullptr ? call.id_argument(2) : 0;
    watcher = static_cast<Watcher*>(MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Watcher)));
    watcher->projection = projection;
    watcher->group = group;
    if (const char* column = call.argument(1)) {
        // If the column is gone or its type cannot be a key, every row counts for the whole projection.
        TupleDesc columns = call.columns();
        const int number = SPI_fnumber(columns, column);
        if (number > 0) {
            watcher->column = static_cast<AttrNumber>(number);
            watcher->type = SPI_gettypeid(columns, number);
            watcher->keyed = projection::key_kind_of(watcher->type, watcher->kind);
        }
    }
    fcinfo->flinfo->fn_extra = watcher;
    return watcher;
}

void stamp_row(const Watcher& watcher, HeapTuple row, TupleDesc columns) {
    bool is_null = false;
    const Datum key = heap_getattr(row, watcher.column, columns, &is_null);
    if (is_null)
        return;
    if (watcher.group != 0) {
        cache::stamp(projection::group_hash(watcher.group, watcher.kind, watcher.type, key));
        return;
    }
    projection::KeyBuffer buffer;
    cache::stamp(projection::key_hash(
        watcher.projection, watcher.kind,
        projection::canonical_key(watcher.kind, projection::widened_key(watcher.type, key), buffer)));
}

}  // namespace

void watch_child(Oid child) {
    if (!is_below_watched(child, nullptr))
        return;
    const pg::SecurityContext before = pg::act_as_owner();
    SPI_connect();
    Oid type = OIDOID;
    Datum value = ObjectIdGetDatum(child);
    if (SPI_execute_with_args("SELECT rolecall.watch_member($1)", 1, &type, &value, nullptr, false, 0) !=
        SPI_OK_SELECT)
        elog(ERROR, "could not watch a partition or child");
    SPI_finish();
    pg::restore_security_context(before);
}

}  // namespace rolecall::invalidation

using namespace rolecall::invalidation;
namespace cache = rolecall::cache;
namespace pg = rolecall::pg;

extern "C" {

// AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW. Arguments: projection id [, key column [, watch id, for a
// lookup]]. If the library is not preloaded, no session caches anything, and there is nothing to do.
ROLECALL_FUNCTION(rolecall_watch_row, pg::takes(TRIGGEROID)) {
    const pg::RowTrigger call(fcinfo);
    if (!cache::preloaded())
        return PointerGetDatum(nullptr);
    const Watcher& watcher = *watcher_of(fcinfo, call);
    if (rolecall::testing::fault(Fault::lookup_keys_by_query) && watcher.group != 0) {
        rolecall::testing::stamp_lookup_by_query(call.data());
        return PointerGetDatum(nullptr);
    }
    if (!watcher.keyed) {
        cache::stamp_projection(watcher.projection);
        return PointerGetDatum(nullptr);
    }
    if (call.old_row() != nullptr && !rolecall::testing::fault(Fault::old_key_not_stamped))
        stamp_row(watcher, call.old_row(), call.columns());
    if (call.new_row() != nullptr && !rolecall::testing::fault(Fault::new_key_not_stamped))
        stamp_row(watcher, call.new_row(), call.columns());
    return PointerGetDatum(nullptr);
}

// AFTER TRUNCATE FOR EACH STATEMENT. Argument: projection id.
ROLECALL_FUNCTION(rolecall_watch_truncate, pg::takes(TRIGGEROID)) {
    const std::uint64_t projection = pg::StatementTrigger(fcinfo).id_argument(0);
    if (cache::preloaded())
        cache::stamp_projection(projection);
    return PointerGetDatum(nullptr);
}

// AFTER ... FOR EACH STATEMENT on rolecall.projections and rolecall.watches. Every backend rereads its
// definitions, and installs no documents before that.
ROLECALL_FUNCTION(rolecall_definition_changed, pg::takes(TRIGGEROID)) {
    const pg::StatementTrigger call(fcinfo);
    note_database();
    CacheInvalidateRelcacheByRelid(RelationGetRelid(call.relation()));
    return PointerGetDatum(nullptr);
}

// AFTER DELETE FOR EACH ROW on rolecall.projections. The projection's cached documents can no longer be read.
ROLECALL_FUNCTION(rolecall_projection_dropped, pg::takes(TRIGGEROID)) {
    const pg::RowTrigger call(fcinfo);
    const AttrNumber column = call.column("id", INT8OID);
    if (call.old_row() == nullptr)
        return PointerGetDatum(nullptr);
    bool is_null = false;
    const Datum id = heap_getattr(call.old_row(), column, call.columns(), &is_null);
    const auto projection = static_cast<std::uint64_t>(DatumGetInt64(id));
    if (cache::preloaded() && !is_null) {
        cache::forget_documents(MyDatabaseId, projection);
        cache::counters::forget(cache::projection_hash(projection));
    }
    return PointerGetDatum(nullptr);
}

// The event triggers of version 0.1.0 call these two functions until ALTER EXTENSION ... UPDATE drops the
// triggers. The hooks have replaced them.
ROLECALL_FUNCTION(rolecall_raise_floor, pg::takes(VOIDOID, INT8OID)) {
    (void)fcinfo;
    note_database();
    PG_RETURN_VOID();
}

ROLECALL_FUNCTION(rolecall_on_ddl_start, pg::takes(EVENT_TRIGGEROID)) {
    (void)fcinfo;
    PG_RETURN_NULL();
}

}  // extern "C"
