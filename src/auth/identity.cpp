#include "auth/identity.h"

#include "pg/role_json.h"
#include "pg/settings.h"

extern "C" {
#include "utils/guc.h"
#include "utils/jsonb.h"
}

namespace rolecall::auth {

text* session_user() {
    if (settings::uid[0] != '\0')
        return cstring_to_text(settings::uid);
    const char* claims = GetConfigOption("request.jwt.claims", true, false);
    if (claims == nullptr || claims[0] == '\0')
        return nullptr;
    Jsonb* parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(claims)));
    if (!JB_ROOT_IS_OBJECT(parsed))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid request.jwt.claims"),
                        errdetail("Claims must be an object.")));
    JsonbValue subject;
    if (!pg::json_member(&parsed->root, "sub", subject) || subject.type == jbvNull)
        return nullptr;
    if (subject.type != jbvString)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("member \"sub\" of request.jwt.claims must be a string")));
    const std::string_view uid = pg::json_text(subject);
    return cstring_to_text_with_len(uid.data(), static_cast<int>(uid.size()));
}

}  // namespace rolecall::auth
