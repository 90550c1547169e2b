// jsonpath, evaluated as jsonb_path_query() and its kin do, without a statement around it. An empty path
// finds nothing. Results are in the current memory context; errors of PostgreSQL throw PgError.
#pragma once

#include "pg/guard.h"

#include <optional>
#include <string>

#include "core/json_shape.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::pg {

/// How many values a path to one value finds.
enum class Found { nothing, one, several };

/// The one value that the path finds. `nothing`: there is none, or the path does not fit the document.
/// `several`, where no choice is right: it finds more, or a path of members meets an array of several items.
Found json_single(const Jsonb* json, const std::string& path, JsonbValue& value);

/// Does a strict path fit the document? It may find nothing nevertheless.
bool json_path_fits(const Jsonb* json, const std::string& path);

/// All that the path finds. Throws where a strict path does not fit.
std::span<JsonbValue> json_all(const Jsonb* json, const std::string& path);

/// Does a strict path fit an object without members? Then what it does not find may be there or not.
bool json_path_fits_nothing(const std::string& path);

/// For each filter of the path, but those within others: a path to the items for which its condition is
/// unknown, so that they are neither found nor left out for a reason.
std::vector<std::string> json_unknown_paths(const std::string& path);

/// Adds what evaluating the path reads of a document to its shape. Returns the part of the shape that the
/// found values have; nullptr: they are computed.
core::JsonShape* json_add_to_shape(core::JsonShape& document, const std::string& path);

/// The number that is the first member of this name, however deep; 0: it is none of 0 to 9999.
std::optional<int> json_number_of(const Jsonb* json, std::string_view member);

/// A value of a document as a document of its own.
Jsonb* json_document(JsonbValue& value);

/// A document as one value.
JsonbValue json_value(const Jsonb* json);

}  // namespace rolecall::pg
