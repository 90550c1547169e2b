// Keys as SQL functions get them.
#pragma once

#include "pg/pg.h"

#include "projection/definition.h"
#include "projection/read.h"

namespace rolecall::projection {

/// A key given as text, by its type's input function: invalid text is invalid_text_representation.
Datum key_from_text(const Definition& definition, text* value);

/// A key given as `type` (bigint, uuid or text), as the definition wants it; raises datatype_mismatch. Reads
/// the definition anew before it complains.
Datum key_from(Definition& definition, Oid type, Datum value);

/// The projection of a name for a caller who may read its view; raises insufficient_privilege.
Definition& readable_projection(const NameData& name);

/// read_document() for such a caller. The view may have become another one while it was read.
Answer read_allowed_document(Definition& definition, Datum key);

}  // namespace rolecall::projection
