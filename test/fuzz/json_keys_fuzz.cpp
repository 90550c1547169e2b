// Whatever the text, there is an answer; and a key that comes twice is found, however it is written.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/json_keys.h"

namespace {

std::string escaped(const std::string& text, bool all) {
    constexpr const char* digits = "0123456789abcdef";
    std::string result;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < ' ' || c == '"' || c == '\\' || (all && byte < 0x80)) {
            result += "\\u00";
            result += digits[byte >> 4];
            result += digits[byte & 15];
        } else {
            result += c;
        }
    }
    return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using rolecall::core::duplicate_key;
    const std::string text(reinterpret_cast<const char*>(data), size);
    (void)duplicate_key(text);
    const std::string once =
        "{\"" + escaped(text, false) + "\": [{}, 1], \"x" + escaped(text, false) + "\": {}";
    if (duplicate_key(once + "}") || duplicate_key(once + ", \"" + escaped(text, true) + "\": 2}") != text)
        std::abort();
    return 0;
}
