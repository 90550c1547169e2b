// The members that a JSON text names. jsonb keeps one of those that have a name twice: where it has fewer,
// which of them is meant is anybody's guess, and a sync does not guess.
#pragma once

#include <cstddef>
#include <string_view>

namespace rolecall::core {

/// How many members all objects of `json` name together, equal names counted each. The text must be valid
/// JSON; of other text the answer means nothing. Needs neither memory nor stack.
std::size_t count_members(std::string_view json);

}  // namespace rolecall::core
