// What anybody reads of a JSON text, as a JSON text that a database can hold. The rest is not there any more,
// so that whatever it holds, half an emoji, a number without end, stops nobody.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <string_view>

#include "core/json_shape.h"

namespace rolecall::http {

/// Why something that is read cannot be held.
enum class Oddity {
    none,
    twice,            ///< an object names a member that is read twice
    half,             ///< a text with half of a character, or a zero character
    not_utf8,         ///< a text that is not UTF-8
    unrepresentable,  ///< a text that the database's encoding does not have
    too_large,        ///< a number
    too_deep,         ///< nested, more than a thousand times
    too_many,         ///< elements of an array that is counted
    too_large_whole,  ///< more values than anybody wants to hold
};

/// A sentence.
const char* to_string(Oddity oddity);

/// Each odd value is replaced by an object whose only member has this name, and the number of its oddity as
/// value: it fits nowhere where a text, a number or a boolean should be.
constexpr std::string_view odd_member = "rolecall odd value";

/// The member of an object that has members nobody reads, where its shape wants to know.
constexpr std::string_view more_member = "rolecall unread members";

/// How much is held at most. An array that has more is odd, and its elements are not kept.
struct PruneLimits {
    std::size_t counted = std::numeric_limits<std::size_t>::max();  ///< elements of what is counted
    std::size_t values = std::numeric_limits<std::size_t>::max();   ///< elements, and members of wholes
    std::function<void()> meanwhile{};                              ///< called now and then; may throw
};

struct Pruned {
    std::string json;  ///< all values that the shape names, and arrays with as many elements as they had
    std::size_t oddities = 0;
};

/// Prunes a whole text. `can_hold` says of a text in UTF-8, not all ASCII, whether the database can represent
/// it. Throws Error RC104 where the text is not JSON.
Pruned prune_json(std::string_view json, const core::JsonShape& shape,
                  const std::function<bool(std::string_view)>& can_hold, const PruneLimits& limits = {});

}  // namespace rolecall::http
