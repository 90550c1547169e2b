// jsonpath, evaluated as jsonb_path_query() and similar functions do, but without a statement. An empty path
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

/// Sets `value` to the only value that the path finds and returns `one`. Returns `nothing` if there is no
/// value, or if a strict path does not fit the document. Returns `several` if a choice would be arbitrary:
/// the path finds several values, or a path of members meets an array of several items.
Found json_single(const Jsonb* json, const std::string& path, JsonbValue& value);

/// Returns whether a strict path fits the document. A path that fits may still find nothing.
bool json_path_fits(const Jsonb* json, const std::string& path);

/// Returns all values that the path finds. Throws if a strict path does not fit.
std::span<JsonbValue> json_all(const Jsonb* json, const std::string& path);

/// Returns whether a strict path fits an object without members. If so, a value that it does not find may or
/// may not be there.
bool json_path_fits_nothing(const std::string& path);

/// For each filter of the path that is not inside another filter, returns a path to the items for which the
/// filter's condition is unknown. The filter neither selects nor rejects such items.
std::vector<std::string> json_unknown_paths(const std::string& path);

/// Adds what evaluating the path reads of a document to the document's shape. Returns the part of the shape
/// that describes the values found, or nullptr if the values are computed.
core::JsonShape* json_add_to_shape(core::JsonShape& document, const std::string& path);

/// Returns the numeric value of the first member of this name that has one, at any depth; 0 if the value is
/// not from 0 to 9999; std::nullopt if there is no such member.
std::optional<int> json_number_of(const Jsonb* json, std::string_view member);

/// Returns a value of a document as a document of its own.
Jsonb* json_document(JsonbValue& value);

/// Returns a document as one value.
JsonbValue json_value(const Jsonb* json);

}  // namespace rolecall::pg
