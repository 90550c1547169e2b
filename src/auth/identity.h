// The identity of the caller: the user of the session.
#pragma once

#include "pg/pg.h"

namespace rolecall::auth {

/// Returns the user that the session names: rolecall.uid, or the subject of PostgREST's claims
/// (request.jwt.claims), or nullptr if it names none. The text is in the current memory context. Raises
/// invalid_parameter_value if the claims are not an object with a subject that is a string.
text* session_user();

}  // namespace rolecall::auth
