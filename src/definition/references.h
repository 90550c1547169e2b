// What refers to the rows of a lookup beyond what was declared.
#pragma once

#include "pg/pg.h"

#include "definition/description.h"

namespace rolecall::projection {

/// Adds to the references those that foreign keys make, as they are now: of the tables that are watched by
/// key, partitions and children included, to the key columns of lookups. In the current memory context. A
/// document that belongs to more groups than it need is loaded more often, and never wrong.
void add_foreign_keys(Description& projection);

}  // namespace rolecall::projection
