#include "provider/option_checks.h"

#include "core/error.h"
#include "http/url.h"
#include "pg/guard.h"

extern "C" {
#include "utils/guc.h"
#include "utils/jsonpath.h"
#include "utils/timestamp.h"
}

namespace rolecall::provider {

namespace {

// Makes PostgreSQL's message about a value the detail of ours.
template <typename F>
auto parse(const char* what, F&& f) {
    try {
        return pg::call(f);
    } catch (const pg::PgError& error) {
        const std::string detail = error.what();
        invalid(std::string("invalid ") + what + ": " + detail);
    }
}

bool has_control_character(const std::string& value) {
    return std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; });
}

bool is_number(const std::string& value, int least) {
    return !value.empty() && value.size() <= 5 &&
           value.find_first_not_of("0123456789") == std::string::npos && std::stoi(value) >= least;
}

}  // namespace

void invalid(const std::string& message, const std::string& hint) { throw Error("22023", message, {}, hint); }

std::int64_t parse_milliseconds(const std::string& text) {
    const auto* interval = parse("interval", [&] {
        return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text.c_str()),
                                                     ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
    });
    const std::int64_t days = std::int64_t{interval->month} * DAYS_PER_MONTH + interval->day;
    return days * (USECS_PER_DAY / 1000) + interval->time / 1000;
}

void check_not_empty(const std::string& value) {
    if (value.empty())
        invalid("the value cannot be empty");
}

// The value becomes part of a header.
void check_secret(const std::string& value) {
    check_not_empty(value);
    if (has_control_character(value))
        invalid("the value cannot hold line ends or other control characters");
}

void check_username(const std::string& value) {
    check_secret(value);
    if (value.find(':') != std::string::npos)  // RFC 7617: the password would begin there
        invalid("a user name cannot hold a colon");
}

void check_auth(const std::string& value) {
    if (value != "none" && value != "basic" && value != "bearer")
        invalid("unknown authentication: \"" + value + "\"", "Use none, basic or bearer.");
}

void check_base_url(const std::string& value) { (void)http::check_base_url(value); }

void check_proxy(const std::string& value) {
    if (value != "none" && value != "environment")
        (void)http::check_base_url(value);
}

// The sum of a time and an interval must be a valid time. Without a minimum, all users would be due all the
// time.
void check_interval(const std::string& value) {
    const std::int64_t ms = parse_milliseconds(value);
    if (ms < 1000 || ms > longest_interval)
        invalid("the interval must lie between 1 second and 10 years");
}

void check_scope(const std::string& value) {
    if (value != "all" && value != "active")
        invalid("unknown scope: \"" + value + "\"", "Use all or active.");
}

void check_timeout(const std::string& value) {
    const std::int64_t ms = parse_milliseconds(value);
    if (ms < 1 || ms > 3'600'000)
        invalid("a timeout must lie between 1 ms and 1 hour");
}

void check_path(const std::string& value) {
    (void)parse("jsonpath", [&] { return DirectFunctionCall1(jsonpath_in, CStringGetDatum(value.c_str())); });
}

void check_strict_path(const std::string& value) {
    if (value.starts_with("lax ") || value.starts_with("strict "))
        invalid("the mode of this path cannot be chosen",
                "It is always strict: an answer without the member must differ from one where it is empty.");
    check_path(value);
}

void check_file(const std::string& value) {
    if (!pg::call([] { return superuser(); }))
        throw Error("42501", "only superusers may set it", "The server reads files that others may not.");
    check_not_empty(value);
    if (!is_absolute_path(value.c_str()))
        invalid("the path must be absolute");
}

// Other options hold the credentials. The other excluded headers would break the request.
void check_headers(const std::string& value) {
    constexpr std::string_view token =
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (const std::string& line : split_headers(value)) {
        const std::size_t colon = line.find(':');
        if (colon == 0 || colon == std::string::npos || line.find_first_not_of(token) != colon)
            invalid("a line is not \"Name: value\"", "Separate headers by newlines.");
        if (has_control_character(line))
            invalid("a header holds a control character");
        for (const char* ours :
             {"Authorization", "If-None-Match", "If-Modified-Since", "Host", "Content-Length",
              "Transfer-Encoding", "Connection", "Accept", "Accept-Encoding", "TE", "Upgrade", "Expect"})
            if (pg_strcasecmp(line.substr(0, colon).c_str(), ours) == 0)
                invalid(std::string("header ") + ours + " cannot be set",
                        "For credentials use auth and the user mapping.");
    }
}

void check_list_path(const std::string& value) {
    if (!value.starts_with('/') || value.find_first_of("{}# ") != std::string::npos ||
        std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c >= 0x7f; }))
        invalid("it must start with a slash, and have neither spaces nor a fragment",
                "For example /users?per_page=500.");
}

void check_window(const std::string& value) {
    const std::int64_t ms = parse_milliseconds(value);
    if (ms < 60'000 || ms > std::int64_t{366} * 86'400'000)
        invalid("a window must lie between 1 minute and 1 year");
}

void check_share(const std::string& value) {
    const std::size_t digits = value.find_first_not_of("0123456789");
    if (digits == 0 || digits > 3 || value.substr(std::min(digits, value.size())) != "%" ||
        std::stoi(value) > 100)
        invalid("the value must be a whole percentage from 0% to 100%");
}

int parse_kilobytes(const std::string& value) {
    int kilobytes = 0;
    const char* hint = nullptr;
    if (!pg::call([&] { return parse_int(value.c_str(), &kilobytes, GUC_UNIT_KB, &hint); }) || kilobytes < 64)
        invalid("the value must be a size from 64kB to 2TB", "Units are B, kB, MB, GB and TB.");
    return kilobytes;
}

void check_size(const std::string& value) { (void)parse_kilobytes(value); }

void check_scope_absent(const std::string& value) {
    if (value != "error" && value != "skip" && value != "global")
        invalid("unknown way to treat roles without a scope: \"" + value + "\"",
                "Use error, skip or global.");
}

void check_unknown_roles(const std::string& value) {
    if (value != "create" && value != "skip" && value != "error")
        invalid("unknown way to treat unknown roles: \"" + value + "\"", "Use create, skip or error.");
}

void check_on_not_found(const std::string& value) {
    if (value != "keep" && value != "revoke" && value != "deactivate")
        invalid("unknown way to treat users who are not found: \"" + value + "\"",
                "Use keep, revoke or deactivate.");
}

void check_names(const std::string& value) {
    if (split_list(value).empty())
        invalid("the list names nothing", "Separate names by commas.");
}

void check_count(const std::string& value) {
    if (!is_number(value, 1))
        invalid("the value must be a number from 1 to 99999");
}

void check_rate(const std::string& value) {
    const double rate = parse("number", [&] {
        return DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(value.c_str())));
    });
    if (!(rate >= 0.001 && rate <= 1e6) && rate != 0)
        invalid("the value must be 0 (no limit) or a number from 0.001 to 1000000");
}

void check_first_page(const std::string& value) {
    if (!is_number(value, 0))
        invalid("the value must be a number from 0 to 99999");
}

void check_paging(const std::string& value) { (void)paging_style(value); }

// The value is inserted into URLs without escaping.
void check_parameter(const std::string& value) {
    constexpr std::string_view letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~$[]";
    if (value.empty() || value.find_first_not_of(letters) != std::string::npos)
        invalid("it is not the name of a query parameter");
}

void check_cursor_path(const std::string& value) {
    if (!http::MemberPath::parse(value))
        invalid("the path must consist of members", "For example $.meta.next.");
}

// ---- Values of more than one word

http::Paging::Style paging_style(const std::string& name) {
    using Style = http::Paging::Style;
    for (const auto& [style, its_name] :
         {std::pair{Style::none, "none"}, std::pair{Style::link, "link"}, std::pair{Style::page, "page"},
          std::pair{Style::offset, "offset"}, std::pair{Style::cursor, "cursor"}})
        if (name == its_name)
            return style;
    invalid("unknown paging: \"" + name + "\"", "Use none, link, page, offset or cursor.");
}

std::vector<std::string> split_headers(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t start = 0; start < text.size();) {
        const std::size_t end = std::min(text.find('\n', start), text.size());
        std::string line = text.substr(start, end - start);
        if (line.ends_with('\r'))
            line.pop_back();
        if (!line.empty())
            lines.push_back(std::move(line));
        start = end + 1;
    }
    return lines;
}

std::vector<std::string> split_list(const std::string& text) {
    constexpr const char* spaces = " \t\r\n";
    std::vector<std::string> names;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t end = std::min(text.find(',', start), text.size());
        const std::string part = text.substr(start, end - start);
        const std::size_t first = part.find_first_not_of(spaces);
        if (first != std::string::npos)
            names.push_back(part.substr(first, part.find_last_not_of(spaces) - first + 1));
        start = end + 1;
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

}  // namespace rolecall::provider
