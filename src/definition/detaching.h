// Partitions that are being detached concurrently. Until the detach is complete, or for good if it was
// interrupted, a plan contains such a partition or not depending on the snapshot under which the plan is
// made. So a plan that is kept from one snapshot would be wrong for another.
#pragma once

#include "pg/pg.h"

#include "definition/plan.h"
#include "definition/problem.h"

namespace rolecall::projection {

/// Looks for partitions of `relations` that are being detached, using the newest catalogs. Adds a problem
/// (problem.h) for each, and adds the partitions to `relations`. Returns false if there are none.
bool add_detaching(List** problems, List** relations);

/// Makes `plan` be planned anew each time that it runs, for the snapshot under which it runs.
void plan_each_time(const Plan& plan);

}  // namespace rolecall::projection
