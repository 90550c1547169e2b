// jsonpath, evaluated as jsonb_path_query() and its kin do, without a statement around it. An empty path
// finds nothing. Results are in the current memory context; errors of PostgreSQL throw PgError.
#pragma once

#include "pg/guard.h"

#include <string>

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::pg {

/// The first value that the path finds. False: there is none, or the path does not fit the document.
bool json_first(const Jsonb* json, const std::string& path, JsonbValue& value);

/// Does a strict path fit the document? It may find nothing nevertheless.
bool json_path_fits(const Jsonb* json, const std::string& path);

/// All that the path finds. Throws where a strict path does not fit.
std::span<JsonbValue> json_all(const Jsonb* json, const std::string& path);

/// How many members all its objects have together.
std::size_t json_count_members(const Jsonb* json);

/// A value of a document as a document of its own.
Jsonb* json_document(JsonbValue& value);

/// A document as one value.
JsonbValue json_value(const Jsonb* json);

}  // namespace rolecall::pg
