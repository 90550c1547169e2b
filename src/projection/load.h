// Loads a document from its view, and installs it in shared memory where the freshness rule allows it.
#pragma once

#include "pg/pg.h"

#include "core/cache.h"
#include "projection/definition.h"
#include "projection/shared.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::projection {

struct Loaded {
    Jsonb* document = nullptr;  // nullptr: no such key
    core::Window window;
};

/// Runs the projection's query for `key` under the active snapshot, as the view's owner, with pinned
/// settings. `may_install`: the caller's snapshot and transaction are such that others may use what it sees;
/// whether everything else holds is decided here.
Loaded load(Definition& definition, Datum key, bool may_install);

/// Puts an entry into shared memory, unless it is too large; returns what to count. Whether others may use
/// what is in it, its versions say.
Count put(const core::Key& key, const core::EntryHead& head, const core::Payload& payload);

}  // namespace rolecall::projection
