#include "http/json_prune.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/error.h"
#include "http/json_reader.h"

namespace rolecall::http {

namespace {

constexpr int most_depth = 1000;
constexpr std::size_t most_digits = 1000;

const core::JsonShape& whole_shape() {
    static const core::JsonShape whole{.value = true, .whole = true};
    return whole;
}

void append_string(std::string& to, std::string_view text) {
    constexpr std::string_view hex = "0123456789abcdef";
    to += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            to += '\\';
            to += c;
        } else if (static_cast<unsigned char>(c) < ' ') {
            to += "\\u00";
            to += hex[static_cast<unsigned char>(c) >> 4];
            to += hex[c & 15];
        } else {
            to += c;
        }
    }
    to += '"';
}

bool is_small_number(std::string_view number) {
    if (number.size() > most_digits)
        return false;
    const std::size_t e = number.find_first_of("eE");
    if (e == std::string_view::npos)
        return true;
    number.remove_prefix(e + 1);
    if (number.starts_with('+'))
        number.remove_prefix(1);
    int exponent = 0;
    const auto result = std::from_chars(number.data(), number.data() + number.size(), exponent);
    return result.ec == std::errc() && exponent >= -static_cast<int>(most_digits) &&
           exponent <= static_cast<int>(most_digits);
}

class Pruner {
 public:
    Pruner(std::string_view json, const std::function<bool(std::string_view)>& can_hold,
           const PruneLimits& limits)
        : reader_(json, limits.meanwhile), can_hold_(can_hold), limits_(limits) {}

    Pruned run(const core::JsonShape& shape) {
        value(shape);
        if (!reader_.at_end())
            throw Error("RC104", "a page cannot be read", "It is not JSON.");
        return std::move(out_);
    }

 private:
    void value(const core::JsonShape& shape) {
        const char c = reader_.peek();
        if ((c == '{' || c == '[') && depth_ >= most_depth) {
            (void)reader_.skip_value();
            odd(Oddity::too_deep, out_.json.size());
            return;
        }
        ++depth_;
        if (c == '{')
            object(shape);
        else if (c == '[')
            array(shape);
        else if (c == '"')
            text(shape.value || shape.whole);
        else
            plain(shape.value || shape.whole);
        --depth_;
    }

    // Replaces the output since `start` by an odd value.
    void odd(Oddity oddity, std::size_t start) {
        out_.json.resize(start);
        out_.json += "{\"";
        out_.json += odd_member;
        out_.json += "\":" + std::to_string(static_cast<int>(oddity)) + "}";
        ++out_.oddities;
    }

    void object(const core::JsonShape& shape) {
        const std::size_t start = out_.json.size();
        std::set<std::string> seen;
        Oddity oddity = Oddity::none;
        bool has_more = false;
        if (shape.counts_anew)
            counted_ = 0;
        const auto note = [&](Oddity what) {
            if (oddity == Oddity::none)
                oddity = what;
        };
        out_.json += '{';
        reader_.each_member([&](const std::string& name, JsonReader::Text text) {
            const Oddity name_is = oddity_of(text, name);
            const auto member = shape.members.find(name);
            if (!shape.whole && (name_is != Oddity::none || member == shape.members.end())) {
                (void)reader_.skip_value();
                has_more = true;
                return;
            }
            if (shape.whole && is_full()) {
                (void)reader_.skip_value();
                note(Oddity::too_large_whole);
                return;
            }
            if (name_is != Oddity::none)
                note(name_is);
            else if (!seen.insert(name).second)
                note(Oddity::twice);
            out_.json += out_.json.size() > start + 1 ? "," : "";
            append_string(out_.json, name);
            out_.json += ':';
            value(shape.whole ? whole_shape() : member->second);
        });
        if (has_more && shape.marks_more) {
            out_.json += out_.json.size() > start + 1 ? ",\"" : "\"";
            out_.json += more_member;
            out_.json += "\":0";
        }
        out_.json += '}';
        if (oddity != Oddity::none)
            odd(oddity, start);
    }

    void array(const core::JsonShape& shape) {
        const std::size_t start = out_.json.size();
        bool first = true;
        Oddity oddity = Oddity::none;
        out_.json += '[';
        reader_.each_element([&] {
            if (shape.counted && ++counted_ > limits_.counted)
                oddity = Oddity::too_many;
            else if (is_full() && oddity == Oddity::none)
                oddity = Oddity::too_large_whole;
            if (oddity != Oddity::none) {
                (void)reader_.skip_value();
                return;
            }
            out_.json += first ? "" : ",";
            first = false;
            value(shape);
        });
        out_.json += ']';
        if (oddity != Oddity::none)
            odd(oddity, start);
    }

    // Counts a value that the shape does not name one by one. Returns whether the limit is exceeded.
    bool is_full() { return ++values_ > limits_.values; }

    void text(bool is_read) {
        std::string text;
        const JsonReader::Text kind = reader_.read_string(text);
        if (!is_read)
            out_.json += "\"\"";
        else if (const Oddity oddity = oddity_of(kind, text); oddity != Oddity::none)
            odd(oddity, out_.json.size());
        else
            append_string(out_.json, text);
    }

    void plain(bool is_read) {
        const std::string_view token = reader_.read_plain();
        const bool is_number = token[0] == '-' || (token[0] >= '0' && token[0] <= '9');
        if (is_number && !is_read)
            out_.json += '0';
        else if (is_number && !is_small_number(token))
            odd(Oddity::too_large, out_.json.size());
        else
            out_.json += token;
    }

    Oddity oddity_of(JsonReader::Text kind, const std::string& text) const {
        if (kind == JsonReader::Text::half)
            return Oddity::half;
        if (kind == JsonReader::Text::not_utf8)
            return Oddity::not_utf8;
        const bool is_ascii = std::all_of(text.begin(), text.end(),
                                          [](char c) { return static_cast<unsigned char>(c) < 0x80; });
        return is_ascii || can_hold_(text) ? Oddity::none : Oddity::unrepresentable;
    }

    JsonReader reader_;
    const std::function<bool(std::string_view)>& can_hold_;
    const PruneLimits& limits_;
    Pruned out_;
    int depth_ = 0;
    std::size_t counted_ = 0;
    std::size_t values_ = 0;
};

}  // namespace

const char* to_string(Oddity oddity) {
    switch (oddity) {
        case Oddity::none:
            break;
        case Oddity::twice:
            return "An object of the response names a member twice.";
        case Oddity::half:
            return "A text of the response holds half of a character, or a zero character.";
        case Oddity::not_utf8:
            return "A text of the response is not UTF-8.";
        case Oddity::unrepresentable:
            return "A text of the response cannot be represented in the database's encoding.";
        case Oddity::too_large:
            return "A number of the response is too large.";
        case Oddity::too_deep:
            return "The response is nested too deeply.";
        case Oddity::too_many:
            return "The response has too many roles.";
        case Oddity::too_large_whole:
            return "The response has too many values.";
    }
    return "A value of the response cannot be held.";
}

Pruned prune_json(std::string_view json, const core::JsonShape& shape,
                  const std::function<bool(std::string_view)>& can_hold, const PruneLimits& limits) {
    return Pruner(json, can_hold, limits).run(shape);
}

}  // namespace rolecall::http
