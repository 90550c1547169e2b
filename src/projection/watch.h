// The triggers that raise stamps and floors, and the SQL functions that do so by hand.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// Announces a change of definitions in this transaction: takes the lock that keeps loaders from installing
/// until it has ended, and raises the projection's floor above every snapshot that may not see it.
void announce_change(std::uint64_t projection);

}  // namespace rolecall::projection
