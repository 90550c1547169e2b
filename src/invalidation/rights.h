// Roles: what they may do is known in all databases, and decides what a projection's owner sees.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace rolecall::invalidation {

/// Notes (announce.h) that the rights of a role change, and with them those of its members, as they are now.
void note_role_with_members(const RoleSpec& role);

/// The same for the roles that a statement about roles concerns.
void note_roles_of(const Node* statement);

/// Notes to whom rights are given, or from whom they are taken. False: it may be anybody, or with CASCADE
/// those who had them from these.
bool note_grantees(const GrantStmt& statement);

}  // namespace rolecall::invalidation
