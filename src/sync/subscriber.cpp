#include "sync/subscriber.h"

#include "pg/pg.h"
#include "pg/settings.h"

extern "C" {
#include "catalog/namespace.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace rolecall::sync {

namespace {

bool is_subscribed(Oid relation) {
    CatCList* subscriptions = SearchSysCacheList1(SUBSCRIPTIONRELMAP, ObjectIdGetDatum(relation));
    const bool found = subscriptions->n_members > 0;
    ReleaseSysCacheList(subscriptions);
    return found;
}

}  // namespace

bool is_left_to_publisher() {
    if (settings::sync_on_subscriber)
        return false;
    const Oid schema = get_namespace_oid("rolecall", true);
    if (!OidIsValid(schema))
        return false;
    for (const char* name : {"users", "user_roles", "user_units"})
        if (const Oid table = get_relname_relid(name, schema); OidIsValid(table) && is_subscribed(table))
            return true;
    return false;
}

void require_own_users() {
    if (is_left_to_publisher())
        ereport(
            ERROR,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("roles are not synchronized in this database"),
             errdetail("Its users are those of a subscription."),
             errhint("Ask the publisher. After a failover drop the subscription. Where the publisher does "
                     "not synchronize, set rolecall.sync_on_subscriber.")));
}

}  // namespace rolecall::sync
