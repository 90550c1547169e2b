// The header Retry-After: how long a provider wants to be left alone.
#pragma once

#include <chrono>
#include <ctime>
#include <string>

namespace rolecall::http {

/// What the header asks for at the time `now` (seconds since 1970): a number of seconds, or until a date. 0
/// for anything else, and for what has passed. At most a day.
std::chrono::seconds retry_after(const std::string& value, std::time_t now);

}  // namespace rolecall::http
