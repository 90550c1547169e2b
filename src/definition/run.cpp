#include "definition/run.h"
#include "definition/exactness.h"

#include "definition/safety.h"
#include "pg/testing.h"

extern "C" {
#include "storage/lmgr.h"
#include "utils/plancache.h"
}

namespace rolecall::projection {

// The views and tables are locked before their definitions are verified. So views and tables whose owners do
// not have the rights of the view's owner stay as they were verified until they have been read. Functions
// cannot be locked, but only a role that has the owner's rights anyway can replace a function that was found
// to be safe.
bool definition_ready(Definition& d, bool to_install) {
    const ListCell* cell = nullptr;
    foreach (cell, d.named)
        LockRelationOid(lfirst_oid(cell), AccessShareLock);
    return definition_refresh(d, to_install);  // reading a definition again locks what it names
}

bool definition_ready_same_key(Definition& d, bool to_install) {
    const KeyKind kind = d.key_kind;
    const bool fresh = definition_ready(d, to_install);
    if (d.key_kind != kind)
        complain_of_key_type(d, key_type_of(kind));
    return fresh;
}

namespace {

void refuse(const Definition& d, const char* unsafe) {
    if (unsafe != nullptr)
        ereport(
            ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
             errmsg("projection \"%s\" would run code with more rights than its owner has", NameStr(d.name)),
             errdetail("In the way: %s.", unsafe),
             errhint("Let one role own the view and what it uses, or a role that has the rights of "
                     "the view's owner.")));
}

}  // namespace

void refuse_unsafe(const Definition& d) { refuse(d, d.unsafe); }

void refuse_unsafe(const Definition& d, const Plan& plan) {
    refuse(d, unsafe_part(plan.owner, examine(plan_queries(plan), true), plan_relations(plan)));
}

pg::SecurityContext act_as_view_owner(const Definition& d) {
    refuse_unsafe(d);
    // The plans that this session keeps for texts of such functions were made with the session's own
    // settings, and with the objects that the names in the texts meant then.
    if (d.runs_text && !testing::fault(testing::Fault::old_texts))
        ResetPlanCache();
    return pg::act_as_pinned(d.plan->owner);
}

}  // namespace rolecall::projection
