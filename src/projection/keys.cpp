#include "projection/keys.h"

#include "projection/shared.h"

extern "C" {
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

Datum key_from_text(const Definition& d, text* value) {
    if (d.key_kind == KeyKind::text || d.key_kind == KeyKind::bpchar)
        return PointerGetDatum(value);
    Oid input = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(key_type_of(d.key_kind), &input, &parameter);
    return OidInputFunctionCall(input, text_to_cstring(value), parameter, -1);
}

Datum converted_key(Definition& d, Oid type, Datum value) {
    // The type may be another by now: "me" may have been replaced.
    definition_refresh(d);
    if (type == TEXTOID)
        return key_from_text(d, DatumGetTextPP(value));
    if (type != key_type_of(d.key_kind))
        complain_of_key_type(d, type);
    return value;
}

void require_select(Oid view) {
    const AclResult allowed = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);
    if (allowed != ACLCHECK_OK)
        aclcheck_error(allowed, OBJECT_VIEW, get_rel_name(view));
}

// A query of the view would hear of a right that was revoked, by locking the view.
Definition& readable_projection(const NameData& name) {
    require_preloaded();
    Definition& d = definition_seen(NameStr(name));
    AcceptInvalidationMessages();
    definition_refresh(d);
    require_select(d.view);
    return d;
}

// ---- Types of keys (definition.h)

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
    return key_kind_of_column(relation, column, actual) && actual == kind;
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
