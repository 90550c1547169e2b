#include "provider/options.h"

#include "core/error.h"
#include "http/url.h"
#include "pg/function.h"
#include "pg/guard.h"
#include "provider/option_checks.h"
#include "provider/presets.h"

extern "C" {
#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
}

namespace rolecall::provider {

namespace {

struct Option {
    const char* name;
    Oid catalog;
    void (*check)(const std::string& value);
    const char* value;  // the default if neither the user nor the kind sets it; nullptr: there is none
};

void check_kind(const std::string& value) {
    if (preset_of(value) != nullptr)
        return;
    std::string kinds;
    for (const Preset& preset : all_presets())
        kinds += (kinds.empty()                      ? ""
                  : &preset == &all_presets().back() ? " and "
                                                     : ", ") +
                 std::string(preset.kind);
    invalid("unknown kind of provider: \"" + value + "\"", "Kinds are " + kinds + ".");
}

// In alphabetical order.
constexpr Option options[] = {
    {"active_path", ForeignServerRelationId, check_strict_path, nullptr},
    {"active_window", ForeignServerRelationId, check_interval, nullptr},
    {"auth", ForeignServerRelationId, check_auth, "none"},
    {"base_url", ForeignServerRelationId, check_base_url, nullptr},
    {"ca_file", ForeignServerRelationId, check_file, nullptr},
    {"connect_timeout", ForeignServerRelationId, check_timeout, nullptr},
    {"cursor_path", ForeignServerRelationId, check_cursor_path, "$.next"},
    {"display_name_path", ForeignServerRelationId, check_path, nullptr},
    {"email_path", ForeignServerRelationId, check_path, "$.email"},
    {"event_path", ForeignServerRelationId, check_strict_path, "$"},
    {"first_page", ForeignServerRelationId, check_first_page, "1"},
    {"function_path", ForeignServerRelationId, check_path, nullptr},
    {"headers", ForeignServerRelationId, check_headers, nullptr},
    {"headers", UserMappingRelationId, check_headers, nullptr},
    {"kind", ForeignServerRelationId, check_kind, "json"},
    {"list_paging", ForeignServerRelationId, check_paging, "none"},
    {"list_request_path", ForeignServerRelationId, check_list_path, nullptr},
    {"max_in_flight", ForeignServerRelationId, check_count, nullptr},
    {"max_list_size", ForeignServerRelationId, check_size, "256MB"},
    {"max_pages", ForeignServerRelationId, check_count, "1000"},
    {"max_revocation", ForeignServerRelationId, check_share, "20%"},
    {"max_revocation_users", ForeignServerRelationId, check_count, "10"},
    {"max_roles", ForeignServerRelationId, check_count, "10000"},
    {"max_staleness", ForeignServerRelationId, check_interval, nullptr},
    {"on_not_found", ForeignServerRelationId, check_on_not_found, "keep"},
    {"page_parameter", ForeignServerRelationId, check_parameter, nullptr},
    {"paging", ForeignServerRelationId, check_paging, "none"},
    {"password", UserMappingRelationId, check_secret, nullptr},
    {"protected_roles", ForeignServerRelationId, check_names, nullptr},
    {"proxy", ForeignServerRelationId, check_proxy, "none"},
    {"rate_limit", ForeignServerRelationId, check_rate, nullptr},
    {"request_path", ForeignServerRelationId, http::check_request_path, nullptr},
    {"request_timeout", ForeignServerRelationId, check_timeout, nullptr},
    {"revocation_window", ForeignServerRelationId, check_window, "1 day"},
    {"role_path", ForeignServerRelationId, check_path, nullptr},
    {"roles_path", ForeignServerRelationId, check_strict_path, nullptr},
    {"roles_request_path", ForeignServerRelationId, http::check_request_path, nullptr},
    {"scope_absent", ForeignServerRelationId, check_scope_absent, nullptr},
    {"scope_id_path", ForeignServerRelationId, check_path, nullptr},
    {"scope_kind_path", ForeignServerRelationId, check_path, nullptr},
    {"secret_file", ForeignServerRelationId, check_file, nullptr},
    {"subject_path", ForeignServerRelationId, check_path, nullptr},
    {"sync_scope", ForeignServerRelationId, check_scope, nullptr},
    {"sync_ttl", ForeignServerRelationId, check_interval, nullptr},
    {"token", UserMappingRelationId, check_secret, nullptr},
    {"total_path", ForeignServerRelationId, check_path, nullptr},
    {"unknown_roles", ForeignServerRelationId, check_unknown_roles, "create"},
    {"username", UserMappingRelationId, check_username, nullptr},
    {"users_path", ForeignServerRelationId, check_strict_path, "$.users[*]"},
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

// Checks the other options that paging needs.
void check_paging_of(const Options& server, const char* paging, const char* items) {
    using Style = http::Paging::Style;
    const Style style = paging_style(server.get(paging));
    if ((style == Style::page || style == Style::offset) && !http::MemberPath::of_array(server.get(items)))
        invalid("paging by \"" + server.get(paging) + "\" needs a " + items + " that begins with an array",
                "For example $.data.roles[*]: the last page is the one on which that array is empty.");
}

void check_value(const Option& option, const std::string& value) {
    try {
        option.check(value);
    } catch (const Error& error) {
        const char* s = error.sqlstate();
        const char state[6] = {s[0], s[1], s[2], s[3], s[4], '\0'};
        throw Error(state,
                    std::string("invalid value for option \"") + option.name + "\": " + error.message(),
                    error.detail(), error.hint());
    }
}

void validate(const std::map<std::string, std::string>& given, Oid catalog) {
    for (const auto& [name, value] : given)
        check_value(option_for(name, catalog), value);
    if (catalog == ForeignServerRelationId && !given.contains("base_url"))
        throw Error("HV00J", "option \"base_url\" is required", {},
                    "For example OPTIONS (kind 'json', base_url 'https://hr.example.org/api').");
    if (catalog == ForeignServerRelationId)
        for (const auto& [paging, items] :
             {std::pair{"paging", "roles_path"}, std::pair{"list_paging", "users_path"}})
            check_paging_of(Options::of_server(given), paging, items);
}

}  // namespace

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

void check_presets() {
    for (const Option& option : options)
        if (option.value != nullptr)
            check_value(option, option.value);
    for (const Preset& preset : all_presets()) {
        std::map<std::string, std::string> server{{"kind", preset.kind}, {"base_url", "https://example.org"}};
        for (const Setting& setting : preset.settings)
            server[setting.option] = setting.value;
        validate(server, ForeignServerRelationId);
    }
}

Options Options::of_server(List* list) { return of_server(to_map(list)); }

Options Options::of_server(std::map<std::string, std::string> given) {
    Options result;
    result.given_ = std::move(given);
    for (const Option& option : options)
        if (option.value != nullptr)
            result.preset_[option.name] = option.value;
    if (const Preset* preset = preset_of(result.get("kind")); preset != nullptr)
        for (const Setting& setting : preset->settings)
            result.preset_[setting.option] = setting.value;
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
