// Answers for one key: from shared memory where the freshness rule allows it, else from the view.
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
    Jsonb* document = nullptr;     // when asked for; the caller's, palloc'd
    const char* access = nullptr;  // likewise: a block for core::Access
};

/// Room for a compact block of usual size, so that a role check allocates nothing.
struct AccessBuffer {
    static constexpr std::size_t size = 2048;
    alignas(8) char bytes[size];
};

/// The document of `key` as text, which is stored ready where it was asked for before; nullptr: no such key.
text* read_text(Definition& definition, Datum key);

/// The document of `key` (of type key_type_of(definition.key_kind)) under the caller's snapshot.
Reading read_document(Definition& definition, Datum key);

/// The compact block of its document, valid until the next read. Raises invalid_parameter_value where the
/// document breaks the contract.
Reading read_access(Definition& definition, Datum key, AccessBuffer& buffer);

/// What is known of a document in the cache.
struct Inspection {
    bool cached = false;
    const char* reason = nullptr;  ///< why it would not be used now, or was not kept; nullptr: it would be
    core::FullXid changed_by =
        0;                 ///< the latest transaction that changed it; 0: none since the server started
    core::EntryHead head;  ///< when cached
};

/// Looks at a key's document as a read of it would, without loading it.
Inspection inspect(Definition& definition, Datum key);

}  // namespace rolecall::projection
