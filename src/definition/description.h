// A projection as described by its rows in rolecall.projections, rolecall.watches and
// rolecall.watch_references.
#pragma once

#include "pg/pg.h"

#include "definition/key_kinds.h"

namespace rolecall::projection {

/// A row of rolecall.watches.
struct Watch {
    std::uint64_t id;
    Oid relation;
    bool lookup;
    bool keyed;  // key_column is set
    NameData key_column;
    AttrNumber key_number;  // number of that column when the watch was made
};

/// How documents refer to the rows of a lookup: a row of rolecall.watch_references, or a foreign key.
struct Reference {
    int watch;  // index of the lookup in `watches`
    Oid relation;
    NameData column;
    AttrNumber number;    // number of that column when the reference was declared
    bool is_foreign_key;  // found by add_foreign_keys(), not declared
};

struct Description {
    NameData name;
    bool builtin;
    std::uint64_t id;
    Oid view;
    bool view_made_anew;  // `view` was found by name, not by the OID in the row
    NameData key_column;
    NameData doc_column;
    std::int64_t ttl;  // microseconds; 0: no TTL, the documents are exact
    KeyKind key_kind;
    std::uint64_t floors;  // sum of the versions of its floors when reading began
    bool quiet;            // at that time, no change of definitions was about to be committed
    std::span<Watch> watches;
    std::span<Reference> references;
};

}  // namespace rolecall::projection
