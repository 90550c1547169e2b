#include "http/json_scan.h"

#include <span>

#include "core/error.h"
#include "http/json_reader.h"

namespace rolecall::http {

namespace {

// Returns the text of the value at the path, with `is_there` set. If the path leads through a value that is
// not an object, returns that value's text instead. Returns nullopt if a member is missing. If a member
// occurs twice, the last one counts, as in jsonb.
std::optional<std::string_view> find(JsonReader& reader, std::span<const std::string> path, bool& is_there) {
    is_there = path.empty();
    if (is_there || reader.peek() != '{')
        return reader.skip_value();
    std::optional<std::string_view> found;
    reader.each_member([&](const std::string& name, JsonReader::Text text) {
        if (text == JsonReader::Text::fine && name == path.front())
            found = find(reader, path.subspan(1), is_there);
        else
            (void)reader.skip_value();
    });
    return found;
}

std::optional<std::string_view> find(std::string_view json, const MemberPath& path, bool& is_there) {
    JsonReader reader(json);
    return find(reader, path.members(), is_there);
}

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
    bool is_there = false;
    const auto value = find(json, path, is_there);
    if (!value || !is_there || !value->starts_with('['))
        return std::nullopt;
    std::size_t count = 0;
    JsonReader reader(*value);
    reader.each_element([&] {
        (void)reader.skip_value();
        ++count;
    });
    return count;
}

std::optional<std::string> scalar_at(std::string_view json, const MemberPath& path) {
    bool is_there = false;
    const auto value = find(json, path, is_there);
    if (!value || *value == "null")
        return std::nullopt;
    JsonReader reader(*value);
    const char first = is_there ? reader.peek() : '\0';
    if (first == '"') {
        std::string text;
        if (reader.read_string(text) != JsonReader::Text::fine)
            throw Error("RC104", "a page cannot be read", "It holds what is no text.");
        return text;
    }
    if (first == '-' || (first >= '0' && first <= '9'))
        return std::string(reader.read_plain());
    throw Error("RC104", "a page cannot be read",
                "What is to name the next page is neither text nor a number.",
                "Correct cursor_path if it is wrong.");
}

}  // namespace rolecall::http
