// The SQL functions that answer from projections. Each takes its fast way without objects that would need a
// destructor, so that PostgreSQL's errors may pass through.
#include "pg/pg.h"

#include "core/access.h"
#include "pg/settings.h"
#include "projection/definition.h"
#include "projection/read.h"
#include "projection/shared.h"

extern "C" {
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

namespace {

constexpr int errcode_user_not_found = MAKE_SQLSTATE('R', 'C', '0', '0', '1');
constexpr int errcode_user_inactive = MAKE_SQLSTATE('R', 'C', '0', '0', '2');

// Converts a key's text by its type's input function: invalid text is invalid_text_representation.
Datum key_from_text(const Definition& d, text* value) {
    if (d.key_kind == KeyKind::text)
        return PointerGetDatum(value);
    Oid input = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(key_type_of(d.key_kind), &input, &parameter);
    return OidInputFunctionCall(input, text_to_cstring(value), parameter, -1);
}

[[noreturn]] void wrong_key_type(const Definition& d, Oid given) {
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("projection \"%s\" has keys of type %s, not %s", NameStr(d.name),
                           format_type_be(key_type_of(d.key_kind)), format_type_be(given)),
                    errhint("Cast the key, or pass it as text.")));
    pg_unreachable();
}

// The first argument of an overloaded function, as a key of the definition's type.
Datum key_argument(FunctionCallInfo fcinfo, const Definition& d, Oid type) {
    const Datum value = PG_GETARG_DATUM(0);
    if (type == key_type_of(d.key_kind))
        return type == TEXTOID ? PointerGetDatum(PG_GETARG_TEXT_PP(0)) : value;
    if (type != TEXTOID)
        wrong_key_type(d, type);
    return key_from_text(d, PG_GETARG_TEXT_PP(0));
}

Definition& me_definition() {
    require_preloaded();
    return me_definition_seen();
}

std::string_view text_argument(FunctionCallInfo fcinfo, int number) {
    const text* value = PG_GETARG_TEXT_PP(number);
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

Datum me(FunctionCallInfo fcinfo, Oid type) {
    Definition& d = me_definition();
    const Answer answer = read_document(d, key_argument(fcinfo, d, type));
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

Datum has_role(FunctionCallInfo fcinfo, Oid type, bool scoped) {
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Answer answer = read_access(d, key_argument(fcinfo, d, type), buffer);
    if (!answer.found)
        PG_RETURN_BOOL(false);
    const core::Access access(answer.access);
    const std::string_view role = text_argument(fcinfo, 1);
    PG_RETURN_BOOL(scoped ? access.has_role(role, text_argument(fcinfo, 2), text_argument(fcinfo, 3))
                          : access.has_role(role));
}

Datum text_or_null(std::string_view value, bool present, bool& is_null) {
    is_null = !present;
    if (!present)
        return Datum{0};
    return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
}

// (id, tenant_id, email, is_active, is_superuser)
Datum access_record(FunctionCallInfo fcinfo, const core::Access& access) {
    TupleDesc columns = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &columns) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");
    bool nulls[5] = {};
    Datum values[5] = {};
    values[0] = PG_GETARG_DATUM(0);
    const Datum tenant = text_or_null(access.tenant(), access.has_tenant(), nulls[1]);
    if (!nulls[1])
        values[1] = DirectFunctionCall1(uuid_in, CStringGetDatum(TextDatumGetCString(tenant)));
    values[2] = text_or_null(access.email(), access.has_email(), nulls[2]);
    values[3] = BoolGetDatum(access.active());
    values[4] = BoolGetDatum(access.superuser());
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls));
}

Datum auth_projection(FunctionCallInfo fcinfo, Oid type) {
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Answer answer = read_access(d, key_argument(fcinfo, d, type), buffer);
    if (!answer.found)
        PG_RETURN_NULL();
    return access_record(fcinfo, core::Access(answer.access));
}

Datum require_user(FunctionCallInfo fcinfo, Oid type) {
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(errcode_user_not_found), errmsg("user not found"),
                        errdetail("The user id is NULL.")));
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Answer answer = read_access(d, key_argument(fcinfo, d, type), buffer);
    if (!answer.found)
        ereport(ERROR, (errcode(errcode_user_not_found), errmsg("user not found")));
    const core::Access access(answer.access);
    if (!access.active())
        ereport(ERROR, (errcode(errcode_user_inactive), errmsg("user is inactive")));
    return access_record(fcinfo, access);
}

}  // namespace

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

// One C function for each type of key; `call` sees it as `type`.
#define ROLECALL_OVERLOAD(name, key_type, call) \
    PG_FUNCTION_INFO_V1(name);                  \
    Datum name(PG_FUNCTION_ARGS) {              \
        constexpr Oid type = key_type;          \
        return call;                            \
    }
#define ROLECALL_OVERLOADS(name, call)                         \
    ROLECALL_OVERLOAD(rolecall_##name##_bigint, INT8OID, call) \
    ROLECALL_OVERLOAD(rolecall_##name##_uuid, UUIDOID, call)   \
    ROLECALL_OVERLOAD(rolecall_##name##_text, TEXTOID, call)

ROLECALL_OVERLOADS(me, me(fcinfo, type))
ROLECALL_OVERLOADS(has_role, has_role(fcinfo, type, false))
ROLECALL_OVERLOADS(has_role_on, has_role(fcinfo, type, true))
ROLECALL_OVERLOADS(auth_projection, auth_projection(fcinfo, type))
ROLECALL_OVERLOADS(require_user, require_user(fcinfo, type))

PG_FUNCTION_INFO_V1(rolecall_project);

// project(name, key text): any projection, for those who may read its view.
Datum rolecall_project(PG_FUNCTION_ARGS) {
    require_preloaded();
    Definition& d = definition_seen(NameStr(*PG_GETARG_NAME(0)));
    if (!d.fresh)
        definition_refresh(d);
    const AclResult allowed = pg_class_aclcheck(d.view, GetUserId(), ACL_SELECT);
    if (allowed != ACLCHECK_OK)
        aclcheck_error(allowed, OBJECT_VIEW, get_rel_name(d.view));
    const Answer answer = read_document(d, key_from_text(d, PG_GETARG_TEXT_PP(1)));
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

}  // extern "C"
