// What this backend has read itself, for as long as reading it again would give the same: where shared memory
// is barred, a scan costs a load for each key and not for each row. docs/architecture.md says why it is
// exact.
#pragma once

#include "pg/pg.h"

#include "core/cache.h"
#include "definition/definition.h"
#include "projection/load.h"

namespace rolecall::projection {

/// What the result of a query depends on beside its snapshot: what was read before one of these changed is
/// not used. Which transaction it is, the memory says that the memo lives in.
struct Moment {
    bool usable;             ///< false: nothing is remembered, nor is to be
    CommandId command;       ///< the transaction's, as it is now: its own DDL counts it up
    std::uint64_t messages;  ///< invalidation messages received: the DDL of others
    TransactionId own_id;    ///< 0: the transaction has written nothing
    std::uint64_t versions;  ///< of the stamps of this key, where there is a ttl
};

/// A document that was read; it lives until something else is read.
struct Remembered {
    Remembered* next;
    std::uint64_t projection;
    std::uint64_t hash;      // of the key
    std::uint64_t versions;  // of its stamps before it was read, with a ttl
    TimestampTz loaded_at;
    const Jsonb* document;  // nullptr: no such key
    const char* access;     // its compact block, made when it is asked for; as is its text
    const text* as_text;
    std::uint32_t key_bytes;
    char key[FLEXIBLE_ARRAY_MEMBER];
};

/// Registers for the end of subtransactions; called once, from _PG_init.
void memo_init();

/// Now, for the document of a key, under the active snapshot. Accepts invalidation messages.
Moment memo_moment(const Definition& definition, std::uint64_t key_hash);

/// As memo_find() now, if it is the key that was asked for last, as for the rows of a policy; which costs
/// less.
Remembered* memo_repeat(const Definition& definition, std::string_view key);

/// What was read of this key, if reading it again at this moment would give the same; or nullptr.
Remembered* memo_find(const Definition& definition, const core::Key& key, const Moment& now);

/// Keeps what was loaded under the active snapshot by a load that began at `before`, unless something changed
/// meanwhile.
void memo_keep(const Definition& definition, const core::Key& key, const Moment& before,
               const Loaded& loaded);

/// The compact block of a document that was found, and its text.
const char* memo_access(Remembered& found);
const text* memo_text(Remembered& found);

}  // namespace rolecall::projection
