// Loads a document from its view, and installs it in shared memory where the freshness rule allows it.
#pragma once

#include "pg/pg.h"

#include "cache/shared.h"
#include "core/cache.h"
#include "definition/definition.h"

extern "C" {
#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
}

namespace rolecall::projection {

struct Loaded {
    Jsonb* document = nullptr;  // nullptr: no such key
    core::Window window;
    bool kept = false;                  // it is in shared memory now
    std::uint64_t ambiguous_calls = 0;  // before the view was run (definition/compiled.h)
};

/// Runs the projection's query for `key` under the active snapshot, as the view's owner, with pinned
/// settings. `may_install`: the caller's snapshot and transaction are such that others may use what it sees;
/// whether everything else holds is decided here.
Loaded load(Definition& definition, Datum key, bool may_install);

/// What a row of a projection's query says: the document in column `first`, then valid_from and valid_until.
/// The document is as in the row.
struct ViewRow {
    bool has_document;
    Datum document;
    core::Window window;
};
ViewRow read_row(HeapTuple tuple, TupleDesc columns, int first);

/// Names the document of a key; a view of `buffer` and of the key.
core::Key key_in_cache(const Definition& definition, Datum key, KeyBuffer& buffer);

/// Raises cardinality_violation: the view has more than one row for a key.
[[noreturn]] void complain_of_several_rows(const Definition& definition);

/// The part of installing that comes last: puts in shared memory what was read for `key` under `snapshot`, at
/// `time`, if the freshness rule allows it; returns what to count. That goes for documents with a ttl as
/// well: whoever reads may be behind an invalidate().
cache::Count install(const Definition& definition, const core::Key& key, const Loaded& loaded,
                     std::span<const std::uint32_t> groups, const core::Snapshot& snapshot, TimestampTz time,
                     core::Room room);

/// Puts an entry into shared memory, unless it is too large; returns what to count. Whether others may use
/// what is in it, its versions say.
cache::Count put(const core::Key& key, const core::EntryHead& head, const core::Payload& payload,
                 core::Room room = core::Room::any);

}  // namespace rolecall::projection
