// Finds text of functions that the server may read in more than one way.
#pragma once

#include <string_view>

namespace rolecall::core {

/// Returns whether the text contains a string in plain quotes with a backslash, whose meaning depends on
/// standard_conforming_strings. Strings with E, dollar quotes, quoted names and comments are recognized and
/// do not count. For text that is not SQL, the function errs towards true.
bool has_ambiguous_string(std::string_view text);

}  // namespace rolecall::core
