// References to the rows of a lookup that are not declared.
#pragma once

#include "pg/pg.h"

#include "definition/description.h"

namespace rolecall::projection {

/// Adds the references that foreign keys make, as they are now, to `projection.references`: those of the
/// tables that are watched by key, with partitions and children, to the key columns of lookups. The result is
/// in the current memory context. With additional references, a document may belong to more groups than
/// necessary; it is then loaded more often, but is never wrong.
void add_foreign_keys(Description& projection);

}  // namespace rolecall::projection
