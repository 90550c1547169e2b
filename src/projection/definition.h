// What a projection is: its row in rolecall.projections, the relations behind its view, and whether their
// watches are in place. Kept per backend, dropped when an invalidation message says that something changed.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "executor/spi.h"
}

namespace rolecall::projection {

/// How keys are represented in shared memory.
enum class KeyKind {
    integer,  // bigint; smaller integers are widened
    uuid,
    text,  // text and varchar: equal bytes are equal keys
};

struct Definition {
    NameData name;
    bool fresh;        // false: reread before the next load
    std::uint64_t id;  // random, never reused; 0 before it was read
    Oid view;
    Oid owner;  // of the view; queries run as this role
    KeyKind key_kind;
    SPIPlanPtr plan;        // $1 is the key; one row: document, valid_from, valid_until
    const char* unwatched;  // why documents must not be cached; nullptr when every watch is in place
    int relation_count;
    Oid* relations;  // behind the view, partitions and children included, and the extension's own two
    MemoryContext context;
    Definition* next;
};

/// Registers for invalidation messages; called once, from _PG_init.
void definition_init();

/// The definition by name as this backend last saw it, fresh or not: enough to look for a cached document,
/// because a definition that is gone left no usable one behind. Reads it the first time; raises
/// undefined_object where there is no such projection. Lives as long as the backend.
Definition& definition_seen(const char* name);

/// The same for "me", without a search.
Definition& me_definition_seen();

/// Makes it fresh: reads the row, plans the load query, checks every watch; raises as definition_seen().
/// False: it changes faster than it can be read, and nothing may be installed under it. Who is about to
/// install must have accepted invalidation messages before.
bool definition_refresh(Definition& definition);

/// The canonical bytes of a key, in `buffer` or in place.
struct KeyBuffer {
    char bytes[16];
};
std::string_view canonical_key(KeyKind kind, Datum key, KeyBuffer& buffer);

/// How keys of a column of this type are represented; false for types that cannot be keys.
bool key_kind_of(Oid type, KeyKind& kind);

/// The type in which keys of a kind are handed to queries: bigint, uuid or text.
Oid key_type_of(KeyKind kind);

/// Can this column hold the keys of a projection whose keys are of `kind`? (Type, collation, generation.)
bool is_key_column(Oid relation, const char* column, KeyKind kind);

}  // namespace rolecall::projection
