// A subject stays one path segment, whatever is in it: the URL has the same host and as many slashes as the
// template.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "http/url.h"

using namespace rolecall::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    try {
        const std::string base = check_base_url(text);
        if (base.ends_with('/') || !same_origin(base, base + "/"))
            std::abort();
    } catch (const rolecall::Error&) {
    }
    try {
        const std::string url = request_url("https://x.org/api", "/users/{subject}/roles", text);
        if (std::count(url.begin(), url.end(), '/') != 6 || !same_origin(url, "https://x.org/") ||
            url.find_first_of("?#@ \\\n") != std::string::npos)
            std::abort();
    } catch (const rolecall::Error&) {
    }
    return 0;
}
