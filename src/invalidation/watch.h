// The watch triggers, which raise stamps and floors, and their creation on new children.
#pragma once

#include "pg/pg.h"

namespace rolecall::invalidation {

/// Creates the watch triggers on a new partition or child of a watched relation, and on its descendants. Runs
/// as the extension's owner. Does nothing if no ancestor is watched.
void watch_child(Oid child);

}  // namespace rolecall::invalidation
