// What a worker does between syncs: removes what has expired, trims the audit, marks stale roles.
#pragma once

#include "pg/pg.h"

namespace rolecall::workers {

/// Some of each, in transactions of its own; what fails is logged. Marking is for one worker only. True:
/// there is more.
bool clean(bool marks_stale);

}  // namespace rolecall::workers
