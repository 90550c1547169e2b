// Keys as SQL functions get them.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"

namespace rolecall::projection {

/// A key given as text, by its type's input function: invalid text is invalid_text_representation.
Datum key_from_text(const Definition& definition, text* value);

/// A key given as `type` (bigint, uuid or text), as the definition wants it; raises datatype_mismatch. Reads
/// the definition anew before it complains.
Datum converted_key(Definition& definition, Oid type, Datum value);
inline Datum key_from(Definition& definition, Oid type, Datum value) {
    const bool as_is = (type == INT8OID && definition.key_kind == KeyKind::integer) ||
                       (type == UUIDOID && definition.key_kind == KeyKind::uuid);
    return as_is ? value : converted_key(definition, type, value);
}

/// The projection of a name for a caller who may read its view; raises insufficient_privilege.
Definition& readable_projection(const NameData& name);

/// Raises insufficient_privilege for a caller who may not read this view.
void require_select(Oid view);

/// What read(definition, key) returns for such a caller. The view may have become another one while it was
/// read.
template <typename Read>
auto read_allowed(Definition& definition, Datum key, Read&& read) {
    const Oid view = definition.view;
    auto answer = read(definition, key);
    if (definition.view != view)
        require_select(definition.view);
    return answer;
}

}  // namespace rolecall::projection
