#include "core/json_keys.h"

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <vector>

namespace rolecall::core {

namespace {

void append_utf8(std::string& to, std::uint32_t c) {
    if (c < 0x80) {
        to += static_cast<char>(c);
    } else if (c < 0x800) {
        to += static_cast<char>(0xc0 | (c >> 6));
        to += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        to += static_cast<char>(0xe0 | (c >> 12));
        to += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
        to += static_cast<char>(0x80 | (c & 0x3f));
    } else {
        to += static_cast<char>(0xf0 | (c >> 18));
        to += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
        to += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
        to += static_cast<char>(0x80 | (c & 0x3f));
    }
}

std::uint32_t hexadecimal(std::string_view digits) {
    std::uint32_t value = 0;
    for (const char c : digits)
        value = value * 16 + static_cast<std::uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    return value;
}

// The code unit of an escape \uXXXX whose XXXX starts at `at`; 0 where it does not fit.
std::uint32_t code_unit(std::string_view text, std::size_t at) {
    return at + 4 <= text.size() ? hexadecimal(text.substr(at, 4)) : 0;
}

std::string unescape(std::string_view text) {
    constexpr std::string_view letters = "bfnrt";
    constexpr std::string_view meant = "\b\f\n\r\t";
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || ++i == text.size()) {
            result += text[std::min(i, text.size() - 1)];
        } else if (text[i] == 'u') {
            std::uint32_t c = code_unit(text, i + 1);
            i += 4;
            if (c >= 0xd800 && c < 0xdc00) {  // the first half of a pair
                c = 0x10000 + ((c & 0x3ff) << 10) + (code_unit(text, i + 3) & 0x3ff);
                i += 6;
            }
            append_utf8(result, c);
        } else {
            const std::size_t letter = letters.find(text[i]);
            result += letter == std::string_view::npos ? text[i] : meant[letter];
        }
    }
    return result;
}

// Where the string that begins at `quote` ends: the place of its other quote.
std::size_t end_of_string(std::string_view json, std::size_t quote) {
    std::size_t i = quote + 1;
    while (i < json.size() && json[i] != '"')
        i += json[i] == '\\' ? 2 : 1;
    return std::min(i, json.size());
}

// One level of nesting.
struct Level {
    bool object;
    bool key_next;
    std::unordered_set<std::string> keys;
};

}  // namespace

std::optional<std::string> duplicate_key(std::string_view json) {
    std::vector<Level> levels;
    for (std::size_t i = 0; i < json.size(); ++i) {
        switch (json[i]) {
            case '{':
            case '[':
                levels.push_back({.object = json[i] == '{', .key_next = true, .keys = {}});
                break;
            case '}':
            case ']':
                if (!levels.empty())
                    levels.pop_back();
                break;
            case ',':
                if (!levels.empty())
                    levels.back().key_next = true;
                break;
            case '"': {
                const std::size_t end = end_of_string(json, i);
                if (!levels.empty() && levels.back().object && levels.back().key_next) {
                    std::string key = unescape(json.substr(i + 1, end - i - 1));
                    if (!levels.back().keys.insert(key).second)
                        return key;
                    levels.back().key_next = false;
                }
                i = end;
                break;
            }
            default:
                break;
        }
    }
    return std::nullopt;
}

}  // namespace rolecall::core
