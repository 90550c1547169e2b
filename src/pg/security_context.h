// Security contexts: what runs as another role, so that what is read does not depend on who asks.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// What to restore. An error in between restores it too: the (sub)transaction's abort does.
struct SecurityContext {
    Oid user;
    int security_context;
    int guc_level;
};

/// Becomes the extension's owner, security-restricted, with search_path = pg_catalog, pg_temp: for statements
/// of the extension's own.
SecurityContext act_as_owner();

/// Becomes `role` likewise, for a query of the application's, with every setting pinned that could change
/// what a query returns (time zone, formats, locale...).
SecurityContext act_as_pinned(Oid role);

/// Becomes the owner of a table likewise, for a statement of the extension's own on it; no policy applies.
SecurityContext act_as_table_owner(Oid role);

/// As a call of a function changes it: InvalidOid and nullptr leave the role or the search_path as it is.
SecurityContext act_inside(Oid definer, const char* search_path);

void restore_security_context(const SecurityContext& before);

/// The extension's owner, and relations of the schema rolecall; errors where the extension is not there.
Oid extension_owner();
Oid extension_relation(const char* name);

}  // namespace rolecall::pg
