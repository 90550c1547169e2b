// How keys are represented: in shared memory, and in the queries that find their rows.
#pragma once

#include "pg/pg.h"

#include "cache/shared.h"

namespace rolecall::projection {

/// How keys are represented in shared memory.
enum class KeyKind {
    integer,  // bigint; smaller integers are widened
    uuid,
    text,    // text and varchar: equal bytes are equal keys
    bpchar,  // char(n): trailing blanks do not count
};

/// The canonical bytes of a key, in `buffer` or in place.
struct KeyBuffer {
    char bytes[16];
};
std::string_view long_key(KeyKind kind, Datum key, KeyBuffer& buffer);
inline std::string_view canonical_key(KeyKind kind, Datum key, KeyBuffer& buffer) {
    if (kind != KeyKind::integer)
        return long_key(kind, key, buffer);
    const int64 value = DatumGetInt64(key);
    memcpy(buffer.bytes, &value, sizeof value);
    return {buffer.bytes, sizeof value};
}

inline bool is_text(KeyKind kind) { return kind == KeyKind::text || kind == KeyKind::bpchar; }

/// Do values of columns of the two kinds name the same keys? Text and char(n) do.
inline bool fits(KeyKind a, KeyKind b) { return a == b || (is_text(a) && is_text(b)); }

/// The hash of a key's stamp and document. `key` is what canonical_key() returns. Trailing blanks do not
/// count, so that text and char(n) share their stamps; entries are told apart by all of their bytes.
inline std::uint64_t key_hash(std::uint64_t projection, KeyKind kind, std::string_view key) {
    if (is_text(kind))
        while (!key.empty() && key.back() == ' ')
            key.remove_suffix(1);
    return cache::key_hash(projection, key);
}

/// A value of a column of this type, of which key_kind_of() is true, as canonical_key() and queries want it.
Datum widened_key(Oid type, Datum value);

/// How keys of a column of this type are represented; false for types that cannot be keys.
bool key_kind_of(Oid type, KeyKind& kind);

/// The type in which keys of a kind are handed to queries: bigint, uuid, text or char(n).
Oid key_type_of(KeyKind kind);

/// How values of this column are represented as keys; false where they cannot be (type, collation,
/// generation).
bool key_kind_of_column(Oid relation, const char* column, KeyKind& kind);

/// Can this column hold keys that fit `kind`?
bool is_key_column(Oid relation, const char* column, KeyKind kind);

}  // namespace rolecall::projection
