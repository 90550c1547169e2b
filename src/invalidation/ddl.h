// Hooks of the server that note changes of definitions (announce.h), by statement and by object.
#pragma once

#include "pg/pg.h"

namespace rolecall::invalidation {

/// Installs the hooks. _PG_init calls it once, while preloading.
void ddl_init();

}  // namespace rolecall::invalidation
