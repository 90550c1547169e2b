// Reduces a JSON text to the values that are read, as a JSON text that the database can store. The remaining
// values are dropped, so that a value that the database cannot store (half of a surrogate pair, a huge
// number) causes no error unless it is read.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <string_view>

#include "core/json_shape.h"

namespace rolecall::http {

/// Why a value that is read cannot be stored.
enum class Oddity {
    none,
    twice,            ///< a member that is read occurs twice in an object
    half,             ///< a string with half of a surrogate pair, or with a zero character
    not_utf8,         ///< a string that is not UTF-8
    unrepresentable,  ///< a string that the database's encoding cannot represent
    too_large,        ///< a number that is too large or has too many digits
    too_deep,         ///< a value nested more than 1000 levels deep
    too_many,         ///< more elements in counted arrays than PruneLimits::counted
    too_large_whole,  ///< more values than PruneLimits::values
};

/// Returns a sentence for an error's detail.
const char* to_string(Oddity oddity);

/// Each odd value is replaced by an object with a single member of this name, whose value is the number of
/// the Oddity. Such an object is not valid where a string, a number or a boolean is expected.
constexpr std::string_view odd_member = "rolecall odd value";

/// Added to an object that has members that are not read, if its shape has `marks_more`.
constexpr std::string_view more_member = "rolecall unread members";

/// Limits on the values kept. An array that exceeds a limit is odd, and its elements are dropped.
struct PruneLimits {
    std::size_t counted = std::numeric_limits<std::size_t>::max();  ///< elements of counted arrays
    std::size_t values = std::numeric_limits<std::size_t>::max();  ///< elements, and members of whole objects
    std::function<void()> meanwhile{};  ///< called regularly while reading; may throw
};

struct Pruned {
    std::string json;  ///< the values in the shape; arrays keep their number of elements
    std::size_t oddities = 0;
};

/// Prunes a whole JSON text. `can_hold` returns whether the database can represent a UTF-8 string; it is
/// called for strings that are not all ASCII. Throws Error RC104 if the text is not JSON.
Pruned prune_json(std::string_view json, const core::JsonShape& shape,
                  const std::function<bool(std::string_view)>& can_hold, const PruneLimits& limits = {});

}  // namespace rolecall::http
