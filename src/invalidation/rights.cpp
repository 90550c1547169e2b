#include "invalidation/rights.h"

#include "invalidation/announce.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_shdepend.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
}

namespace rolecall::projection {

namespace {

// These roles and all who are members of them, directly or not.
List* with_members(List* roles, Snapshot snapshot) {
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

void note_all(List* roles) {
    ListCell* cell = nullptr;
    foreach (cell, roles)
        note_role_with_members(*lfirst_node(RoleSpec, cell));
}

// Logins, passwords and the like decide nothing that is seen. Any other option may.
bool decides_nothing(const DefElem& option) {
    for (const char* name : {"password", "validUntil", "connectionlimit", "canlogin", "createdb",
                             "createrole", "isreplication", "sysid"})
        if (strcmp(option.defname, name) == 0)
            return true;
    return false;
}

bool lists_roles(const DefElem& option) {
    for (const char* name : {"rolemembers", "adminmembers", "addroleto"})
        if (strcmp(option.defname, name) == 0)
            return true;
    return false;
}

void note_altered(const AlterRoleStmt& statement) {
    bool decides = false;
    ListCell* cell = nullptr;
    foreach (cell, statement.options) {
        const auto& option = *lfirst_node(DefElem, cell);
        decides |= !decides_nothing(option);
        if (lists_roles(option))
            note_all(reinterpret_cast<List*>(option.arg));
    }
    if (decides)
        note_role_with_members(*statement.role);
}

// A new role owns nothing, but may bring members along.
void note_created(const CreateRoleStmt& statement) {
    ListCell* cell = nullptr;
    foreach (cell, statement.options) {
        const auto& option = *lfirst_node(DefElem, cell);
        if (lists_roles(option) && strcmp(option.defname, "addroleto") != 0)
            note_all(reinterpret_cast<List*>(option.arg));
    }
}

}  // namespace

// By the newest catalogs: the members of a role that is dropped cannot be found afterwards.
void note_role_with_members(const RoleSpec& role) {
    if (role.roletype == ROLESPEC_PUBLIC) {
        note_all_databases();
        return;
    }
    const Oid oid = get_rolespec_oid(&role, true);
    if (!OidIsValid(oid))
        return;
    ListCell* cell = nullptr;
    foreach (cell, with_members(list_make1_oid(oid), nullptr))
        note_role(lfirst_oid(cell));
}

void note_roles_of(const Node* statement) {
    switch (nodeTag(statement)) {
        case T_GrantRoleStmt:
            note_all(reinterpret_cast<const GrantRoleStmt*>(statement)->grantee_roles);
            break;
        case T_CreateRoleStmt:
            note_created(*reinterpret_cast<const CreateRoleStmt*>(statement));
            break;
        case T_AlterRoleStmt:
            note_altered(*reinterpret_cast<const AlterRoleStmt*>(statement));
            break;
        case T_DropRoleStmt:
            note_all(reinterpret_cast<const DropRoleStmt*>(statement)->roles);
            break;
        default:
            note_all_databases();
            break;
    }
}

bool note_grantees(const GrantStmt& statement) {
    bool known = statement.behavior != DROP_CASCADE;
    ListCell* cell = nullptr;
    foreach (cell, statement.grantees) {
        const auto* role = lfirst_node(RoleSpec, cell);
        known = known && role->roletype != ROLESPEC_PUBLIC;
        const Oid oid = known ? get_rolespec_oid(role, true) : InvalidOid;
        known = known && oid != ROLE_PG_DATABASE_OWNER;  // whose member is recorded nowhere
        if (OidIsValid(oid))
            note_grantee(oid);
    }
    return known;
}

bool own_what_runs(List* roles, Snapshot snapshot) {
    if (roles == NIL)
        return false;
    Relation dependencies = table_open(SharedDependRelationId, AccessShareLock);
    bool found = false;
    ListCell* cell = nullptr;
    foreach (cell, with_members(roles, snapshot))
        found = found || owns_what_runs(dependencies, lfirst_oid(cell), snapshot);
    table_close(dependencies, AccessShareLock);
    return found;
}

}  // namespace rolecall::projection
