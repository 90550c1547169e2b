// The SQL functions that read projections. Their fast paths hold no objects with destructors, so that
// PostgreSQL's errors may pass through.
#include "pg/pg.h"

#include "auth/identity.h"
#include "cache/shared.h"
#include "core/access.h"
#include "pg/function.h"
#include "projection/keys.h"
#include "projection/read.h"

extern "C" {
#include "utils/jsonb.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

namespace {

constexpr int errcode_user_not_found = MAKE_SQLSTATE('R', 'C', '0', '0', '1');
constexpr int errcode_user_inactive = MAKE_SQLSTATE('R', 'C', '0', '0', '2');

Definition& me_definition() {
    cache::require_preloaded();
    return me_definition_seen();
}

// Avoids a copy for constants and for short values of columns.
inline std::string_view text_argument(FunctionCallInfo fcinfo, int number) {
    const auto* value = reinterpret_cast<const text*>(PG_GETARG_POINTER(number));
    if (VARATT_IS_EXTENDED(value) && (VARATT_IS_EXTERNAL(value) || !VARATT_IS_SHORT(value))) [[unlikely]]
        value = PG_GETARG_TEXT_PP(number);
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

Datum me(FunctionCallInfo fcinfo, Oid type) {
    Definition& d = me_definition();
    const Reading answer = read_document(d, key_from(d, type, PG_GETARG_DATUM(0)));
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

Datum text_or_nothing(FunctionCallInfo fcinfo, text* document) {
    if (document == nullptr)
        PG_RETURN_NULL();
    PG_RETURN_TEXT_P(document);
}

Datum me_json(FunctionCallInfo fcinfo, Oid type) {
    Definition& d = me_definition();
    return text_or_nothing(fcinfo, read_text(d, key_from(d, type, PG_GETARG_DATUM(0))));
}

Datum has_role(FunctionCallInfo fcinfo, Oid type, bool scoped) {
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Reading answer = read_access(d, key_from(d, type, PG_GETARG_DATUM(0)), buffer);
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
Datum access_record(FunctionCallInfo fcinfo, Oid type, const core::Access& access) {
    TupleDesc columns = pg::result_row(fcinfo, type, UUIDOID, TEXTOID, BOOLOID, BOOLOID);
    bool nulls[5] = {};
    Datum values[5] = {};
    values[0] = PG_GETARG_DATUM(0);
    const Datum tenant = text_or_null(access.tenant(), access.has_tenant(), nulls[1]);
    if (!nulls[1])
        values[1] = DirectFunctionCall1(uuid_in, CStringGetDatum(TextDatumGetCString(tenant)));
    values[2] = text_or_null(access.email(), access.has_email(), nulls[2]);
    values[3] = BoolGetDatum(access.active());
    values[4] = BoolGetDatum(access.superuser());
    return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}

Datum auth_projection(FunctionCallInfo fcinfo, Oid type) {
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Reading answer = read_access(d, key_from(d, type, PG_GETARG_DATUM(0)), buffer);
    if (!answer.found)
        PG_RETURN_NULL();
    return access_record(fcinfo, type, core::Access(answer.access));
}

Datum require_user(FunctionCallInfo fcinfo, Oid type) {
    if (PG_ARGISNULL(0))
        ereport(ERROR, (errcode(errcode_user_not_found), errmsg("user not found"),
                        errdetail("The user id is NULL.")));
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Reading answer = read_access(d, key_from(d, type, PG_GETARG_DATUM(0)), buffer);
    if (!answer.found)
        ereport(ERROR, (errcode(errcode_user_not_found), errmsg("user not found")));
    const core::Access access(answer.access);
    if (!access.active())
        ereport(ERROR, (errcode(errcode_user_inactive), errmsg("user is inactive")));
    return access_record(fcinfo, type, access);
}

}  // namespace

}  // namespace rolecall::projection

using namespace rolecall::projection;
namespace auth = rolecall::auth;
namespace core = rolecall::core;
namespace pg = rolecall::pg;

extern "C" {

// Defines one C function for each key type; `declaration` and `call` can use it as `type`.
#define ROLECALL_OVERLOAD(name, key_type, call, ...)                      \
    ROLECALL_FUNCTION(                                                    \
        name, [](Oid type) constexpr { return __VA_ARGS__; }(key_type)) { \
        constexpr Oid type = key_type;                                    \
        return call;                                                      \
    }
#define ROLECALL_OVERLOADS(name, call, ...)                                 \
    ROLECALL_OVERLOAD(rolecall_##name##_bigint, INT8OID, call, __VA_ARGS__) \
    ROLECALL_OVERLOAD(rolecall_##name##_uuid, UUIDOID, call, __VA_ARGS__)   \
    ROLECALL_OVERLOAD(rolecall_##name##_text, TEXTOID, call, __VA_ARGS__)

ROLECALL_OVERLOADS(me, me(fcinfo, type), pg::takes(JSONBOID, type))
ROLECALL_OVERLOADS(me_json, me_json(fcinfo, type), pg::takes(JSONOID, type))
ROLECALL_OVERLOADS(has_role, has_role(fcinfo, type, false), pg::takes(BOOLOID, type, TEXTOID))
ROLECALL_OVERLOADS(has_role_on, has_role(fcinfo, type, true),
                   pg::takes(BOOLOID, type, TEXTOID, TEXTOID, TEXTOID))
ROLECALL_OVERLOADS(auth_projection, auth_projection(fcinfo, type), pg::takes(RECORDOID, type))
ROLECALL_OVERLOADS(require_user, require_user(fcinfo, type), pg::takes_null(RECORDOID, type))

// project(projection name, key text): reads any projection whose view the caller may read.
ROLECALL_FUNCTION(rolecall_project, pg::takes(JSONBOID, NAMEOID, TEXTOID)) {
    Definition& d = readable_projection(*PG_GETARG_NAME(0));
    const Reading answer = read_allowed(d, key_from_text(d, PG_GETARG_TEXT_PP(1)), read_document);
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

// project_json(projection name, key text): like project(), as text.
ROLECALL_FUNCTION(rolecall_project_json, pg::takes(JSONOID, NAMEOID, TEXTOID)) {
    Definition& d = readable_projection(*PG_GETARG_NAME(0));
    return text_or_nothing(fcinfo, read_allowed(d, key_from_text(d, PG_GETARG_TEXT_PP(1)), read_text));
}

// current_uid(): returns the identity of the session as text.
ROLECALL_FUNCTION(rolecall_current_uid, pg::takes(TEXTOID)) {
    text* uid = auth::session_user();
    if (uid == nullptr)
        PG_RETURN_NULL();
    PG_RETURN_TEXT_P(uid);
}

// me()
ROLECALL_FUNCTION(rolecall_me_current, pg::takes(JSONBOID)) {
    text* uid = auth::session_user();
    if (uid == nullptr)
        PG_RETURN_NULL();
    Definition& d = me_definition();
    const Reading answer = read_document(d, key_from(d, TEXTOID, PointerGetDatum(uid)));
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

// has_role(role text)
ROLECALL_FUNCTION(rolecall_has_role_current, pg::takes(BOOLOID, TEXTOID)) {
    text* uid = auth::session_user();
    if (uid == nullptr)
        PG_RETURN_BOOL(false);
    Definition& d = me_definition();
    AccessBuffer buffer;
    const Reading answer = read_access(d, key_from(d, TEXTOID, PointerGetDatum(uid)), buffer);
    PG_RETURN_BOOL(answer.found && core::Access(answer.access).has_role(text_argument(fcinfo, 0)));
}

}  // extern "C"
