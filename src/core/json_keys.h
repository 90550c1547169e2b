// Finds members that an object names twice: which of them is meant is anybody's guess, and a sync does not
// guess.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rolecall::core {

/// The first key that occurs twice in one object of `json`, unescaped. The text must be valid JSON; of other
/// text the answer means nothing. Needs memory for the keys, no stack.
std::optional<std::string> duplicate_key(std::string_view json);

}  // namespace rolecall::core
