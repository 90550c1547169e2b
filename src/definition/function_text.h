// What a row of pg_proc says about a function whose body is a text that is read when the function runs.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "access/htup.h"
}

namespace rolecall::projection {

/// Returns whether this is a function of an application with such a body.
bool has_text(HeapTuple function);

/// Returns the search_path that the function sets, in the current memory context, or nullptr if the function
/// uses its caller's.
const char* own_search_path(HeapTuple function);

/// Returns whether the callers decide what the names in the function's text mean. A language keeps the result
/// of compiling a text for as long as the process lives, so a function without a search_path of its own keeps
/// the meaning that names had for its first caller. That caller may own a domain with the name of a type in
/// the text, and the domain's constraints would run as the view's owner. Temporary objects are found first
/// unless the path ends with pg_temp. Returns false if the function runs as its owner, because that owner
/// must guard it, and for functions written in SQL.
bool is_left_to_callers(HeapTuple function);

}  // namespace rolecall::projection
