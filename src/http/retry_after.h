// The Retry-After header: how long a provider asks clients to wait.
#pragma once

#include <chrono>
#include <ctime>
#include <string>

namespace rolecall::http {

/// Returns the time to wait according to the header's value, a number of seconds or a date; `now` is in
/// seconds since 1970. Returns 0 for any other value and for a date in the past, and at most one day.
std::chrono::seconds retry_after(const std::string& value, std::time_t now);

}  // namespace rolecall::http
