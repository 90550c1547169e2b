// Whether a projection runs code with more rights than those have whose code it is. What its view calls runs
// as the view's owner, whoever asks; so all of it must belong to roles that have the owner's rights anyway.
#pragma once

#include "pg/pg.h"

#include "definition/execution.h"

namespace rolecall::projection {

/// What is in the way, as a text in the current memory context; nullptr: nothing is. `owner`: of the
/// projection's view; `relations`: what its queries read, views and children included. The relations are
/// locked by the caller: then nobody but a role that could do as much as the owner changes what was found.
/// Reads catalogs only, and evaluates nothing.
const char* unsafe_part(Oid owner, const Execution& execution, const List* relations);

}  // namespace rolecall::projection
