#include "definition/key_kinds.h"

extern "C" {
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

bool key_kind_of(Oid type, KeyKind& kind) {
    switch (type) {
        case INT2OID:
        case INT4OID:
        case INT8OID:
            kind = KeyKind::integer;
            return true;
        case UUIDOID:
            kind = KeyKind::uuid;
            return true;
        case TEXTOID:
        case VARCHAROID:
            kind = KeyKind::text;
            return true;
        case BPCHAROID:
            kind = KeyKind::bpchar;
            return true;
        default:
            return false;
    }
}

Datum widened_key(Oid type, Datum value) {
    if (type == INT2OID)
        return Int64GetDatum(DatumGetInt16(value));
    return type == INT4OID ? Int64GetDatum(DatumGetInt32(value)) : value;
}

Oid key_type_of(KeyKind kind) {
    switch (kind) {
        case KeyKind::integer:
            return INT8OID;
        case KeyKind::uuid:
            return UUIDOID;
        case KeyKind::bpchar:
            return BPCHAROID;
        case KeyKind::text:
            break;
    }
    return TEXTOID;
}

bool key_kind_of_column(Oid relation, const char* column, KeyKind& kind) {
    HeapTuple tuple = SearchSysCacheAttName(relation, column);
    if (!HeapTupleIsValid(tuple))
        return false;
    const auto* attribute = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
    const Oid type = attribute->atttypid;
    const Oid collation = attribute->attcollation;
    const bool stored =
        attribute->attgenerated == '\0' || attribute->attgenerated == ATTRIBUTE_GENERATED_STORED;
    ReleaseSysCache(tuple);
    return stored && key_kind_of(type, kind) &&
           (!OidIsValid(collation) || get_collation_isdeterministic(collation));
}

bool is_key_column(Oid relation, const char* column, KeyKind kind) {
    KeyKind actual{};
    return key_kind_of_column(relation, column, actual) && fits(actual, kind);
}

std::string_view long_key(KeyKind kind, Datum key, KeyBuffer& buffer) {
    if (kind == KeyKind::uuid) {
        memcpy(buffer.bytes, DatumGetUUIDP(key)->data, UUID_LEN);
        return {buffer.bytes, UUID_LEN};
    }
    text* value = DatumGetTextPP(key);
    char* bytes = VARDATA_ANY(value);
    const int length = static_cast<int>(VARSIZE_ANY_EXHDR(value));
    return {bytes, static_cast<std::size_t>(kind == KeyKind::bpchar ? bpchartruelen(bytes, length) : length)};
}

}  // namespace rolecall::projection
