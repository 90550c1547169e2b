// Loads a document from its view, and installs it in shared memory where the freshness rule allows it.
#pragma once

#include "pg/pg.h"

#include "core/rule.h"
#include "projection/definition.h"

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

}  // namespace rolecall::projection
