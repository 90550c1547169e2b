// The exception of core/ and http/. It has the parts of a PostgreSQL error without needing PostgreSQL.
#pragma once

#include <array>
#include <exception>
#include <string>
#include <utility>

namespace rolecall {

/// A place in the source. std::source_location is not there with clang 14, which the fuzzers and clang-tidy
/// use.
struct SourcePlace {
    const char* file;
    const char* function;
    int line;

    static constexpr SourcePlace current(const char* file = __builtin_FILE(),
                                         const char* function = __builtin_FUNCTION(),
                                         int line = __builtin_LINE()) {
        return {file, function, line};
    }
};

/// An error that the user will see. pg/guard.h turns it into a PostgreSQL error. `sqlstate` has five
/// characters; `message` is lower case without a period; `detail` and `hint` are sentences or empty.
class Error : public std::exception {
 public:
    Error(const char (&sqlstate)[6], std::string message, std::string detail = {}, std::string hint = {},
          SourcePlace where = SourcePlace::current())
        : sqlstate_{sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4], '\0'},
          message_(std::move(message)),
          detail_(std::move(detail)),
          hint_(std::move(hint)),
          where_(where) {}

    const char* what() const noexcept override { return message_.c_str(); }
    const char* sqlstate() const noexcept { return sqlstate_.data(); }
    const std::string& message() const noexcept { return message_; }
    const std::string& detail() const noexcept { return detail_; }
    const std::string& hint() const noexcept { return hint_; }

    /// Where the error was created; \set VERBOSITY verbose shows it.
    const SourcePlace& where() const noexcept { return where_; }

    /// Message and detail in one line, for places that show only one string.
    std::string summary() const { return message_ + (detail_.empty() ? "" : ": " + detail_); }

 private:
    std::array<char, 6> sqlstate_;
    std::string message_;
    std::string detail_;
    std::string hint_;
    SourcePlace where_;
};

}  // namespace rolecall
