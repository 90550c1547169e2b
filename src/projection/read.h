// Reads one key: from shared memory if the freshness rule allows it, else from the view.
#pragma once

#include "pg/pg.h"

#include "core/cache.h"
#include "definition/definition.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::projection {

struct Reading {
    bool found = false;            // false: the view has no row for this key
    Jsonb* document = nullptr;     // if requested; palloc'd, owned by the caller
    const char* access = nullptr;  // if requested: a block for core::Access
};

/// Memory for a compact block of usual size, so that a role check allocates nothing.
struct AccessBuffer {
    static constexpr std::size_t size = 2048;
    alignas(8) char bytes[size];
};

/// Returns the document of `key` as text, or nullptr if there is no such key. The text is cached after
/// repeated reads.
text* read_text(Definition& definition, Datum key);

/// Returns the document of `key` (of type key_type_of(definition.key_kind)) under the caller's snapshot.
Reading read_document(Definition& definition, Datum key);

/// Returns the compact block of the document, valid until the next read. Raises invalid_parameter_value if
/// the document breaks the contract.
Reading read_access(Definition& definition, Datum key, AccessBuffer& buffer);

/// The state of a document in the cache.
struct Inspection {
    bool cached = false;
    const char* reason = nullptr;  ///< why a read would not use it, or did not keep it; nullptr: it would
    core::FullXid changed_by = 0;  ///< latest transaction that changed it; 0: none since server start
    core::EntryHead head;          ///< if cached
};

/// Checks a key's document as a read would, without loading it.
Inspection inspect(Definition& definition, Datum key);

}  // namespace rolecall::projection
