// The exception of core/ and http/: what a PostgreSQL error has, without PostgreSQL.
#pragma once

#include <array>
#include <exception>
#include <source_location>
#include <string>
#include <utility>

namespace rolecall {

/// An error on its way to the user. `sqlstate` is five characters; `message` is lower case without a period,
/// `detail` and `hint` are sentences or empty. pg/guard.h turns it into a PostgreSQL error.
class Error : public std::exception {
 public:
    Error(const char (&sqlstate)[6], std::string message, std::string detail = {}, std::string hint = {},
          std::source_location where = std::source_location::current())
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

    /// Where it was made: \set VERBOSITY verbose shows it.
    const std::source_location& where() const noexcept { return where_; }

    /// Message and detail in one line, where only one is shown.
    std::string summary() const { return message_ + (detail_.empty() ? "" : ": " + detail_); }

 private:
    std::array<char, 6> sqlstate_;
    std::string message_;
    std::string detail_;
    std::string hint_;
    std::source_location where_;
};

}  // namespace rolecall
