// What a view may use if its result is to be the same for everybody until a row behind it changes; and whose
// code it runs. Both are read from its rewritten queries: views expanded, policies applied.
#pragma once

#include "pg/pg.h"

#include "definition/execution.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Looks at rewritten queries. `may_ask_time`: the result carries the time in which it holds, so that now()
/// is allowed. Settings that change a result are pinned (pg/security_context.h) and do not count. Reads
/// catalogs only, and evaluates nothing: nobody knows yet whose functions these are. Acts and finds names as
/// who calls it.
Execution examine(List* queries, bool may_ask_time);

/// The same for an expression that is no part of a query, but is evaluated for it; and for an operator
/// family, of which any function may run. Neither says whether anything is exact.
Execution examine_expression(Node* expression);
Execution examine_family(Oid family);

}  // namespace rolecall::projection
