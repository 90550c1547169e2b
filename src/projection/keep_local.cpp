// Definitions of projections are this database's own: rows that logical replication brings do not change
// them.
#include "pg/pg.h"

extern "C" {
#include "commands/trigger.h"
#include "replication/logicalworker.h"
}

extern "C" {

PG_FUNCTION_INFO_V1(rolecall_keep_definitions_local);

// BEFORE INSERT OR UPDATE OR DELETE ... FOR EACH ROW. Workers of subscriptions pass over the row, whether
// they copy or apply.
Datum rolecall_keep_definitions_local(PG_FUNCTION_ARGS) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("a trigger function can only be called as a trigger")));
    const auto* data = reinterpret_cast<const TriggerData*>(fcinfo->context);
    if (!TRIGGER_FIRED_BEFORE(data->tg_event) || !TRIGGER_FIRED_FOR_ROW(data->tg_event))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("this trigger function is for triggers that fire before each row")));
    if (IsLogicalWorker())
        return PointerGetDatum(nullptr);
    return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
}

}  // extern "C"
