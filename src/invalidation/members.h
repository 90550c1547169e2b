// Members of roles, and the objects they own.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
}

namespace rolecall::invalidation {

/// Returns these roles and all their direct and indirect members. If `snapshot` is nullptr, the newest
/// catalog snapshot is used.
List* members_and(List* roles, Snapshot snapshot);

/// Returns whether one of these roles, or a member of one, owns a relation or a function in any database. The
/// bootstrap superuser does not count: pg_shdepend does not record it as an owner, and it needs no
/// privileges.
bool own_what_runs(List* roles, Snapshot snapshot);

}  // namespace rolecall::invalidation
