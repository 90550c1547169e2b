// The start of client sessions.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// Makes each client session call `begin` with its database's oid: after authentication, and before any
/// library, trigger or statement of the session runs. `begin` runs in a transaction; the session is not yet
/// connected to a database. _PG_init calls this function once, while preloading.
void watch_client_sessions(void (*begin)(Oid database));

}  // namespace rolecall::pg
