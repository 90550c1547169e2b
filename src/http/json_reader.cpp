#include "http/json_reader.h"

#include <vector>

#include "core/error.h"

namespace rolecall::http {

namespace {

[[noreturn]] void malformed(const char* what) {
    throw Error("RC104", "a page cannot be read", std::string("It ") + what + ".");
}

constexpr std::string_view spaces = " \t\r\n";
constexpr std::string_view digits = "0123456789";

bool is_one_of(char c, std::string_view characters) { return characters.find(c) != std::string_view::npos; }

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view text) {
    const auto skip = [&](std::string_view characters, std::size_t most) {
        std::size_t count = 0;
        while (count < most && count < text.size() && is_one_of(text[count], characters))
            ++count;
        text.remove_prefix(count);
        return count;
    };
    (void)skip("-", 1);
    if (skip("0", 1) == 0 && skip(digits, text.size()) == 0)
        return false;
    if (skip(".", 1) == 1 && skip(digits, text.size()) == 0)
        return false;
    if (skip("eE", 1) == 1) {
        (void)skip("+-", 1);
        if (skip(digits, text.size()) == 0)
            return false;
    }
    return text.empty();
}

void append_utf8(std::string& to, std::uint32_t c) {
    const auto tail = [](std::uint32_t bits) { return static_cast<char>(0x80 | (bits & 0x3f)); };
    if (c < 0x80) {
        to += static_cast<char>(c);
    } else if (c < 0x800) {
        to += static_cast<char>(0xc0 | (c >> 6));
        to += tail(c);
    } else if (c < 0x10000) {
        to += static_cast<char>(0xe0 | (c >> 12));
        to += tail(c >> 6);
        to += tail(c);
    } else {
        to += static_cast<char>(0xf0 | (c >> 18));
        to += tail(c >> 12);
        to += tail(c >> 6);
        to += tail(c);
    }
}

// By table 3-7 of the Unicode Standard.
bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = [&](std::size_t n) { return static_cast<unsigned char>(text[i + n]); };
        const unsigned char first = byte(0);
        if (first < 0x80) {
            ++i;
            continue;
        }
        const std::size_t length = first < 0xc2   ? 0
                                   : first < 0xe0 ? 2
                                   : first < 0xf0 ? 3
                                   : first < 0xf5 ? 4
                                                  : 0;
        if (length == 0 || text.size() - i < length)
            return false;
        const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        const unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (byte(1) < least || byte(1) > most)
            return false;
        for (std::size_t n = 2; n < length; ++n)
            if ((byte(n) & 0xc0) != 0x80)
                return false;
        i += length;
    }
    return true;
}

}  // namespace

char JsonReader::peek() {
    while (at_ < text_.size() && is_one_of(text_[at_], spaces))
        ++at_;
    if (at_ == text_.size())
        malformed("ends too early");
    return text_[at_];
}

bool JsonReader::at_end() {
    while (at_ < text_.size() && is_one_of(text_[at_], spaces))
        ++at_;
    return at_ == text_.size();
}

char JsonReader::next() {
    if (at_ == text_.size())
        malformed("ends too early");
    return text_[at_++];
}

void JsonReader::expect(char c) {
    if (peek() != c)
        malformed("is not JSON");
    ++at_;
}

bool JsonReader::more(char close) {
    constexpr unsigned steps_between = 4096;
    if (++steps_ % steps_between == 0 && meanwhile_)
        meanwhile_();
    const char c = peek();
    if (c != ',' && c != close)
        malformed("is not JSON");
    ++at_;
    return c == ',';
}

std::uint32_t JsonReader::read_hex() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
        const char c = next();
        const auto digit = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
        if (digit == std::string_view::npos || c < '0')
            malformed("is not JSON");
        value = value * 16 + static_cast<std::uint32_t>(digit);
    }
    return value;
}

// Reads an escape after its backslash. Returns false if it is a zero character or half of a surrogate pair.
bool JsonReader::read_escape(std::string& value) {
    constexpr std::string_view letters = "\"\\/bfnrt";
    constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
    const char c = next();
    if (const std::size_t i = letters.find(c); i != std::string_view::npos) {
        value += meanings[i];
        return true;
    }
    if (c != 'u')
        malformed("is not JSON");
    std::uint32_t code = read_hex();
    if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
        const std::size_t before = at_;
        at_ += 2;
        const std::uint32_t low = read_hex();
        if (low >= 0xdc00 && low <= 0xdfff)
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        else
            at_ = before;
    }
    if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
        return false;
    append_utf8(value, code);
    return true;
}

JsonReader::Text JsonReader::read_string(std::string& value) {
    value.clear();
    bool whole = true;
    expect('"');
    for (;;) {
        const char c = next();
        if (c == '"')
            break;
        if (static_cast<unsigned char>(c) < ' ')
            malformed("is not JSON");
        if (c == '\\')
            whole = read_escape(value) && whole;
        else
            value += c;
    }
    return !is_utf8(value) ? Text::not_utf8 : whole ? Text::fine : Text::half;
}

void JsonReader::skip_string() {
    expect('"');
    std::string nothing;
    for (char c = next(); c != '"'; c = next()) {
        if (static_cast<unsigned char>(c) < ' ')
            malformed("is not JSON");
        if (c == '\\') {
            (void)read_escape(nothing);
            nothing.clear();
        }
    }
}

void JsonReader::skip_name() {
    skip_string();
    expect(':');
}

std::string_view JsonReader::read_plain() {
    const std::size_t start = at_;
    while (at_ < text_.size() && !is_one_of(text_[at_], " \t\r\n,]}"))
        ++at_;
    const std::string_view token = text_.substr(start, at_ - start);
    if (token != "true" && token != "false" && token != "null" && !is_number(token))
        malformed("is not JSON");
    return token;
}

// Not recursive, so that a level of nesting costs only one byte.
std::string_view JsonReader::skip_value() {
    (void)peek();
    const std::size_t start = at_;
    std::vector<char> open;  // the closing character of each open level
    do {
        const char c = peek();
        if (c == '{' || c == '[') {
            ++at_;
            open.push_back(c == '{' ? '}' : ']');
            if (peek() != open.back()) {
                if (c == '{')
                    skip_name();
                continue;  // with the first member's value or the first element
            }
            ++at_;
            open.pop_back();
        } else if (c == '"') {
            skip_string();
        } else {
            (void)read_plain();
        }
        while (!open.empty() && !more(open.back()))
            open.pop_back();
        if (!open.empty() && open.back() == '}')
            skip_name();
    } while (!open.empty());
    return text_.substr(start, at_ - start);
}

}  // namespace rolecall::http
