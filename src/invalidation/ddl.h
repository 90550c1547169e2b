// Statements and objects that change definitions: what the server's hooks tell of them is noted (announce.h).
#pragma once

#include "pg/pg.h"

namespace rolecall::invalidation {

/// Installs the hooks; called once, from _PG_init, while preloading.
void ddl_init();

}  // namespace rolecall::invalidation
