#include "invalidation/members.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_shdepend.h"
#include "utils/fmgroids.h"
}

namespace rolecall::invalidation {

List* members_and(List* roles, Snapshot snapshot) {
    List* all = list_copy(roles);
    if (all == NIL)
        return all;
    Relation members = table_open(AuthMemRelationId, AccessShareLock);
    for (int i = 0; i < list_length(all); ++i) {
        ScanKeyData key;
        ScanKeyInit(&key, Anum_pg_auth_members_roleid, BTEqualStrategyNumber, F_OIDEQ,
                    ObjectIdGetDatum(list_nth_oid(all, i)));
        SysScanDesc rows = systable_beginscan(members, AuthMemRoleMemIndexId, true, snapshot, 1, &key);
        while (HeapTuple row = systable_getnext(rows))
            all = list_append_unique_oid(all, reinterpret_cast<Form_pg_auth_members>(GETSTRUCT(row))->member);
        systable_endscan(rows);
    }
    table_close(members, AccessShareLock);
    return all;
}

namespace {

bool owns_what_runs(Relation dependencies, Oid role, Snapshot snapshot) {
    ScanKeyData keys[2];
    ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(AuthIdRelationId));
    ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
    SysScanDesc rows =
        systable_beginscan(dependencies, SharedDependReferenceIndexId, true, snapshot, 2, keys);
    bool found = false;
    while (HeapTuple row = found ? nullptr : systable_getnext(rows)) {
        const auto* d = reinterpret_cast<Form_pg_shdepend>(GETSTRUCT(row));
        found = d->deptype == SHARED_DEPENDENCY_OWNER &&
                (d->classid == RelationRelationId || d->classid == ProcedureRelationId);
    }
    systable_endscan(rows);
    return found;
}

}  // namespace

bool own_what_runs(List* roles, Snapshot snapshot) {
    if (roles == NIL)
        return false;
    Relation dependencies = table_open(SharedDependRelationId, AccessShareLock);
    bool found = false;
    ListCell* cell = nullptr;
    foreach (cell, members_and(roles, snapshot))
        found = found || owns_what_runs(dependencies, lfirst_oid(cell), snapshot);
    table_close(dependencies, AccessShareLock);
    return found;
}

}  // namespace rolecall::invalidation
