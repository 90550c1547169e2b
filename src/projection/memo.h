// The memo: documents that this backend has read itself, kept as long as reading them again would give the
// same result. Where the shared cache cannot be used, a scan loads each key once instead of once for each
// row. docs/architecture.md says why this is exact.
#pragma once

#include "pg/pg.h"

#include "core/cache.h"
#include "definition/definition.h"
#include "projection/load.h"

namespace rolecall::projection {

/// The state that a query's result depends on, besides its snapshot. A document read before a change of this
/// state is not used. The transaction is not part of it, because the memo lives in the transaction's memory.
struct Moment {
    bool usable;             ///< false: do not use or keep anything
    CommandId command;       ///< current command id; the transaction's own DDL increments it
    std::uint64_t messages;  ///< invalidation messages received, which tell of other transactions' DDL
    TransactionId own_id;    ///< 0: the transaction has no id
    std::uint64_t versions;  ///< of the stamps of this key, if there is a ttl
};

/// A document that was read. It is valid until the next read.
struct Remembered {
    Remembered* next;
    std::uint64_t projection;
    std::uint64_t hash;      // of the key
    std::uint64_t versions;  // of its stamps before it was read, if there is a ttl
    TimestampTz loaded_at;
    const Jsonb* document;  // nullptr: no such key
    const char* access;     // its compact block and its text, each made on demand
    const text* as_text;
    std::uint32_t key_bytes;
    char key[FLEXIBLE_ARRAY_MEMBER];
};

/// Registers a callback for the end of subtransactions; called once, from _PG_init.
void memo_init();

/// Returns the current state for the document of a key, under the active snapshot. Accepts invalidation
/// messages.
Moment memo_moment(const Definition& definition, std::uint64_t key_hash);

/// Like memo_find() at the current moment, but cheaper and only for the key that was read last, as for the
/// rows of a policy.
Remembered* memo_repeat(const Definition& definition, std::string_view key);

/// Returns the document of this key if reading it again at this moment would give the same result, else
/// nullptr.
Remembered* memo_find(const Definition& definition, const core::Key& key, const Moment& now);

/// Keeps what was loaded under the active snapshot by a load that began at `before`, unless the state has
/// changed since.
void memo_keep(const Definition& definition, const core::Key& key, const Moment& before,
               const Loaded& loaded);

/// Return the compact block of a document that was found, and its text.
const char* memo_access(Remembered& found);
const text* memo_text(Remembered& found);

}  // namespace rolecall::projection
