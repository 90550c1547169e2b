// The triggers that raise stamps and floors, and how relations get them.
#pragma once

#include "pg/pg.h"

namespace rolecall::invalidation {

/// Gives a new partition or child of a watched relation, and what is below it, the triggers of the watches,
/// as the extension's owner.
void watch_child(Oid child);

}  // namespace rolecall::invalidation
