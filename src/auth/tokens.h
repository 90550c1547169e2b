// The parts of OAuth states and refresh tokens that SQL cannot do: random values, and a write that outlives
// an error. The rest is in sql/install/code/authentication.sql.
#pragma once

#include "pg/pg.h"

namespace rolecall::auth {

/// Removes expired states and tokens, a limited number of each. Returns true if there are more. Requires SPI,
/// as the extension's owner.
bool remove_expired();

}  // namespace rolecall::auth

extern "C" {
PGDLLEXPORT void rolecall_revoker_main(Datum argument);
}
