// Whether the extension's SQL in this database matches the library. A server may start with a new library
// before ALTER EXTENSION rolecall UPDATE has run in each database. Until it has run, reads query the views,
// and functions that need newer tables raise an error.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// Returns the version of the SQL in this database, in the current memory context, or nullptr if the
/// extension is not installed.
const char* sql_version();

/// Returns whether that version is the library's.
bool sql_is_current();

/// Raises object_not_in_prerequisite_state if the extension is installed in another version.
void require_current_sql();

/// Raises a warning in the same case; `consequence` is the detail, a sentence.
void warn_of_other_sql(const char* consequence);

}  // namespace rolecall::pg
