// Partitions that are being detached concurrently. Until that is complete, or for good where it was
// interrupted, such a partition is in a plan or not as the snapshot has it under which the plan is made: what
// is kept of one snapshot would be wrong for another.
#pragma once

#include "pg/pg.h"

#include "definition/plan.h"
#include "definition/problem.h"

namespace rolecall::projection {

/// Looks for partitions of `relations` that are being detached, by the newest catalogs. Adds a problem
/// (check.h) for each, and them to the relations; false: there is none.
bool add_detaching(List** problems, List** relations);

/// From now on it is planned anew each time that it runs, for the snapshot under which it does.
void plan_each_time(const Plan& plan);

}  // namespace rolecall::projection
