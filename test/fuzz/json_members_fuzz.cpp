// Whatever the text, there is an answer; and whatever a name or a string is, it counts once, or not at all.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/json_members.h"

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
    using rolecall::core::count_members;
    const std::string text(reinterpret_cast<const char*>(data), size);
    (void)count_members(text);
    const std::string plain = '"' + escaped(text, false) + '"';
    const std::string all = '"' + escaped(text, true) + '"';
    if (count_members('{' + plain + ": [{}, 1, " + all + "], " + all + ": {" + plain + ':' + plain + "}}") !=
        3)
        std::abort();
    return 0;
}
