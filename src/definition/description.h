// A projection as its rows in rolecall.projections, rolecall.watches and rolecall.watch_references say.
#pragma once

#include "pg/pg.h"

#include "definition/key_kinds.h"

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

/// How documents refer to the rows of a lookup: a row of rolecall.watch_references, or a foreign key.
struct Reference {
    int watch;  // the lookup's place among the watches
    Oid relation;
    NameData column;
    AttrNumber number;    // of that column when it was named
    bool is_foreign_key;  // nobody has named it
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

}  // namespace rolecall::projection
