#include "definition/subscription.h"

#include "pg/pg.h"

extern "C" {
#include "access/xlogdefs.h"
#include "catalog/namespace.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_subscription_rel.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;

bool subscribes(const Node* statement) {
    return IsA(statement, CreateSubscriptionStmt) || IsA(statement, AlterSubscriptionStmt);
}

// The subscriptions of a table.
List* subscriptions_of(Oid relation) {
    List* subscriptions = NIL;
    CatCList* rows = SearchSysCacheList1(SUBSCRIPTIONRELMAP, ObjectIdGetDatum(relation));
    for (int i = 0; i < rows->n_members; ++i) {
        const auto* row = reinterpret_cast<Form_pg_subscription_rel>(GETSTRUCT(&rows->members[i]->tuple));
        subscriptions = lappend_oid(subscriptions, row->srsubid);
    }
    ReleaseSysCacheList(rows);
    return subscriptions;
}

// A table that is being copied is left alone: the publisher keeps a slot for it.
bool may_leave(Oid subscription, Oid relation) {
    XLogRecPtr at = InvalidXLogRecPtr;
    const char state = GetSubscriptionRelState(subscription, relation, &at);
    return state == SUBREL_STATE_INIT || state == SUBREL_STATE_READY;
}

// What is no part of a subscription is neither copied nor applied, whatever the publisher sends.
void leave_definitions_out() {
    const Oid schema = get_namespace_oid("rolecall", true);
    if (!OidIsValid(schema))
        return;
    CommandCounterIncrement();
    bool left = false;
    for (const char* name : {"home", "projections", "watches", "watch_references"}) {
        const Oid relation = get_relname_relid(name, schema);
        ListCell* cell = nullptr;
        foreach (cell, OidIsValid(relation) ? subscriptions_of(relation) : NIL) {
            if (!may_leave(lfirst_oid(cell), relation))
                continue;
            RemoveSubscriptionRel(lfirst_oid(cell), relation);
            left = true;
        }
    }
    if (left)
        ereport(NOTICE,
                (errmsg("definitions of projections are not subscribed to"),
                 errdetail("Tables rolecall.home, projections, watches and watch_references are about "
                           "this database and its own views, tables and triggers.")));
}

void on_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    const bool concerns = subscribes(statement->utilityStmt);
    auto* next = previous_utility_hook != nullptr ? previous_utility_hook : standard_ProcessUtility;
    next(statement, text, read_only_tree, context, parameters, environment, destination, completion);
    if (concerns)
        leave_definitions_out();
}

}  // namespace

void subscription_init() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}

}  // namespace rolecall::projection
