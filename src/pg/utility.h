// The library's only utility hook. It reads a statement before the statement runs and never afterwards,
// because running may free it.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/nodes.h"
}

namespace rolecall::pg {

/// What one part of the library does about utility statements, in every database. None of these functions may
/// hold an object with a destructor, because errors pass through.
struct UtilityWatcher {
    /// Reads what it needs from the statement. `is_alone`: the statement is not inside a transaction block,
    /// function or other statement. The other functions get `state`, and they are called only if it is not
    /// nullptr.
    void (*before)(const Node* statement, bool is_alone, void*& state);
    /// Called when the statement has run without an error.
    void (*after)(void* state);
    /// Called when the statement is over, with or without an error (including one of before() or after()).
    void (*at_end)(void* state, bool failed);
};

/// Adds a watcher permanently. Call it from _PG_init, while preloading.
void watch_utility(const UtilityWatcher& watcher);

}  // namespace rolecall::pg
