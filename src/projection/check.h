// Whether what a projection returns can be known to be fresh: which of the relations behind its view are
// watched, and whether the view returns the same to everybody until one of them changes.
#pragma once

#include "pg/pg.h"

#include "projection/definition.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// A row of rolecall.watches.
struct Watch {
    std::uint64_t id;
    Oid relation;
    bool lookup;
    bool keyed;  // key_column is there
    NameData key_column;
};

/// How documents refer to the rows of a lookup: a row of rolecall.watch_references.
struct Reference {
    int watch;  // the lookup's place among the watches
    Oid relation;
    NameData column;
};

/// A projection as its rows say.
struct Description {
    NameData name;
    bool builtin;
    std::uint64_t id;
    Oid view;
    NameData key_column;
    NameData doc_column;
    std::int64_t ttl;  // microseconds; 0: none, the documents are exact
    KeyKind key_kind;
    std::uint64_t floors;  // the versions of its floors when its reading began
    bool quiet;            // no change of definitions was about to be committed then
    std::span<Watch> watches;
    std::span<Reference> references;
};

struct Problem {
    Oid relation;  // or InvalidOid
    bool lasting;  // no watch would help
    const char* text;
    const char* repair;  // a statement, or a sentence; nullptr
};

/// Looks at everything; `queries` are the rewritten queries of the load plan, `relations` what they read.
/// Adds the children of those relations and what is watched to `relations`. A list of Problem *, in the
/// current memory context; empty: everything is in place.
List* check_projection(const Description& projection, List* queries, List** relations);

/// Has the view both columns valid_from and valid_until?
bool has_window(Oid view);

}  // namespace rolecall::projection
