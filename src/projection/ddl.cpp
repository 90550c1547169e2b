#include "projection/ddl.h"

#include "pg/acting.h"
#include "projection/shared.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/snapmgr.h"
}

namespace rolecall::projection {

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;

// A projection id is never used twice, but a copy of a database has the ids of its template, and may get the
// number of a database that was dropped.
bool retires_everything(const Node* statement) {
    if (IsA(statement, DropdbStmt))
        return true;
    if (IsA(statement, DropStmt))
        return reinterpret_cast<const DropStmt*>(statement)->removeType == OBJECT_EXTENSION;
    return !pg::event_triggers_enabled() && GetCommandLogLevel(const_cast<Node*>(statement)) == LOGSTMT_DDL;
}

void on_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    const bool retires = retires_everything(statement->utilityStmt);
    if (previous_utility_hook != nullptr)
        previous_utility_hook(statement, text, read_only_tree, context, parameters, environment, destination,
                              completion);
    else
        standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment,
                                destination, completion);
    if (retires && preloaded() && IsTransactionState())
        stamp_everything();
}

}  // namespace

void ddl_init() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

PG_FUNCTION_INFO_V1(rolecall_on_ddl_start);

// ddl_command_start for ALTER TABLE: DETACH PARTITION ... CONCURRENTLY commits half-way, before the event
// trigger at its end runs. Everything else is announced there, by what it did rather than by what it asked
// for.
Datum rolecall_on_ddl_start(PG_FUNCTION_ARGS) {
    if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("an event trigger function can only be called as an event trigger")));
    const auto* data = reinterpret_cast<const EventTriggerData*>(fcinfo->context);
    if (!preloaded() || !IsA(data->parsetree, AlterTableStmt))
        PG_RETURN_NULL();
    const auto* statement = reinterpret_cast<const AlterTableStmt*>(data->parsetree);
    const Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
    if (!OidIsValid(relation))
        PG_RETURN_NULL();

    const rolecall::pg::Acting acting = rolecall::pg::act_as_owner();
    SPI_connect();
    Oid types[] = {OIDOID, OIDOID};
    Datum values[] = {ObjectIdGetDatum(RelationRelationId), ObjectIdGetDatum(relation)};
    if (SPI_execute_with_args("SELECT rolecall.announce_ddl($1, $2)", 2, types, values, nullptr, false, 0) !=
        SPI_OK_SELECT)
        elog(ERROR, "could not announce a change of definitions");
    SPI_finish();
    rolecall::pg::stop_acting(acting);
    PG_RETURN_NULL();
}

}  // extern "C"
