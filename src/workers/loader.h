// A loader: a process in one database that fills the cache, projection by projection
// (projection/full_load.h). It comes when somebody asked for it, and once after the server's start, and
// leaves when there is nothing more to load.
#pragma once

#include "pg/pg.h"

extern "C" {
PGDLLEXPORT void rolecall_loader_main(Datum argument);
}
