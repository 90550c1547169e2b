// The representation of keys in shared memory and in the queries that find their rows.
#pragma once

#include "pg/pg.h"

#include "cache/shared.h"

namespace rolecall::projection {

/// The representation of keys in shared memory.
enum class KeyKind {
    integer,  // bigint; smaller integers are widened
    uuid,
    text,    // text and varchar: equal bytes are equal keys
    bpchar,  // char(n): trailing blanks do not count
};

/// canonical_key() returns the canonical bytes of a key. They are in `buffer`, in the key itself or, if the
/// key had to be detoasted, in the current memory context.
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

/// Returns whether values of the two kinds can name the same keys. Text and char(n) can.
inline bool fits(KeyKind a, KeyKind b) { return a == b || (is_text(a) && is_text(b)); }

/// Returns the hash of a key's stamp and document. `key` is the result of canonical_key(). Trailing blanks do
/// not count, so that text and char(n) share their stamps; cache entries are compared by all of their bytes.
inline std::uint64_t key_hash(std::uint64_t projection, KeyKind kind, std::string_view key) {
    if (is_text(kind))
        while (!key.empty() && key.back() == ' ')
            key.remove_suffix(1);
    return cache::key_hash(projection, key);
}

/// Returns a value in the form that canonical_key() and queries take. key_kind_of() must be true of `type`.
Datum widened_key(Oid type, Datum value);

/// Sets `kind` to the representation of keys of this type. Returns false for types that cannot be keys.
bool key_kind_of(Oid type, KeyKind& kind);

/// Returns the type in which keys of a kind are passed to queries: bigint, uuid, text or char(n).
Oid key_type_of(KeyKind kind);

/// Sets `kind` to the representation of values of this column as keys. Returns false if they cannot be keys,
/// because of the column's type, collation or generation expression, or if there is no such column.
bool key_kind_of_column(Oid relation, const char* column, KeyKind& kind);

/// Returns whether this column can hold keys that fit `kind`.
bool is_key_column(Oid relation, const char* column, KeyKind kind);

}  // namespace rolecall::projection
