#include "provider/options.h"

#include "core/error.h"
#include "http/url.h"
#include "pg/function.h"
#include "pg/guard.h"

extern "C" {
#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "utils/guc.h"
#include "utils/jsonpath.h"
#include "utils/timestamp.h"
}

namespace rolecall::provider {

namespace {

using Check = void (*)(const std::string& value);

constexpr std::int64_t longest_interval = std::int64_t{3660} * 86'400'000;  // milliseconds

// ---- What values are valid
// ---------------------------------------------------------------------------------

[[noreturn]] void invalid(const std::string& message, const std::string& hint = {}) {
    throw Error("22023", message, {}, hint);
}

// PostgreSQL's own complaint about a value becomes the detail of ours.
template <typename F>
auto parse(const char* what, F&& f) {
    try {
        return pg::call(f);
    } catch (const pg::PgError& error) {
        const std::string detail = error.what();
        invalid(std::string("invalid ") + what + ": " + detail);
    }
}

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

bool has_control_character(const std::string& value) {
    return std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; });
}

// It becomes part of a header.
void check_secret(const std::string& value) {
    check_not_empty(value);
    if (has_control_character(value))
        invalid("the value cannot hold line ends or other control characters");
}

void check_username(const std::string& value) {
    check_secret(value);
    if (value.find(':') != std::string::npos)  // RFC 7617: what follows would be the password
        invalid("a user name cannot hold a colon");
}

void check_kind(const std::string& value) {
    if (value != "json" && value != "accred")
        invalid("unknown kind of provider: \"" + value + "\"", "Kinds are json and accred.");
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

// What is added to a time must leave it a time; none at all would have everybody asked for all the time.
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

// Credentials have options of their own; the rest would break the request.
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

bool is_number(const std::string& value, int least) {
    return !value.empty() && value.size() <= 5 &&
           value.find_first_not_of("0123456789") == std::string::npos && std::stoi(value) >= least;
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

// It becomes part of an address as it stands.
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

// ---- What there is
// -----------------------------------------------------------------------------------------

struct Option {
    const char* name;
    Oid catalog;
    Check check;
    const char* json;    // the preset of kind 'json', nullptr when there is none
    const char* accred;  // of kind 'accred'
};

// Strict: for an authorization without a state, or with another thing there, it is unknown.
constexpr const char* accred_roles = R"($.authorizations[*] ? (@.state like_regex "^active$" flag "i"))";
constexpr const char* accred_roles_request =
    "/authorizations?persid={subject}&state=active&expand=0&type=right";

// In alphabetical order.
constexpr Option options[] = {
    {"active_path", ForeignServerRelationId, check_strict_path, nullptr, nullptr},
    {"active_window", ForeignServerRelationId, check_interval, nullptr, nullptr},
    {"auth", ForeignServerRelationId, check_auth, "none", "none"},
    {"base_url", ForeignServerRelationId, check_base_url, nullptr, nullptr},
    {"ca_file", ForeignServerRelationId, check_file, nullptr, nullptr},
    {"connect_timeout", ForeignServerRelationId, check_timeout, nullptr, nullptr},
    {"cursor_path", ForeignServerRelationId, check_cursor_path, "$.next", "$.next"},
    {"display_name_path", ForeignServerRelationId, check_path, "$.display_name", "$.display"},
    {"email_path", ForeignServerRelationId, check_path, "$.email", "$.email"},
    {"event_path", ForeignServerRelationId, check_strict_path, "$", "$"},
    {"first_page", ForeignServerRelationId, check_first_page, "1", "1"},
    {"function_path", ForeignServerRelationId, check_path, "$.function", "$.position"},
    {"headers", ForeignServerRelationId, check_headers, nullptr, nullptr},
    {"headers", UserMappingRelationId, check_headers, nullptr, nullptr},
    {"kind", ForeignServerRelationId, check_kind, "json", "accred"},
    {"list_paging", ForeignServerRelationId, check_paging, "none", "none"},
    {"list_request_path", ForeignServerRelationId, check_list_path, nullptr, nullptr},
    {"max_in_flight", ForeignServerRelationId, check_count, nullptr, nullptr},
    {"max_list_size", ForeignServerRelationId, check_size, "256MB", "256MB"},
    {"max_pages", ForeignServerRelationId, check_count, "1000", "1000"},
    {"max_revocation", ForeignServerRelationId, check_share, "20%", "20%"},
    {"max_revocation_users", ForeignServerRelationId, check_count, "10", "10"},
    {"max_roles", ForeignServerRelationId, check_count, "10000", "10000"},
    {"max_staleness", ForeignServerRelationId, check_interval, nullptr, nullptr},
    {"on_not_found", ForeignServerRelationId, check_on_not_found, "keep", "keep"},
    {"page_parameter", ForeignServerRelationId, check_parameter, nullptr, nullptr},
    {"paging", ForeignServerRelationId, check_paging, "none", "none"},
    {"password", UserMappingRelationId, check_secret, nullptr, nullptr},
    {"protected_roles", ForeignServerRelationId, check_names, nullptr, nullptr},
    {"proxy", ForeignServerRelationId, check_proxy, "none", "none"},
    {"rate_limit", ForeignServerRelationId, check_rate, nullptr, nullptr},
    {"request_path", ForeignServerRelationId, http::check_request_path, "/users/{subject}",
     "/persons/{subject}"},
    {"request_timeout", ForeignServerRelationId, check_timeout, nullptr, nullptr},
    {"revocation_window", ForeignServerRelationId, check_window, "1 day", "1 day"},
    {"role_path", ForeignServerRelationId, check_path, "$.role", "$.name"},
    {"roles_path", ForeignServerRelationId, check_strict_path, "$.roles[*]", accred_roles},
    {"roles_request_path", ForeignServerRelationId, http::check_request_path, nullptr, accred_roles_request},
    {"scope_absent", ForeignServerRelationId, check_scope_absent, "error", "skip"},
    {"scope_id_path", ForeignServerRelationId, check_path, nullptr, "$.reason.resource.cf"},
    {"scope_kind_path", ForeignServerRelationId, check_path, nullptr, nullptr},
    {"secret_file", ForeignServerRelationId, check_file, nullptr, nullptr},
    {"subject_path", ForeignServerRelationId, check_path, "$.code", "$.id"},
    {"sync_scope", ForeignServerRelationId, check_scope, nullptr, nullptr},
    {"sync_ttl", ForeignServerRelationId, check_interval, nullptr, nullptr},
    {"token", UserMappingRelationId, check_secret, nullptr, nullptr},
    {"total_path", ForeignServerRelationId, check_path, nullptr, nullptr},
    {"unknown_roles", ForeignServerRelationId, check_unknown_roles, "create", "create"},
    {"username", UserMappingRelationId, check_username, nullptr, nullptr},
    {"users_path", ForeignServerRelationId, check_strict_path, "$.users[*]", "$.users[*]"},
};

std::string names_for(Oid catalog) {
    std::string names;
    for (const Option& option : options)
        if (option.catalog == catalog)
            names += (names.empty() ? "" : ", ") + std::string(option.name);
    return names;
}

const Option& option_for(const std::string& name, Oid catalog) {
    for (const Option& option : options)
        if (option.catalog == catalog && name == option.name)
            return option;
    const std::string names = names_for(catalog);
    throw Error("HV00D", "invalid option \"" + name + "\"", {},
                names.empty() ? "There are no valid options in this context."
                              : "Valid options in this context are: " + names + ".");
}

std::map<std::string, std::string> to_map(List* list) {
    std::map<std::string, std::string> map;
    ListCell* cell = nullptr;
    foreach (cell, list) {
        auto* element = static_cast<DefElem*>(lfirst(cell));
        map[element->defname] = pg::call([&] { return defGetString(element); });
    }
    return map;
}

// What paging needs of other options.
void check_paging_of(const Options& server, const char* paging, const char* items) {
    using Style = http::Paging::Style;
    const Style style = paging_style(server.get(paging));
    if ((style == Style::page || style == Style::offset) && !http::MemberPath::of_array(server.get(items)))
        invalid("paging by \"" + server.get(paging) + "\" needs a " + items + " that begins with an array",
                "For example $.data.roles[*]: the last page is the one on which that array is empty.");
}

void validate(const std::map<std::string, std::string>& given, Oid catalog) {
    for (const auto& [name, value] : given) {
        const Option& option = option_for(name, catalog);
        try {
            option.check(value);
        } catch (const Error& error) {
            const char* s = error.sqlstate();
            const char state[6] = {s[0], s[1], s[2], s[3], s[4], '\0'};
            throw Error(state, "invalid value for option \"" + name + "\": " + error.message(),
                        error.detail(), error.hint());
        }
    }
    if (catalog == ForeignServerRelationId && !given.contains("base_url"))
        throw Error("HV00J", "option \"base_url\" is required", {},
                    "For example OPTIONS (kind 'json', base_url 'https://hr.example.org/api').");
    if (catalog == ForeignServerRelationId)
        for (const auto& [paging, items] :
             {std::pair{"paging", "roles_path"}, std::pair{"list_paging", "users_path"}})
            check_paging_of(Options::of_server(given), paging, items);
}

}  // namespace

http::Paging::Style paging_style(const std::string& name) {
    using Style = http::Paging::Style;
    for (const auto& [style, its_name] :
         {std::pair{Style::none, "none"}, std::pair{Style::link, "link"}, std::pair{Style::page, "page"},
          std::pair{Style::offset, "offset"}, std::pair{Style::cursor, "cursor"}})
        if (name == its_name)
            return style;
    invalid("unknown paging: \"" + name + "\"", "Use none, link, page, offset or cursor.");
}

http::Paging paging_of(const Options& server, const char* style, const std::string& items_path) {
    http::Paging paging;
    paging.style = paging_style(server.get(style));
    paging.parameter = server.has("page_parameter") ? server.get("page_parameter") : server.get(style);
    paging.first = std::stoi(server.get("first_page"));
    paging.items = http::MemberPath::of_array(items_path).value_or(http::MemberPath());
    paging.cursor = http::MemberPath::parse(server.get("cursor_path")).value_or(http::MemberPath());
    paging.most_pages = std::stoi(server.get("max_pages"));
    return paging;
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

Options Options::of_server(List* list) { return of_server(to_map(list)); }

Options Options::of_server(std::map<std::string, std::string> given) {
    Options result;
    result.given_ = std::move(given);
    const bool accred = result.get("kind") == "accred";
    for (const Option& option : options) {
        const char* value = accred ? option.accred : option.json;
        if (value != nullptr && option.catalog == ForeignServerRelationId)
            result.preset_[option.name] = value;
    }
    return result;
}

Options Options::of_mapping(List* list) {
    Options result;
    result.given_ = to_map(list);
    return result;
}

std::string Options::get(const char* name) const {
    for (const auto* map : {&given_, &preset_})
        if (const auto it = map->find(name); it != map->end())
            return it->second;
    return {};
}

std::int64_t Options::milliseconds(const char* name) const { return parse_milliseconds(get(name)); }

std::int64_t Options::seconds(const char* name) const {
    return std::clamp<std::int64_t>(milliseconds(name) / 1000, 1, longest_interval / 1000);
}

std::size_t Options::bytes(const char* name) const { return std::size_t{1024} * parse_kilobytes(get(name)); }

double Options::share(const char* name) const { return std::stoi(get(name)) / 100.0; }

}  // namespace rolecall::provider

using namespace rolecall;

extern "C" {

// provider_validator(options text[], catalog oid): the wrapper's VALIDATOR.
ROLECALL_FUNCTION(rolecall_provider_validator, pg::takes(VOIDOID, TEXTARRAYOID, OIDOID)) {
    return pg::guarded([&]() -> Datum {
        List* list = pg::call([&] { return untransformRelOptions(PG_GETARG_DATUM(0)); });
        const auto given = provider::to_map(list);
        provider::validate(given, PG_GETARG_OID(1));
        PG_RETURN_VOID();
    });
}

}  // extern "C"
