// Whether what a projection returns can be known to be fresh: which of the relations behind its view are
// watched, and whether the view returns the same to everybody until one of them changes.
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

/// Looks at everything. `plan` is that of a load, `execution` what its queries run, `relations` what they
/// read. Adds the children of those relations and what is watched to `relations`. Call it inside SPI.
Verdict check_projection(const Description& projection, const Plan& plan, const Execution& execution,
                         List** relations);

/// Has the view both columns valid_from and valid_until, of type timestamptz?
bool has_window(Oid view);

}  // namespace rolecall::projection
