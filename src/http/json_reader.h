// Reads a JSON text from its beginning to its end, value by value, without making a tree of it. What is not
// JSON (RFC 8259) is an Error RC104; what is JSON, and no database can hold, is for the caller to judge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace rolecall::http {

class JsonReader {
 public:
    /// What a string holds.
    enum class Text {
        fine,
        half,      ///< half of a surrogate pair, or a zero character: no text at all
        not_utf8,  ///< bytes that are not UTF-8
    };

    /// `meanwhile` is called now and then, and may throw.
    explicit JsonReader(std::string_view text, std::function<void()> meanwhile = {})
        : text_(text), meanwhile_(std::move(meanwhile)) {}

    /// The first character of what comes next. There must be something.
    char peek();

    /// Is nothing left but spaces?
    bool at_end();

    /// Passes by a value, of any depth; it is returned as it stands.
    std::string_view skip_value();

    /// Reads a string; `value` is its text, in UTF-8, where it is fine.
    Text read_string(std::string& value);

    /// A number, true, false or null.
    std::string_view read_plain();

    /// An object: calls f(name, what the name is) at each member's value, which f must read or skip.
    template <typename F>
    void each_member(F&& f) {
        each('{', '}', [&] {
            std::string name;
            const Text text = read_string(name);
            expect(':');
            f(name, text);
        });
    }

    /// An array; likewise f() at each element.
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
