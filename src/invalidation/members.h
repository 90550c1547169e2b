// Members of roles, and what they own.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
}

namespace rolecall::invalidation {

/// These roles and all who are members of them, directly or not. `snapshot`: nullptr for the newest catalogs.
List* members_and(List* roles, Snapshot snapshot);

/// Does one of these roles, or a member of one, own a relation or a function, in whatever database? The
/// bootstrap superuser is not recorded as an owner, and needs no rights.
bool own_what_runs(List* roles, Snapshot snapshot);

}  // namespace rolecall::invalidation
