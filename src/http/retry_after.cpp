#include "http/retry_after.h"

#include <curl/curl.h>

#include <algorithm>

namespace rolecall::http {

std::chrono::seconds retry_after(const std::string& value, std::time_t now) {
    constexpr std::time_t most = 86'400;
    std::time_t wait = 0;
    if (value.find_first_not_of("0123456789") != std::string::npos)
        wait = curl_getdate(value.c_str(), nullptr) - now;  // curl_getdate() returns -1 for no date
    else if (!value.empty())
        wait = value.size() < 9 ? std::stol(value) : most;
    return std::chrono::seconds(std::clamp<std::time_t>(wait, 0, most));
}

}  // namespace rolecall::http
