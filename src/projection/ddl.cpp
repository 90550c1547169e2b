#include "projection/ddl.h"

#include "pg/acting.h"
#include "pg/testing.h"
#include "pg/trigger.h"
#include "projection/rights.h"
#include "projection/shared.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;

enum class Effect {
    none,
    retires,    // documents are gone with what they were of
    redefines,  // what no event trigger will announce
};

// A projection id is never used twice, but a copy of a database has the ids of its template, and may get the
// number of a database that was dropped. Event triggers do not fire for event triggers, nor where they are
// switched off.
Effect effect_of(const Node* statement) {
    switch (nodeTag(statement)) {
        case T_DropdbStmt:
            return Effect::retires;
        case T_AlterEventTrigStmt:
            return Effect::redefines;
        case T_DropStmt: {
            const ObjectType type = reinterpret_cast<const DropStmt*>(statement)->removeType;
            if (type == OBJECT_EXTENSION)
                return Effect::retires;
            if (type == OBJECT_EVENT_TRIGGER)
                return Effect::redefines;
            break;
        }
        default:
            break;
    }
    const bool unseen =
        !pg::event_triggers_enabled() && GetCommandLogLevel(const_cast<Node*>(statement)) == LOGSTMT_DDL;
    return unseen ? Effect::redefines : Effect::none;
}

Oid database_to_drop(const Node* statement) {
    if (!IsA(statement, DropdbStmt) || !IsTransactionState())
        return InvalidOid;
    return get_database_oid(reinterpret_cast<const DropdbStmt*>(statement)->dbname, true);
}

// `dropped`: a database, if it was one.
void announce(Effect effect, Oid dropped) {
    if (effect == Effect::none || !preloaded() || !IsTransactionState() ||
        testing::fault(effect == Effect::retires ? Fault::id_used_again : Fault::ddl_not_announced))
        return;
    if (effect == Effect::redefines) {
        const Oid schema = get_namespace_oid("rolecall", true);
        const Oid projections = OidIsValid(schema) ? get_relname_relid("projections", schema) : InvalidOid;
        if (!OidIsValid(projections))
            return;
        lock_definitions_for_change();
        CacheInvalidateRelcacheByRelid(projections);
    }
    stamp_everything();
    if (OidIsValid(dropped))
        forget_documents(dropped, 0);
    else if (effect == Effect::retires && !OidIsValid(get_extension_oid("rolecall", true)))
        forget_documents(MyDatabaseId, 0);
}

void on_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    const Effect effect = effect_of(statement->utilityStmt);
    const Oid database = database_to_drop(statement->utilityStmt);
    rights_will_change(statement->utilityStmt);
    if (previous_utility_hook != nullptr)
        previous_utility_hook(statement, text, read_only_tree, context, parameters, environment, destination,
                              completion);
    else
        standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment,
                                destination, completion);
    announce(effect, database);
    rights_have_changed(statement->utilityStmt);
}

}  // namespace

void announce_object(Oid catalog, Oid object) {
    const pg::Acting acting = pg::act_as_owner();
    SPI_connect();
    Oid types[] = {OIDOID, OIDOID};
    Datum values[] = {ObjectIdGetDatum(catalog), ObjectIdGetDatum(object)};
    if (SPI_execute_with_args("SELECT rolecall.announce_ddl($1, $2)", 2, types, values, nullptr, false, 0) !=
        SPI_OK_SELECT)
        elog(ERROR, "could not announce a change of definitions");
    SPI_finish();
    pg::stop_acting(acting);
}

void ddl_init() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

// ddl_command_start for ALTER TABLE: DETACH PARTITION ... CONCURRENTLY commits half-way, before the event
// trigger at its end runs. Everything else is announced there, by what it did rather than by what it asked
// for.
ROLECALL_FUNCTION(rolecall_on_ddl_start, rolecall::pg::takes(EVENT_TRIGGEROID)) {
    const Node* tree = rolecall::pg::EventTrigger(fcinfo).statement();
    if (!preloaded() || tree == nullptr || !IsA(tree, AlterTableStmt))
        PG_RETURN_NULL();
    const auto* statement = reinterpret_cast<const AlterTableStmt*>(tree);
    const Oid relation = RangeVarGetRelid(statement->relation, NoLock, true);
    if (!OidIsValid(relation))
        PG_RETURN_NULL();

    announce_object(RelationRelationId, relation);
    PG_RETURN_NULL();
}

}  // extern "C"
