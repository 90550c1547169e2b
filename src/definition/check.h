// Whether what a projection returns can be known to be fresh: which of the relations behind its view are
// watched, and whether the view returns the same to everybody until one of them changes.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"
#include "definition/exactness.h"

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
    AttrNumber key_number;  // of that column when it was watched
};

/// How documents refer to the rows of a lookup: a row of rolecall.watch_references.
struct Reference {
    int watch;  // the lookup's place among the watches
    Oid relation;
    NameData column;
    AttrNumber number;  // of that column when it was named
};

/// A projection as its rows say.
struct Description {
    NameData name;
    bool builtin;
    std::uint64_t id;
    Oid view;
    bool view_made_anew;  // it is another than the row has: the one with its name
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

struct Verdict {
    List* problems;      // of Problem *, in the current memory context; NIL: everything is in place
    const char* unsafe;  // why the view must not even be run; nullptr: it may be. One of the problems, then
};

/// Looks at everything. `plan` is that of a load, `execution` what its queries run, `relations` what they
/// read. Adds the children of those relations and what is watched to `relations`. Call it inside SPI.
Verdict check_projection(const Description& projection, const Plan& plan, const Execution& execution,
                         List** relations);

/// Has the view both columns valid_from and valid_until, of type timestamptz?
bool has_window(Oid view);

}  // namespace rolecall::projection
