// What a row of pg_proc says of a function whose body is a text that is read when the function runs.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "access/htup.h"
}

namespace rolecall::projection {

/// Has this function of an application's such a body?
bool has_text(HeapTuple function);

/// The search_path that the function sets, in the current memory context; nullptr: its caller's holds.
const char* own_search_path(HeapTuple function);

/// Is what the function's names mean left to its callers? A language keeps what it has made of a text for as
/// long as the process lives. So a function without a search_path of its own keeps the meaning that its first
/// caller chose: a domain of that caller's may have the name of a type in the text, and its constraints would
/// run as the view's owner. Temporary objects come first unless the path ends with pg_temp. False where the
/// function runs as its owner: it is that owner's to guard.
bool is_left_to_callers(HeapTuple function);

}  // namespace rolecall::projection
