// Reads a JSON text sequentially, value by value, without building a tree. Throws Error RC104 if the text is
// not JSON (RFC 8259). JSON values that a database cannot store are not errors here; the caller handles them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace rolecall::http {

class JsonReader {
 public:
    /// The validity of a string.
    enum class Text {
        fine,
        half,      ///< contains half of a surrogate pair, or a zero character
        not_utf8,  ///< is not valid UTF-8
    };

    /// `meanwhile` is called regularly, and may throw.
    explicit JsonReader(std::string_view text, std::function<void()> meanwhile = {})
        : text_(text), meanwhile_(std::move(meanwhile)) {}

    /// Returns the first character of the next token without consuming it. Throws at the end of the text.
    char peek();

    /// Returns whether only white space is left.
    bool at_end();

    /// Skips a value of any depth, and returns its text.
    std::string_view skip_value();

    /// Reads a string. `value` is its content in UTF-8 if the result is `fine`.
    Text read_string(std::string& value);

    /// Reads a number, true, false or null, and returns its text.
    std::string_view read_plain();

    /// Reads an object. Calls f(name, validity of the name) for each member; f must read or skip the value.
    template <typename F>
    void each_member(F&& f) {
        each('{', '}', [&] {
            std::string name;
            const Text text = read_string(name);
            expect(':');
            f(name, text);
        });
    }

    /// Reads an array. Calls f() for each element, which f must read or skip.
    template <typename F>
    void each_element(F&& f) {
        each('[', ']', f);
    }

 private:
    char next();
    void expect(char c);
    std::uint32_t read_hex();
    bool read_escape(std::string& value);
    void skip_string();
    void skip_name();
    bool more(char close);

    template <typename F>
    void each(char open, char close, F&& f) {
        expect(open);
        if (peek() == close) {
            ++at_;
            return;
        }
        do
            f();
        while (more(close));
    }

    std::string_view text_;
    std::function<void()> meanwhile_;
    std::size_t at_ = 0;
    unsigned steps_ = 0;
};

}  // namespace rolecall::http
