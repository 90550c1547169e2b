#include "invalidation/rights.h"

#include "invalidation/announce.h"
#include "invalidation/members.h"

extern "C" {
#include "catalog/pg_authid.h"
#include "utils/acl.h"
}

namespace rolecall::invalidation {

namespace {

void note_all(List* roles) {
    ListCell* cell = nullptr;
    foreach (cell, roles)
        note_role_with_members(*lfirst_node(RoleSpec, cell));
}

// Options such as LOGIN and PASSWORD do not affect which rows a role sees. Any option not listed here may.
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

// A new role owns nothing, so its own privileges do not matter. Existing roles may become its members.
void note_created(const CreateRoleStmt& statement) {
    ListCell* cell = nullptr;
    foreach (cell, statement.options) {
        const auto& option = *lfirst_node(DefElem, cell);
        if (lists_roles(option) && strcmp(option.defname, "addroleto") != 0)
            note_all(reinterpret_cast<List*>(option.arg));
    }
}

}  // namespace

// The members are looked up in the newest catalogs before the statement runs, because the members of a
// dropped role cannot be found afterwards.
void note_role_with_members(const RoleSpec& role) {
    if (role.roletype == ROLESPEC_PUBLIC) {
        note_all_databases();
        return;
    }
    const Oid oid = get_rolespec_oid(&role, true);
    if (!OidIsValid(oid))
        return;
    ListCell* cell = nullptr;
    foreach (cell, members_and(list_make1_oid(oid), nullptr))
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
        known = known && oid != ROLE_PG_DATABASE_OWNER;  // its member is not recorded
        if (OidIsValid(oid))
            note_grantee(oid);
    }
    return known;
}

}  // namespace rolecall::invalidation
