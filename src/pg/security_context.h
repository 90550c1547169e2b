// Security contexts: code that runs as another role, so that its result does not depend on the caller.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// The context to restore. After an error, the abort of the (sub)transaction restores it.
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

/// Becomes the owner of a table in the same way, for a statement of the extension on that table. Row security
/// policies do not apply, even if they are forced.
SecurityContext act_as_table_owner(Oid role);

/// Returns whether each setting that affects how a procedural language compiles functions has the value that
/// act_as_pinned() gives it.
bool compiles_as_pinned();

/// Changes the context as the call of a function with SECURITY DEFINER or SET search_path does. If `definer`
/// is InvalidOid, the role stays as it is; if `search_path` is nullptr, the search_path does.
SecurityContext act_inside(Oid definer, const char* search_path);

/// Returns to the context from before, and ends the settings' nesting level.
void restore_security_context(const SecurityContext& before);

/// Return the oids of the extension's owner and of a relation in the schema rolecall. Raise an error if the
/// extension is missing.
Oid extension_owner();
Oid extension_relation(const char* name);

}  // namespace rolecall::pg
