// The loader: a process in one database that fills the cache, projection by projection
// (projection/full_load.h). It is launched on request and once after server start, and exits when there is
// nothing more to load.
#pragma once

#include "pg/pg.h"

extern "C" {
PGDLLEXPORT void rolecall_loader_main(Datum argument);
}
