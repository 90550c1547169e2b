// The launcher: one process for the server, connected to no database. It makes sure that each connectable
// database with the extension has its sync workers.
#pragma once

#include "pg/pg.h"

namespace rolecall::workers {

/// Registers the launcher with the postmaster; called once, from _PG_init, while preloading.
void launcher_init();

}  // namespace rolecall::workers

extern "C" {
PGDLLEXPORT void rolecall_launcher_main(Datum argument);
}
