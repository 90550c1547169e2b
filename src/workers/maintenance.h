// The work of a worker between syncs: removes expired data, trims the audit, marks stale roles.
#pragma once

#include "pg/pg.h"

namespace rolecall::workers {

/// Does a limited amount of each, in transactions of its own, and logs failures. Only one worker of a
/// database may mark. Returns true if there is more to do.
bool clean(bool marks_stale);

}  // namespace rolecall::workers
