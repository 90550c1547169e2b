#include "definition/subscription.h"

#include "pg/utility.h"

extern "C" {
#include "access/xlogdefs.h"
#include "catalog/namespace.h"
#include "catalog/pg_subscription.h"
#include "catalog/pg_subscription_rel.h"
#include "nodes/parsenodes.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

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

// A table that is being copied must not be removed, because the publisher keeps a slot for it.
bool may_leave(Oid subscription, Oid relation) {
    XLogRecPtr at = InvalidXLogRecPtr;
    const char state = GetSubscriptionRelState(subscription, relation, &at);
    return state == SUBREL_STATE_INIT || state == SUBREL_STATE_READY;
}

// A table that is not part of a subscription is neither copied nor applied, whatever the publisher sends.
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

// ---- The statement

void before_statement(const Node* statement, bool, void*& state) {
    static bool subscribing;
    if (IsA(statement, CreateSubscriptionStmt) || IsA(statement, AlterSubscriptionStmt))
        state = &subscribing;
}

void after_statement(void*) { leave_definitions_out(); }

void at_end(void*, bool) {}

constexpr pg::UtilityWatcher subscription_watcher{before_statement, after_statement, at_end};

}  // namespace

void subscription_init() { pg::watch_utility(subscription_watcher); }

}  // namespace rolecall::projection
