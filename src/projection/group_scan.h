// Reads the groups of one key from indexes. For the few rows of a key, the setup of a plan would cost more
// than the search.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Stamps of groups, in any order, possibly with duplicates.
struct GroupStamps {
    std::uint32_t* all;
    std::size_t count;
    std::size_t room;

    void add(std::uint32_t stamp);
};

/// Returns an empty list whose contents will be allocated in `context`.
GroupStamps no_groups(MemoryContext context);

/// Adds the groups that the rows of a key refer to by `sources` (of GroupSource *, groups.h), as seen by the
/// active snapshot. No function of the application runs, so the current user does not matter. Returns false
/// if a table has no b-tree index by which its rows can be found; the caller must then use plans.
bool scan_groups(const List* sources, KeyKind kind, Datum key, GroupStamps& groups);

}  // namespace rolecall::projection
