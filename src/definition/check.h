// Checks whether documents of a projection can be known to be fresh: which of the relations behind its view
// are watched, and whether the view returns the same for every session until one of these relations changes.
#pragma once

#include "pg/pg.h"

#include "definition/description.h"
#include "definition/execution.h"
#include "definition/plan.h"
#include "definition/problem.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Returns the verdict on a projection. `plan` is the plan of a load, `execution` says what its queries run,
/// and `relations` are the relations that they read. Adds the children of these relations, the watched
/// relations and the catalogs of Citus to `relations`. Call it inside SPI.
Verdict check_projection(const Description& projection, const Plan& plan, const Execution& execution,
                         List** relations);

/// Returns whether the view has both columns valid_from and valid_until, of type timestamptz.
bool has_window(Oid view);

}  // namespace rolecall::projection
