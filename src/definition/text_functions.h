// Functions whose body is a text that is read when they run: of PL/pgSQL, and of SQL in quotes. What names
// and literals mean there is decided in each session and at any time, so that such a function depends on more
// than the objects it was made with.
#pragma once

#include "pg/pg.h"

#include "definition/check.h"
#include "definition/execution.h"

extern "C" {
#include "access/htup.h"
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Is this function (a row of pg_proc) one?
bool has_text(HeapTuple function);

/// Is there one among these functions (oids)?
bool runs_text(const List* functions);

/// Adds what keeps the documents of a projection that runs such functions from being cached (check.h). Marks
/// the projection, so that changes of any relation count for it; where it had not been marked, nothing may be
/// installed by what is read now, and it is not quiet.
void check_text(Description& projection, const Execution& execution, Verdict& verdict);

/// Has this session a schema of temporary objects? Their names come first in a function with a search_path of
/// its own.
bool has_temporary_schema();

}  // namespace rolecall::projection
