#include "projection/rights.h"

#include "pg/acting.h"
#include "projection/ddl.h"
#include "projection/shared.h"

extern "C" {
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
}

namespace rolecall::projection {

namespace {

bool is_installed() { return OidIsValid(get_extension_oid("rolecall", true)); }

// Of whatever database: there need not be anything of ours in this one.
void announce_anything() {
    lock_rights_for_change();
    stamp_everything();
}

// Roles are those of all databases. Does `role`, or a member of it, own a relation in any of them? The
// bootstrap superuser is not recorded, and needs no rights.
bool owns_relations(Oid role) {
    constexpr const char* query =
        "WITH RECURSIVE affected AS (SELECT $1 AS oid UNION "
        "SELECT m.member FROM pg_catalog.pg_auth_members m JOIN affected a ON m.roleid = a.oid) "
        "SELECT FROM pg_catalog.pg_shdepend d JOIN affected a ON d.refobjid = a.oid "
        "WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.classid = "
        "'pg_catalog.pg_class'::regclass "
        "AND d.deptype = 'o' LIMIT 1";
    const pg::Acting acting = pg::act_as_table_owner(BOOTSTRAP_SUPERUSERID);  // of the catalogs
    SPI_connect();
    Oid types[] = {OIDOID};
    Datum values[] = {ObjectIdGetDatum(role)};
    if (SPI_execute_with_args(query, 1, types, values, nullptr, true, 1) != SPI_OK_SELECT)
        elog(ERROR, "could not look for what a role owns");
    const bool found = SPI_processed > 0;
    SPI_finish();
    pg::stop_acting(acting);
    return found;
}

bool own_relations(List* roles) {
    ListCell* cell = nullptr;
    foreach (cell, roles) {
        const auto* role = lfirst_node(RoleSpec, cell);
        if (role->roletype == ROLESPEC_PUBLIC)
            return true;
        const Oid oid = get_rolespec_oid(role, true);
        if (OidIsValid(oid) && owns_relations(oid))
            return true;
    }
    return false;
}

// With CASCADE, others lose the right with the one who is named.
bool concerns_owners(const GrantStmt& revoke) {
    return revoke.behavior == DROP_CASCADE || own_relations(revoke.grantees);
}

void on_revoke(const GrantStmt& statement) {
    if (statement.is_grant || !is_installed() || !concerns_owners(statement))
        return;
    const bool is_function = statement.objtype == OBJECT_FUNCTION || statement.objtype == OBJECT_PROCEDURE ||
                             statement.objtype == OBJECT_ROUTINE;
    if (statement.targtype == ACL_TARGET_OBJECT && (statement.objtype == OBJECT_TABLE || is_function)) {
        ListCell* cell = nullptr;
        foreach (cell, statement.objects) {
            const Oid object =
                is_function ? LookupFuncWithArgs(statement.objtype, lfirst_node(ObjectWithArgs, cell), true)
                            : RangeVarGetRelid(lfirst_node(RangeVar, cell), NoLock, true);
            if (OidIsValid(object))
                announce_object(is_function ? ProcedureRelationId : RelationRelationId, object);
        }
    } else if (statement.targtype != ACL_TARGET_OBJECT || statement.objtype == OBJECT_SCHEMA) {
        announce_anything();
    }
}

// Being a member of a role, superuser, or exempt from row security decides what a view's owner sees. Logins,
// passwords and the like do not.
bool decides_what_is_seen(const AlterRoleStmt& statement) {
    ListCell* cell = nullptr;
    foreach (cell, statement.options) {
        const char* option = lfirst_node(DefElem, cell)->defname;
        for (const char* name : {"superuser", "bypassrls", "inherit", "rolemembers"})
            if (strcmp(option, name) == 0)
                return true;
    }
    return false;
}

// A new role may bring along what it is a member of itself.
bool has_owners_as_members(const CreateRoleStmt& statement) {
    ListCell* cell = nullptr;
    foreach (cell, statement.options) {
        const auto* option = lfirst_node(DefElem, cell);
        const bool members =
            strcmp(option->defname, "rolemembers") == 0 || strcmp(option->defname, "adminmembers") == 0;
        if (members && own_relations(reinterpret_cast<List*>(option->arg)))
            return true;
    }
    return false;
}

}  // namespace

// The members of a role that is dropped cannot be found afterwards.
void rights_will_change(const Node* statement) {
    if (IsA(statement, DropRoleStmt) && preloaded() && IsTransactionState() &&
        own_relations(reinterpret_cast<const DropRoleStmt*>(statement)->roles))
        announce_anything();
}

void rights_have_changed(const Node* statement) {
    if (!preloaded() || !IsTransactionState())
        return;
    switch (nodeTag(statement)) {
        case T_GrantStmt:
            on_revoke(*reinterpret_cast<const GrantStmt*>(statement));
            break;
        case T_GrantRoleStmt:
            if (own_relations(reinterpret_cast<const GrantRoleStmt*>(statement)->grantee_roles))
                announce_anything();
            break;
        case T_CreateRoleStmt:
            if (has_owners_as_members(*reinterpret_cast<const CreateRoleStmt*>(statement)))
                announce_anything();
            break;
        case T_AlterRoleStmt: {
            const auto* alter = reinterpret_cast<const AlterRoleStmt*>(statement);
            if (decides_what_is_seen(*alter) && own_relations(list_make1(alter->role)))
                announce_anything();
            break;
        }
        case T_AlterOwnerStmt:  // whose membership of pg_database_owner is recorded nowhere
            if (reinterpret_cast<const AlterOwnerStmt*>(statement)->objectType == OBJECT_DATABASE)
                announce_anything();
            break;
        case T_DropOwnedStmt:
        case T_ReassignOwnedStmt:
            announce_anything();
            break;
        default:
            break;
    }
}

}  // namespace rolecall::projection
