#include "projection/watch.h"

#include "pg/testing.h"
#include "projection/definition.h"
#include "projection/groups.h"
#include "projection/shared.h"

extern "C" {
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/rel.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

// What a row trigger's arguments mean on its relation; worked out once per statement.
struct Watcher {
    std::uint64_t projection;
    std::uint64_t group;  // the watch of a lookup whose rows are told apart by the column; 0: none
    bool keyed;           // false: the whole projection depends on each row
    AttrNumber column;
    KeyKind kind;
    Oid type;
};

std::uint64_t id_argument(const Trigger& trigger, int number) {
    return static_cast<std::uint64_t>(strtoll(trigger.tgargs[number], nullptr, 10));
}

std::uint64_t projection_argument(const Trigger& trigger) {
    if (trigger.tgnargs < 1)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("trigger \"%s\" needs the id of a projection", trigger.tgname),
                        errhint("Use rolecall.watch() and rolecall.watch_lookup().")));
    return id_argument(trigger, 0);
}

Watcher* watcher_of(FunctionCallInfo fcinfo, const TriggerData& data) {
    auto* watcher = static_cast<Watcher*>(fcinfo->flinfo->fn_extra);
    if (watcher != nullptr)
        return watcher;
    watcher = static_cast<Watcher*>(MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Watcher)));
    const Trigger& trigger = *data.tg_trigger;
    watcher->projection = projection_argument(trigger);
    if (trigger.tgnargs >= 2) {
        // A column that is gone, or of another type, makes every row count for the whole projection.
        TupleDesc columns = RelationGetDescr(data.tg_relation);
        const int number = SPI_fnumber(columns, trigger.tgargs[1]);
        if (number > 0) {
            watcher->column = static_cast<AttrNumber>(number);
            watcher->type = SPI_gettypeid(columns, number);
            watcher->keyed = key_kind_of(watcher->type, watcher->kind);
        }
    }
    if (trigger.tgnargs >= 3)
        watcher->group = id_argument(trigger, 2);
    fcinfo->flinfo->fn_extra = watcher;
    return watcher;
}

void stamp_row(const Watcher& watcher, HeapTuple row, TupleDesc columns) {
    bool is_null = false;
    const Datum key = heap_getattr(row, watcher.column, columns, &is_null);
    if (is_null)
        return;
    if (watcher.group != 0) {
        stamp(group_hash(watcher.group, watcher.kind, watcher.type, key));
        return;
    }
    KeyBuffer buffer;
    stamp(key_hash(watcher.projection, canonical_key(watcher.kind, widened_key(watcher.type, key), buffer)));
}

const TriggerData& trigger_data(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("a watch function can only be called as a trigger")));
    return *reinterpret_cast<const TriggerData*>(fcinfo->context);
}

}  // namespace

void announce_change(std::uint64_t projection) {
    if (testing::fault(Fault::ddl_not_announced))
        return;
    lock_definitions_for_change();
    stamp_projection(projection);
}

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

PG_FUNCTION_INFO_V1(rolecall_watch_row);
PG_FUNCTION_INFO_V1(rolecall_watch_truncate);
PG_FUNCTION_INFO_V1(rolecall_definition_changed);
PG_FUNCTION_INFO_V1(rolecall_projection_dropped);
PG_FUNCTION_INFO_V1(rolecall_raise_floor);

// AFTER INSERT OR UPDATE OR DELETE FOR EACH ROW; arguments: projection id [, key column [, id of the watch,
// of a lookup]]. Without the library preloaded nothing is cached anywhere, and there is nothing to do.
Datum rolecall_watch_row(PG_FUNCTION_ARGS) {
    const TriggerData& data = trigger_data(fcinfo);
    if (!preloaded())
        return PointerGetDatum(nullptr);
    const Watcher& watcher = *watcher_of(fcinfo, data);
    if (rolecall::testing::fault(Fault::lookup_keys_by_query) && watcher.group != 0) {
        rolecall::testing::stamp_lookup_by_query(data);
        return PointerGetDatum(nullptr);
    }
    if (!watcher.keyed) {
        stamp_projection(watcher.projection);
        return PointerGetDatum(nullptr);
    }
    TupleDesc columns = RelationGetDescr(data.tg_relation);
    const bool is_update = TRIGGER_FIRED_BY_UPDATE(data.tg_event);
    const bool skip_old =
        TRIGGER_FIRED_BY_INSERT(data.tg_event) || rolecall::testing::fault(Fault::old_key_not_stamped);
    const bool skip_new =
        TRIGGER_FIRED_BY_DELETE(data.tg_event) || rolecall::testing::fault(Fault::new_key_not_stamped);
    if (!skip_old)
        stamp_row(watcher, data.tg_trigtuple, columns);
    if (!skip_new)
        stamp_row(watcher, is_update ? data.tg_newtuple : data.tg_trigtuple, columns);
    return PointerGetDatum(nullptr);
}

// AFTER TRUNCATE FOR EACH STATEMENT; argument: projection id.
Datum rolecall_watch_truncate(PG_FUNCTION_ARGS) {
    const TriggerData& data = trigger_data(fcinfo);
    if (preloaded())
        stamp_projection(projection_argument(*data.tg_trigger));
    return PointerGetDatum(nullptr);
}

// AFTER ... FOR EACH STATEMENT on rolecall.projections and rolecall.watches: every backend rereads its
// definitions, and none installs before that.
Datum rolecall_definition_changed(PG_FUNCTION_ARGS) {
    const TriggerData& data = trigger_data(fcinfo);
    if (preloaded()) {
        lock_definitions_for_change();
        stamp_everything();
    }
    CacheInvalidateRelcacheByRelid(RelationGetRelid(data.tg_relation));
    return PointerGetDatum(nullptr);
}

// AFTER DELETE FOR EACH ROW on rolecall.projections: its documents are of no use to anybody.
Datum rolecall_projection_dropped(PG_FUNCTION_ARGS) {
    const TriggerData& data = trigger_data(fcinfo);
    TupleDesc columns = RelationGetDescr(data.tg_relation);
    bool is_null = false;
    const Datum id = heap_getattr(data.tg_trigtuple, SPI_fnumber(columns, "id"), columns, &is_null);
    const auto projection = static_cast<std::uint64_t>(DatumGetInt64(id));
    if (preloaded()) {
        announce_change(projection);
        forget_documents(MyDatabaseId, projection);
        counters::forget(projection_hash(projection));
    }
    return PointerGetDatum(nullptr);
}

// raise_floor(projection_id bigint): what DDL on a projection's objects does.
Datum rolecall_raise_floor(PG_FUNCTION_ARGS) {
    if (preloaded())
        announce_change(static_cast<std::uint64_t>(PG_GETARG_INT64(0)));
    PG_RETURN_VOID();
}

}  // extern "C"
