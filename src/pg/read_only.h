// What a standby or a read-only transaction cannot do is refused before anything is asked of anybody: a
// provider would be called, and a worker woken, for nothing.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// Raises read_only_sql_transaction in a transaction that can write nothing. `what` it cannot do:
/// "synchronize roles".
void require_writable(const char* what);

}  // namespace rolecall::pg
