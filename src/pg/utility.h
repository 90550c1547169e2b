// The library's one utility hook. It looks at a statement before it runs and never afterwards: what ran may
// have freed it.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/nodes.h"
}

namespace rolecall::pg {

/// What a part of the library does about utility statements, in every database. None of them may hold an
/// object with a destructor: errors pass through.
struct UtilityWatcher {
    /// Takes what it needs from the statement; `is_alone`: it is no part of a transaction block, function or
    /// other statement. What it puts into `state` is given to the others, which are not called without.
    void (*before)(const Node* statement, bool is_alone, void*& state);
    /// The statement has run without an error.
    void (*after)(void* state);
    /// The statement is over, with an error (of before() and after() too) or without.
    void (*at_end)(void* state, bool failed);
};

/// Adds a watcher, for good; called from _PG_init, while preloading.
void watch_utility(const UtilityWatcher& watcher);

}  // namespace rolecall::pg
