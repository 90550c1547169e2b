// Conversion of keys that SQL functions get, and the check of the caller's rights.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"

namespace rolecall::projection {

/// Converts a key from text with its type's input function. Raises invalid_text_representation for invalid
/// text.
Datum key_from_text(const Definition& definition, text* value);

/// Converts a key of type `type` (bigint, uuid or text) to the type of the definition: a uuid becomes its
/// text where keys are texts. Reads the definition again before it raises datatype_mismatch.
Datum converted_key(Definition& definition, Oid type, Datum value);
inline Datum key_from(Definition& definition, Oid type, Datum value) {
    const bool as_is = (type == INT8OID && definition.key_kind == KeyKind::integer) ||
                       (type == UUIDOID && definition.key_kind == KeyKind::uuid);
    return as_is ? value : converted_key(definition, type, value);
}

/// Returns the projection with this name. Raises insufficient_privilege if the caller may not read its view.
Definition& readable_projection(const NameData& name);

/// Raises insufficient_privilege if the caller may not read this view.
void require_select(Oid view);

/// Returns read(definition, key) for a caller whose right to read the view has been checked. Checks again if
/// another view replaced it during the read.
template <typename Read>
auto read_allowed(Definition& definition, Datum key, Read&& read) {
    const Oid view = definition.view;
    auto answer = read(definition, key);
    if (definition.view != view)
        require_select(definition.view);
    return answer;
}

}  // namespace rolecall::projection
