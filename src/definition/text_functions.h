// Functions whose body is a text that is read when the function runs, such as functions in PL/pgSQL and SQL
// functions with a quoted body. The meaning of names and literals in it is decided in each session and may
// change at any time. So such a function depends on more than the objects that existed when it was made.
#pragma once

#include "pg/pg.h"

#include "definition/check.h"
#include "definition/execution.h"
#include "definition/function_text.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Returns whether one of these functions (Oids) has such a body.
bool runs_text(const List* functions);

/// Adds to `verdict` what prevents caching the documents of a projection that runs such functions. Marks the
/// projection, so that changes of any relation count for it. If it was not marked before, sets
/// `projection.quiet` to false, so that nothing is installed under the definition that is being read.
void check_text(Description& projection, const Execution& execution, Verdict& verdict);

/// Returns whether this session has a schema of temporary objects. Their names may be found first, even in a
/// function that sets its own search_path.
bool has_temporary_schema();

}  // namespace rolecall::projection
