#include "core/sql_text.h"

namespace rolecall::core {

namespace {

bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

// Returns the position after the next `end` at or after `at`.
std::size_t behind(std::string_view text, std::string_view end, std::size_t at) {
    const std::size_t found = text.find(end, at);
    return found == std::string_view::npos ? text.size() : found + end.size();
}

std::size_t behind_comment(std::string_view text, std::size_t at) {
    int depth = 1;
    while (at < text.size() && depth > 0) {
        const std::string_view two = text.substr(at, 2);
        const bool is_mark = two == "/*" || two == "*/";
        depth += two == "/*" ? 1 : two == "*/" ? -1 : 0;
        at += is_mark ? 2 : 1;
    }
    return at;
}

std::size_t behind_escaped(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        const bool is_pair = text[at] == '\\' || text.substr(at, 2) == "''";
        if (text[at] == '\'' && !is_pair)
            return at + 1;
        at += is_pair ? 2 : 1;
    }
    return at;
}

// Skips a dollar-quoted string, $tag$ ... $tag$. A dollar that starts none, as in $1, is skipped alone.
std::size_t behind_dollar(std::string_view text, std::size_t at) {
    std::size_t end = at + 1;
    while (end < text.size() && is_name(text[end]))
        ++end;
    const bool is_quote = end < text.size() && text[end] == '$' && (at == 0 || !is_name(text[at - 1])) &&
                          (text[at + 1] < '0' || text[at + 1] > '9');
    return is_quote ? behind(text, text.substr(at, end + 1 - at), end + 1) : at + 1;
}

bool starts_escaped(std::string_view text, std::size_t quote) {
    return quote > 0 && (text[quote - 1] == 'E' || text[quote - 1] == 'e') &&
           (quote == 1 || !is_name(text[quote - 2]));
}

}  // namespace

bool has_ambiguous_string(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const std::string_view two = text.substr(at, 2);
        if (two == "--") {
            at = behind(text, "\n", at);
        } else if (two == "/*") {
            at = behind_comment(text, at + 2);
        } else if (text[at] == '"') {
            at = behind(text, "\"", at + 1);
        } else if (text[at] == '$') {
            at = behind_dollar(text, at);
        } else if (text[at] == '\'' && starts_escaped(text, at)) {
            at = behind_escaped(text, at + 1);
        } else if (text[at] == '\'') {
            const std::size_t end = behind(text, "'", at + 1);
            if (text.substr(at, end - at).find('\\') != std::string_view::npos)
                return true;
            at = end;
        } else {
            ++at;
        }
    }
    return false;
}

}  // namespace rolecall::core
