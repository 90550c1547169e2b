// Roles as JSON, in the one shape that documents and providers share:
//
//   {"role": "name", "on": "global" | {"institutional_id": "id"} | {"<kind>": "id"}}       "on" absent:
//   global
#pragma once

#include "pg/pg.h"

#include "core/access.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::pg {

/// A value's text; it must be a string, anything else has none. A view into the document.
std::string_view json_text(const JsonbValue& value);

/// The member of an object, if it has one. What is no object has none.
bool json_member(JsonbContainer* object, std::string_view name, JsonbValue& value);

/// Reads "on"; false where it has another shape. `grant` gets views into the document.
bool read_scope(const JsonbValue& on, core::Grant& grant);

/// Reads a role object; likewise.
bool read_role(const JsonbValue& value, core::Grant& grant);

/// The elements of an array in the current memory context; false where `value` is no array.
bool json_elements(const JsonbValue& value, std::span<JsonbValue>& elements);

}  // namespace rolecall::pg
