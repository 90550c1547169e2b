#include "http/pager.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "http/url.h"

namespace rolecall::http {

namespace {

[[noreturn]] void refuse(const std::string& detail, const std::string& hint = {}) {
    throw Error("RC104", "the pages of an answer cannot be followed", detail, hint);
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// Returns the text up to the next separator outside quotes, trimmed, and removes it from `text`. The
// separator stays.
std::string_view take(std::string_view& text, std::string_view separators) {
    bool quoted = false;
    std::size_t end = 0;
    for (; end < text.size(); ++end) {
        if (text[end] == '"')
            quoted = !quoted;
        else if (quoted && text[end] == '\\')
            ++end;
        else if (!quoted && separators.find(text[end]) != std::string_view::npos)
            break;
    }
    end = std::min(end, text.size());
    const std::string_view taken = text.substr(0, end);
    text.remove_prefix(end);
    return trim(taken);
}

// Returns whether a link parameter is a rel with the type next, such as rel=next or rel="prev next".
bool says_next(std::string_view parameter) {
    const std::size_t equals = parameter.find('=');
    if (equals == std::string_view::npos || !equal_ignoring_case(trim(parameter.substr(0, equals)), "rel"))
        return false;
    std::string_view value = trim(parameter.substr(equals + 1));
    if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"'))
        value = value.substr(1, value.size() - 2);
    while (!value.empty()) {
        const std::size_t end = std::min(value.find(' '), value.size());
        if (equal_ignoring_case(value.substr(0, end), "next"))
            return true;
        value.remove_prefix(std::min(end + 1, value.size()));
    }
    return false;
}

bool is_address(std::string_view cursor) {
    return cursor.starts_with("http://") || cursor.starts_with("https://");
}

}  // namespace

std::optional<std::string> next_link(std::string_view header) {
    while (true) {
        const std::size_t open = header.find('<');
        if (open == std::string_view::npos)
            return std::nullopt;
        header.remove_prefix(open + 1);
        const std::size_t close = header.find('>');
        if (close == std::string_view::npos)
            return std::nullopt;
        const std::string_view target = trim(header.substr(0, close));
        header.remove_prefix(close + 1);
        bool is_next = false;
        (void)take(header, ";,");
        while (header.starts_with(';')) {
            header.remove_prefix(1);
            is_next |= says_next(take(header, ";,"));
        }
        if (is_next && !target.empty())
            return std::string(target);
    }
}

Pager::Pager(Request first, Paging paging)
    : paging_(std::move(paging)), first_url_(first.url), request_(std::move(first)) {
    if (paging_.style == Paging::Style::page)
        request_.url = with_parameter(first_url_, paging_.parameter, std::to_string(paging_.first));
    else if (paging_.style == Paging::Style::offset)
        request_.url = with_parameter(first_url_, paging_.parameter, "0");
    seen_.insert(request_.url);
}

bool Pager::advance(const Completion& page) {
    ++pages_;
    std::optional<std::string> next = next_url(page);
    if (!next)
        return false;
    if (pages_ >= paging_.most_pages)
        refuse("There are more than " + std::to_string(paging_.most_pages) + " pages.",
               "Raise the option max_pages if that can be right.");
    request_.url = std::move(*next);
    return true;
}

std::optional<std::string> Pager::next_url(const Completion& page) {
    using Style = Paging::Style;
    if (page.status == not_modified)
        return std::nullopt;
    std::optional<std::string> next;
    switch (paging_.style) {
        case Style::none:
            return std::nullopt;
        case Style::link:
            if (const auto target = next_link(page.link))
                next = resolve_url(request_.url, *target);
            else
                return std::nullopt;
            break;
        case Style::cursor: {
            const auto cursor = scalar_at(page.body, paging_.cursor);
            if (!cursor || cursor->empty())
                return std::nullopt;
            next = is_address(*cursor) ? *cursor : with_parameter(first_url_, paging_.parameter, *cursor);
            break;
        }
        case Style::page:
        case Style::offset: {
            const std::size_t items = items_on(page);
            if (items == 0)
                return std::nullopt;
            // A provider that ignores the parameter sends the first page again and again.
            if (page.body == last_body_)
                refuse("Page " + std::to_string(pages_) + " is the same as the one before.",
                       "Correct page_parameter if it is wrong.");
            last_body_ = page.body;
            items_ += items;
            return with_parameter(first_url_, paging_.parameter,
                                  paging_.style == Style::page ? std::to_string(paging_.first + pages_)
                                                               : std::to_string(items_));
        }
    }
    if (!next || !same_origin(first_url_, *next))
        refuse("Page " + std::to_string(pages_) + " names a next page at another host.");
    if (!seen_.insert(*next).second)
        refuse("Page " + std::to_string(pages_) + " names one as the next that was already seen.");
    return next;
}

std::size_t Pager::items_on(const Completion& page) const {
    const auto items = count_elements(page.body, paging_.items);
    if (!items)
        refuse("Page " + std::to_string(pages_) + " has no array where its items should be.");
    return *items;
}

}  // namespace rolecall::http
