// Who asks: the user of the session.
#pragma once

#include "pg/pg.h"

namespace rolecall::auth {

/// The user whom the session names: rolecall.uid, or the subject of PostgREST's claims (request.jwt.claims);
/// nullptr: nobody. In the current memory context. Raises invalid_parameter_value where the claims are not an
/// object with a subject that is a string.
text* session_user();

}  // namespace rolecall::auth
