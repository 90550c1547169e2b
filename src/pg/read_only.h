// Work that a standby or a read-only transaction cannot do is refused early, so that no provider is called
// and no worker is woken in vain.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// Raises read_only_sql_transaction in a transaction that cannot write. `what` completes the message, for
/// example "synchronize roles".
void require_writable(const char* what);

}  // namespace rolecall::pg
