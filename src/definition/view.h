// Finds the view of a projection by its name, after the view was dropped and created again.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// Returns the relation that now has the name and the owner that the row of projection `id` remembers for its
/// view, or InvalidOid if there is none. Call it inside SPI, as the extension's owner.
Oid view_by_name(std::uint64_t id);

}  // namespace rolecall::projection
