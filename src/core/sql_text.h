// What of a function's text the server reads in more than one way.
#pragma once

#include <string_view>

namespace rolecall::core {

/// Has it a string in plain quotes with a backslash, which standard_conforming_strings decides about? Strings
/// with E, dollar quotes, quoted names and comments are told apart. Of text that is no SQL: true rather than
/// false.
bool has_ambiguous_string(std::string_view text);

}  // namespace rolecall::core
