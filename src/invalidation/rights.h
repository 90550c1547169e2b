// Changes of roles. The privileges of roles apply in all databases, and decide which rows a projection's
// owner sees.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace rolecall::invalidation {

/// Notes (announce.h) that the privileges of a role and of its present members change.
void note_role_with_members(const RoleSpec& role);

/// Does the same for the roles that a statement about roles affects.
void note_roles_of(const Node* statement);

/// Notes the grantees of a GRANT or REVOKE statement. Returns false if other roles may be affected: PUBLIC is
/// every role, the member of pg_database_owner is not recorded, and CASCADE also revokes what the grantees
/// have granted to others.
bool note_grantees(const GrantStmt& statement);

}  // namespace rolecall::invalidation
