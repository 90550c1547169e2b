// The launcher: one process for the server, which sees to it that each connectable database that has the
// extension has its sync workers. It is connected to no database.
#pragma once

#include "pg/pg.h"

namespace rolecall::workers {

/// Registers the launcher with the postmaster; called once, from _PG_init, while preloading.
void launcher_init();

}  // namespace rolecall::workers

extern "C" {
PGDLLEXPORT void rolecall_launcher_main(Datum argument);
}
