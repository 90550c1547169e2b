// Security contexts: code that runs as another role, so that its result does not depend on the caller.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// What to restore. After an error, the abort of the (sub)transaction restores it.
struct SecurityContext {
    Oid user;
    int security_context;
    int guc_level;
};

/// Becomes the extension's owner, in a security-restricted operation with search_path = pg_catalog, pg_temp.
/// For the extension's own statements.
SecurityContext act_as_owner();

/// Becomes `role` in the same way, for a query of the application. All settings that could change the result
/// of a query (time zone, formats, locale...) are pinned.
SecurityContext act_as_pinned(Oid role);

/// Becomes the owner of a table in the same way, for an own statement of the extension on it. No policy
/// applies.
SecurityContext act_as_table_owner(Oid role);

/// Has every setting that decides how a language compiles a function the value that act_as_pinned() gives it?
bool compiles_as_pinned();

/// As a call of a function changes it: InvalidOid and nullptr leave the role or the search_path as it is.
SecurityContext act_inside(Oid definer, const char* search_path);

void restore_security_context(const SecurityContext& before);

/// Return the extension's owner and a relation of the schema rolecall. Raise an error if the extension is
/// missing.
Oid extension_owner();
Oid extension_relation(const char* name);

}  // namespace rolecall::pg
