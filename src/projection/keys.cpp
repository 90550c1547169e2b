#include "projection/keys.h"

#include "cache/shared.h"

extern "C" {
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

Datum key_from_text(const Definition& d, text* value) {
    if (is_text(d.key_kind))
        return PointerGetDatum(value);
    Oid input = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(key_type_of(d.key_kind), &input, &parameter);
    return OidInputFunctionCall(input, text_to_cstring(value), parameter, -1);
}

Datum converted_key(Definition& d, Oid type, Datum value) {
    // The key type may have changed, because "me" may have been replaced.
    definition_refresh(d);
    if (type == TEXTOID)
        return key_from_text(d, DatumGetTextPP(value));
    if (type == UUIDOID && is_text(d.key_kind))
        return PointerGetDatum(cstring_to_text(DatumGetCString(DirectFunctionCall1(uuid_out, value))));
    if (type != key_type_of(d.key_kind))
        complain_of_key_type(d, type);
    return value;
}

void require_select(Oid view) {
    const AclResult allowed = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);
    if (allowed != ACLCHECK_OK)
        aclcheck_error(allowed, OBJECT_VIEW, get_rel_name(view));
}

// A query of the view would lock the view, and so notice that a privilege was revoked.
Definition& readable_projection(const NameData& name) {
    cache::require_preloaded();
    Definition& d = definition_seen(NameStr(name));
    AcceptInvalidationMessages();
    definition_refresh(d);
    require_select(d.view);
    return d;
}

}  // namespace rolecall::projection
