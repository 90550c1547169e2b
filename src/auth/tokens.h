// What SQL cannot do for OAuth states and refresh tokens: randomness, and a write that outlives an error. The
// rest is in sql/install/code/authentication.sql.
#pragma once

#include "pg/pg.h"

namespace rolecall::auth {

/// Removes expired states and tokens, some of each. True: there are more. Needs SPI, as the extension's
/// owner.
bool remove_expired();

}  // namespace rolecall::auth

extern "C" {
PGDLLEXPORT void rolecall_revoker_main(Datum argument);
}
