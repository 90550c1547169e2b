// Roles as JSON, in the one shape that documents and providers share. An absent "on" means global:
//
//     {"role": "name", "on": "global" | {"institutional_id": "id"} | {"<kind>": "id"}}
#pragma once

#include "pg/pg.h"

#include "core/access.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::pg {

/// Returns the text of a string value, or an empty text for other types. This is a view into the document.
std::string_view json_text(const JsonbValue& value);

/// Finds a member of an object. Returns false if it is absent or if the container is not an object.
bool json_member(JsonbContainer* object, std::string_view name, JsonbValue& value);

/// Reads the value of "on" into views into the document. Returns false if it has another shape.
bool read_scope(const JsonbValue& on, core::Grant& grant);

/// Reads a role object in the same way.
bool read_role(const JsonbValue& value, core::Grant& grant);

/// Returns the elements of an array, in the current memory context. Returns false if `value` is not an array.
bool json_elements(const JsonbValue& value, std::span<JsonbValue>& elements);

}  // namespace rolecall::pg
