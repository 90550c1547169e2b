// The view of a projection by its name: for where it was dropped and made anew.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// The relation that has the name of the view of projection `id` now, and the owner that its row remembers;
/// InvalidOid: there is none. Inside SPI, as the extension's owner.
Oid view_by_name(std::uint64_t id);

}  // namespace rolecall::projection
