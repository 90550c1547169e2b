// Checks that a projection runs no code with more rights than the code's owner has. Everything that a view
// calls runs as the view's owner, whichever role reads the document. So all of this code must belong to roles
// that have the owner's rights anyway.
#pragma once

#include "pg/pg.h"

#include "definition/execution.h"

namespace rolecall::projection {

/// Returns what is unsafe, as a text in the current memory context, or nullptr if nothing is. `owner` is the
/// owner of the projection's view; `relations` are those that its queries read, with views and children. The
/// caller must hold locks on the relations. Then only a role that has the owner's rights anyway can change
/// what was found. Reads catalogs only and evaluates nothing.
const char* unsafe_part(Oid owner, const Execution& execution, const List* relations);

}  // namespace rolecall::projection
