// Loads a document from its view, and installs it in shared memory if the freshness rule allows it.
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
    bool kept = false;                  // it is now in shared memory
    std::uint64_t ambiguous_calls = 0;  // before the view was run (definition/compiled.h)
};

/// Runs the projection's query for `key` under the active snapshot, as the view's owner, with pinned
/// settings. `may_install`: the caller's snapshot and transaction are such that others may use what they see.
/// All other conditions for installing are checked here.
Loaded load(Definition& definition, Datum key, bool may_install);

/// A row of a projection's query: the document in column `first`, followed by valid_from and valid_until. The
/// document is not copied or detoasted.
struct ViewRow {
    bool has_document;
    Datum document;
    core::Window window;
};
ViewRow read_row(HeapTuple tuple, TupleDesc columns, int first);

/// Returns the cache key of a document. It is a view of `buffer` and of `key`.
core::Key key_in_cache(const Definition& definition, Datum key, KeyBuffer& buffer);

/// Raises cardinality_violation because the view has more than one row for a key.
[[noreturn]] void complain_of_several_rows(const Definition& definition);

/// The last part of installing: stores in shared memory what was read for `key` under `snapshot`, at `time`,
/// if the freshness rule allows it. Returns what to count. The rule also applies to documents with a ttl,
/// because a reader's snapshot may be older than an invalidate().
cache::Count install(const Definition& definition, const core::Key& key, const Loaded& loaded,
                     std::span<const std::uint32_t> groups, const core::Snapshot& snapshot, TimestampTz time,
                     core::Room room);

/// Stores an entry in shared memory, unless it is too large, and returns what to count. The entry's versions
/// decide whether readers may use it.
cache::Count put(const core::Key& key, const core::EntryHead& head, const core::Payload& payload,
                 core::Room room = core::Room::any);

}  // namespace rolecall::projection
