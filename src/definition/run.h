// Runs the queries of a projection's view as the view's owner. All code that does so uses this file, which
// also checks what must be known about the view before.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"
#include "pg/security_context.h"

namespace rolecall::projection {

/// Like definition_refresh(), for a caller that is about to run the view. Locks the relations that the view's
/// queries name first, until the end of the transaction, so that the verdict still holds when the view is
/// run.
bool definition_ready(Definition& definition, bool to_install = false);

/// The same for a caller that already has a key. Raises errors like definition_refresh_same_key().
bool definition_ready_same_key(Definition& definition, bool to_install = false);

/// Makes the view's owner the current role, and returns the previous security context. The definition must be
/// ready. Raises insufficient_privilege if running the view would run code of roles that do not have the
/// owner's rights.
pg::SecurityContext act_as_view_owner(const Definition& definition);

/// Raises insufficient_privilege in the same case.
void refuse_unsafe(const Definition& definition);

/// The same for another query of the view, which may convert or compare a column in its own way.
void refuse_unsafe(const Definition& definition, const Plan& plan);

}  // namespace rolecall::projection
