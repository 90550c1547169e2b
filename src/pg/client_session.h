// The beginning of a client's session.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// Calls `begin` with the database's number whenever a client's session begins: when it has shown whose it
/// is, and before any library, trigger or statement of it runs. In a transaction, connected to no database
/// yet. Called once, from _PG_init, while preloading.
void watch_client_sessions(void (*begin)(Oid database));

}  // namespace rolecall::pg
