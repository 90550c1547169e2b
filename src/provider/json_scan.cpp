#include "provider/json_scan.h"

#include <cstdint>
#include <span>

#include "core/error.h"

namespace rolecall::provider {

namespace {

constexpr int most_depth = 1000;

[[noreturn]] void malformed(const char* what) {
    throw Error("RC104", "a page cannot be read", std::string("It ") + what + ".");
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

class Scanner {
 public:
    explicit Scanner(std::string_view text) : text_(text) {}

    /// The value at the path, as text, whitespace before it skipped; nullopt: there is none. Where a member
    /// comes twice the last one counts, as in jsonb.
    std::optional<std::string_view> find(std::span<const std::string> path) {
        if (path.empty()) {
            peek();
            const std::size_t start = at_;
            skip_value();
            return text_.substr(start, at_ - start);
        }
        if (peek() != '{') {
            skip_value();
            return std::nullopt;
        }
        std::optional<std::string_view> found;
        each_member([&](const std::string& name) {
            if (name == path.front())
                found = find(path.subspan(1));
            else
                skip_value();
        });
        return found;
    }

    std::size_t count_array() {
        std::size_t count = 0;
        each_element([&] {
            skip_value();
            ++count;
        });
        return count;
    }

    char peek() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
            ++at_;
        if (at_ == text_.size())
            malformed("ends too early");
        return text_[at_];
    }

    std::string read_string() {
        std::string value;
        expect('"');
        for (;;) {
            const char c = next();
            if (c == '"')
                return value;
            if (c == '\\')
                read_escape(value);
            else
                value += c;
        }
    }

    std::string_view read_plain() {  // a number, true, false, null
        const std::size_t start = at_;
        while (at_ < text_.size() &&
               std::string_view(" \t\r\n,]}").find(text_[at_]) == std::string_view::npos)
            ++at_;
        if (at_ == start)
            malformed("is not JSON");
        return text_.substr(start, at_ - start);
    }

 private:
    char next() {
        if (at_ == text_.size())
            malformed("ends too early");
        return text_[at_++];
    }

    void expect(char c) {
        if (peek() != c)
            malformed("is not JSON");
        ++at_;
    }

    std::uint32_t read_hex() {
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

    void read_escape(std::string& value) {
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        const char c = next();
        if (const std::size_t i = letters.find(c); i != std::string_view::npos) {
            value += meanings[i];
            return;
        }
        if (c != 'u')
            malformed("is not JSON");
        std::uint32_t code = read_hex();
        if (code >= 0xd800 && code < 0xdc00) {
            if (next() != '\\' || next() != 'u')
                malformed("is not JSON");
            const std::uint32_t low = read_hex();
            if (low < 0xdc00 || low > 0xdfff)
                malformed("is not JSON");
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        append_utf8(value, code);
    }

    template <typename F>
    void each(char open, char close, F&& f) {
        if (++depth_ > most_depth)
            malformed("is nested too deeply");
        expect(open);
        if (peek() == close) {
            ++at_;
        } else {
            do
                f();
            while (more(close));
        }
        --depth_;
    }

    bool more(char close) {
        const char c = peek();
        if (c != ',' && c != close)
            malformed("is not JSON");
        ++at_;
        return c == ',';
    }

    template <typename F>
    void each_element(F&& f) {
        each('[', ']', f);
    }

    template <typename F>
    void each_member(F&& f) {
        each('{', '}', [&] {
            const std::string name = read_string();
            expect(':');
            f(name);
        });
    }

    void skip_value() {
        switch (peek()) {
            case '{':
                each_member([this](const std::string&) { skip_value(); });
                break;
            case '[':
                each_element([this] { skip_value(); });
                break;
            case '"':
                (void)read_string();
                break;
            default:
                (void)read_plain();
        }
    }

    std::string_view text_;
    std::size_t at_ = 0;
    int depth_ = 0;
};

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string_view trim(std::string_view text) {
    while (text.ends_with(' '))
        text.remove_suffix(1);
    while (text.starts_with(' '))
        text.remove_prefix(1);
    return text;
}

}  // namespace

std::optional<MemberPath> MemberPath::parse(std::string_view text) {
    text = trim(text);
    if (!text.starts_with('$'))
        return std::nullopt;
    text.remove_prefix(1);
    MemberPath path;
    while (!text.empty()) {
        if (!text.starts_with('.'))
            return std::nullopt;
        text.remove_prefix(1);
        const bool quoted = text.starts_with('"');
        if (quoted)
            text.remove_prefix(1);
        std::size_t end = 0;
        while (end < text.size() &&
               (quoted ? text[end] != '"' && text[end] != '\\' : is_name_character(text[end])))
            ++end;
        if (end == 0 || (quoted && (end == text.size() || text[end] != '"')) || (!quoted && text[0] <= '9'))
            return std::nullopt;
        path.members_.emplace_back(text.substr(0, end));
        text.remove_prefix(end + (quoted ? 1 : 0));
    }
    return path;
}

std::optional<MemberPath> MemberPath::of_array(std::string_view path) {
    const std::size_t brackets = path.find("[*]");
    if (brackets == std::string_view::npos)
        return std::nullopt;
    return parse(path.substr(0, brackets));
}

std::optional<std::size_t> count_elements(std::string_view json, const MemberPath& path) {
    const auto value = Scanner(json).find(path.members());
    if (!value || !value->starts_with('['))
        return std::nullopt;
    return Scanner(*value).count_array();
}

std::optional<std::string> scalar_at(std::string_view json, const MemberPath& path) {
    const auto value = Scanner(json).find(path.members());
    if (!value || value->empty())
        return std::nullopt;
    Scanner scanner(*value);
    const char first = scanner.peek();
    if (first == '"')
        return scanner.read_string();
    if (first == '-' || (first >= '0' && first <= '9'))
        return std::string(scanner.read_plain());
    return std::nullopt;
}

}  // namespace rolecall::provider
