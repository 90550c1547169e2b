// Determines what a view may use if its result is to be the same for every session until a row behind the
// view changes, and which code the view runs. Both are read from the view's rewritten queries, in which views
// are expanded and policies are applied.
#pragma once

#include "pg/pg.h"

#include "definition/execution.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Examines rewritten queries. With `may_ask_time`, the result carries the time in which it is valid, so that
/// now() is allowed. Settings that change a result are pinned (pg/security_context.h) and do not count. Reads
/// catalogs only and evaluates nothing, because it is not yet known which roles own the functions. Finds
/// names with the role and the search_path of the caller. The result is in the current memory context.
Execution examine(List* queries, bool may_ask_time);

/// The same for an expression that is not part of a query but is evaluated for it, and for an operator
/// family, any of whose functions may run. The results of these two do not say whether anything is exact.
Execution examine_expression(Node* expression);
Execution examine_family(Oid family);

}  // namespace rolecall::projection
