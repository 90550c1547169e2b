// Whether the extension's SQL in this database is what the library was built for. A server starts with a new
// library before ALTER EXTENSION rolecall UPDATE has run in each database: until then reads query the views,
// and what would need newer tables is refused.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// The version of the SQL in this database, in the current memory context; nullptr: no extension.
const char* sql_version();

/// Is it the library's?
bool sql_is_current();

/// Raises object_not_in_prerequisite_state if not.
void require_current_sql();

/// The same as a warning; `consequence` is its detail, a sentence.
void warn_of_other_sql(const char* consequence);

}  // namespace rolecall::pg
