// The groups of one key, read from indexes. What a plan costs to set up is more than what the few rows of a
// key cost to find.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Stamps of groups, in any order, perhaps more than once.
struct GroupStamps {
    std::uint32_t* all;
    std::size_t count;
    std::size_t room;

    void add(std::uint32_t stamp);
};

/// An empty one; what it will hold lives in `context`.
GroupStamps no_groups(MemoryContext context);

/// Adds the groups that the rows of a key refer to by `sources` (of GroupSource *, groups.h), as the active
/// snapshot sees them. No function of the application's runs, so it does not matter as whom. False: not all
/// of the tables have a b-tree that finds keys, and plans must be asked.
bool scan_groups(const List* sources, KeyKind kind, Datum key, GroupStamps& groups);

}  // namespace rolecall::projection
