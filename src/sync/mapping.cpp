#include "sync/mapping.h"

#include "core/error.h"
#include "core/json_members.h"
#include "pg/json_path.h"
#include "pg/role_json.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "utils/numeric.h"
}

namespace rolecall::sync {

namespace {

[[noreturn]] void bad_answer(const Provider& provider, const std::string& detail,
                             const std::string& hint = {}) {
    throw Error("RC104", "provider \"" + provider.name + "\" gave an answer that cannot be used", detail,
                hint);
}

[[noreturn]] void bad_argument(const std::string& detail) {
    throw Error(
        "22023", "invalid provider user", detail,
        R"(Give {"code": ..., "roles": [{"role": "name", "on": "global" | {"<kind>": "id"}}, ...]}.)");
}

// ---- Answers as jsonb
// --------------------------------------------------------------------------------------

// What PostgreSQL says of a text that is not JSON may quote it, and is not passed on: it goes to logs.
const Jsonb* parse_answer(const Provider& provider, const std::string& body) {
    if (body.find('\0') != std::string::npos)
        bad_answer(provider, "The response contains a zero byte.");
    const Jsonb* json = nullptr;
    try {
        json = pg::call([&] {
            const int length = static_cast<int>(body.size());
            (void)pg_verify_mbstr(PG_UTF8, body.c_str(), length, false);
            char* text = pg_any_to_server(body.c_str(), length, PG_UTF8);
            return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
        });
    } catch (const pg::PgError& error) {
        bad_answer(provider, std::string("The response is not valid JSON: ") + error.what() + ".");
    }
    if (pg::json_count_members(json) < core::count_members(body))
        bad_answer(provider, "An object of the response names a member twice.");
    return json;
}

// What a path finds: a string, or a number as text; nullopt for null and nothing. `fits` becomes false for
// anything else.
std::optional<std::string> text_at(const Jsonb* json, const std::string& path, bool& fits) {
    JsonbValue value;
    if (!pg::json_first(json, path, value))
        return std::nullopt;
    if (value.type == jbvString)
        return std::string(pg::json_text(value));
    if (value.type == jbvNumeric)
        return std::string(pg::call([&] {
            return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
        }));
    fits = fits && value.type == jbvNull;
    return std::nullopt;
}

// ---- Roles
// -------------------------------------------------------------------------------------------------

// "name", "name@global" or "name@kind:id". The name ends at the first "@", the kind at the next ":".
bool read_role_text(std::string_view text, core::OwnedGrant& grant) {
    const std::size_t at = text.find('@');
    grant = {.role = std::string(text.substr(0, at)), .kind = std::string(core::global_kind), .scope = {}};
    if (grant.role.empty())
        return false;
    if (at == std::string_view::npos || text.substr(at + 1) == core::global_kind)
        return true;
    const std::string_view scope = text.substr(at + 1);
    const std::size_t colon = scope.find(':');
    if (colon == std::string_view::npos)
        return false;
    grant.kind = scope.substr(0, colon);
    grant.scope = scope.substr(colon + 1);
    return !grant.kind.empty() && grant.kind != core::global_kind && !grant.scope.empty();
}

// A role of an answer.
bool read_mapped_role(const Mapping& mapping, JsonbValue& element, core::OwnedGrant& grant) {
    if (element.type == jbvString)
        return read_role_text(pg::json_text(element), grant);

    const Jsonb* role = pg::json_document(element);
    bool fits = true;
    const auto name = text_at(role, mapping.role, fits);
    if (!name || name->empty())
        return false;
    core::Grant scope{.role = {}, .kind = core::global_kind, .scope = {}};
    const auto kind = text_at(role, mapping.scope_kind, fits);
    const auto id = text_at(role, mapping.scope_id, fits);
    JsonbValue on;
    if (!mapping.scope_kind.empty() || !mapping.scope_id.empty()) {
        scope.scope = id ? std::string_view(*id) : std::string_view();
        scope.kind = kind ? std::string_view(*kind) : id ? "institutional" : core::global_kind;
    } else if (pg::json_first(role, "$.on", on) && !pg::read_scope(on, scope)) {
        return false;  // taken for global, a role on one unit would become a role on all
    }
    grant = {.role = *name, .kind = std::string(scope.kind), .scope = std::string(scope.scope)};
    return fits && !grant.kind.empty() && (grant.kind == core::global_kind) == grant.scope.empty();
}

// What goes to logs is not the provider's to fill.
std::string clipped(const std::string& text) {
    constexpr int most = 64;
    return text.substr(
        0, static_cast<std::size_t>(pg_mbcliplen(text.data(), static_cast<int>(text.size()), most)));
}

bool is_active(const Provider& provider, const Jsonb* answer) {
    JsonbValue value;
    if (pg::json_first(answer, provider.mapping.active, value) && value.type == jbvBool)
        return value.val.boolean;
    bad_answer(provider, "The response does not say whether the subject is active.",
               "Correct active_path if it is wrong: it must find true or false.");
}

// Whom an answer is about.
ProviderUser read_person(const Provider& provider, const Jsonb* answer) {
    const Mapping& mapping = provider.mapping;
    bool fits = true;
    ProviderUser user;
    user.code = text_at(answer, mapping.subject, fits);
    user.email = text_at(answer, mapping.email, fits);
    user.display_name = text_at(answer, mapping.display_name, fits);
    user.function = text_at(answer, mapping.function, fits);
    if (!mapping.active.empty() && !is_active(provider, answer))
        user.gone = "It says that the subject is inactive.";
    return user;
}

// The subject that was asked for, or an error.
ProviderUser read_profile(const Provider& provider, const std::string& subject, const Jsonb* answer) {
    ProviderUser user = read_person(provider, answer);
    if (user.code != subject)
        bad_answer(provider,
                   user.code ? "The response is about subject \"" + clipped(*user.code) + "\", not \"" +
                                   subject + "\"."
                             : "The response does not say whom it is about.",
                   "Correct subject_path if it is wrong.");
    return user;
}

// Adds the roles of an answer, or of one page of it.
void read_answered_roles(const Provider& provider, const Jsonb* answer,
                         std::vector<core::OwnedGrant>& roles) {
    const Mapping& mapping = provider.mapping;
    if (!pg::json_path_fits(answer, mapping.roles))
        bad_answer(
            provider, "The response has no roles where roles_path says.",
            "An answer without the roles member never removes a role. Correct roles_path if it is wrong.");
    const std::span<JsonbValue> found = pg::json_all(answer, mapping.roles);
    const std::size_t before = roles.size();
    roles.resize(before + found.size());
    for (std::size_t i = 0; i < found.size(); ++i)
        if (!read_mapped_role(mapping, found[i], roles[before + i]))
            bad_answer(provider,
                       "Role " + std::to_string(i + 1) + " of the response has an unexpected shape.",
                       "Correct role_path, scope_kind_path and scope_id_path if they are wrong.");
}

// ---- Users given in SQL
// ------------------------------------------------------------------------------------

std::optional<std::string> text_member(const JsonbValue& object, std::string_view name) {
    JsonbValue value;
    if (!pg::json_member(object.val.binary.data, name, value) || value.type == jbvNull)
        return std::nullopt;
    if (value.type != jbvString)
        bad_argument("Its member \"" + std::string(name) + "\" is not a string.");
    return std::string(pg::json_text(value));
}

std::vector<core::OwnedGrant> read_given_roles(const JsonbValue& value) {
    std::span<JsonbValue> elements;
    if (!pg::call([&] { return pg::json_elements(value, elements); }))
        bad_argument("Its roles are not an array.");
    std::vector<core::OwnedGrant> roles(elements.size());
    for (std::size_t i = 0; i < elements.size(); ++i) {
        core::Grant grant;
        bool fits = false;
        if (elements[i].type == jbvString) {
            fits = read_role_text(pg::json_text(elements[i]), roles[i]);
        } else if (pg::call([&] { return pg::read_role(elements[i], grant); })) {
            fits = true;
            roles[i] = {std::string(grant.role), std::string(grant.kind), std::string(grant.scope)};
        }
        if (!fits)
            bad_argument("Role " + std::to_string(i + 1) + " has an unexpected shape.");
    }
    core::normalize(roles);
    return roles;
}

void append_json_string(std::string& to, const std::string& text) {
    const char* escaped = pg::call([&] {
        StringInfoData buffer;
        initStringInfo(&buffer);
        escape_json(&buffer, text.c_str());
        return buffer.data;
    });
    to += escaped;
}

}  // namespace

ProviderUser map_answers(const Provider& provider, const std::string& subject,
                         const std::vector<provider::Pages>& answers) {
    std::optional<ProviderUser> user;
    std::vector<core::OwnedGrant> roles;
    const bool unchanged = answers.back().front().status == provider::not_modified;
    for (const provider::Pages& answer : answers) {
        if (unchanged && &answer == &answers.back())
            break;
        for (const provider::Completion& page : answer) {
            const Jsonb* json = parse_answer(provider, page.body);
            if (&answer == &answers.front()) {  // every page of it must be about the subject
                ProviderUser said = read_profile(provider, subject, json);
                if (said.gone)
                    return said;
                if (!user)
                    user = std::move(said);
            }
            if (&answer == &answers.back())
                read_answered_roles(provider, json, roles);
        }
    }
    if (!user)
        user.emplace();
    core::normalize(roles);
    if (provider.paging.style == provider::Paging::Style::none)  // else the first page speaks for itself only
        user->version = version_of(answers.back().front(), provider, roles);
    user->roles = std::move(roles);
    user->unchanged = unchanged;
    return *std::move(user);
}

ProviderUser map_subject(const Provider& provider, const std::string& subject,
                         const provider::Pages& answer) {
    return read_profile(provider, subject, parse_answer(provider, answer.front().body));
}

ListPage map_list_page(const Provider& provider, const std::string& page) {
    const Jsonb* json = parse_answer(provider, page);
    if (!pg::json_path_fits(json, provider.mapping.users))
        bad_answer(provider, "The list has no users where users_path says.",
                   "Correct users_path if it is wrong.");
    ListPage result;
    bool fits = true;
    if (!provider.mapping.total.empty()) {
        const auto total = text_at(json, provider.mapping.total, fits);
        if (!total || total->size() > 18 || total->find_first_not_of("0123456789") != std::string::npos)
            bad_answer(provider, "The list has no number of users where total_path says.",
                       "Correct total_path if it is wrong.");
        result.total = std::stoll(*total);
    }
    const std::span<JsonbValue> found = pg::json_all(json, provider.mapping.users);
    result.users.reserve(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        const Jsonb* listed = pg::json_document(found[i]);
        ProviderUser user = read_person(provider, listed);
        if (!user.code || user.code->empty())
            bad_answer(provider, "User " + std::to_string(i + 1) + " of a page of the list has no subject.",
                       "Correct subject_path if it is wrong.");
        if (!user.gone)
            read_answered_roles(provider, listed, user.roles);
        core::normalize(user.roles);
        result.users.push_back(std::move(user));
    }
    return result;
}

ProviderUser map_event(const Provider& provider, const Jsonb* event, bool& has_roles) {
    try {
        JsonbValue found;
        if (!pg::json_first(event, provider.mapping.event, found))
            bad_answer(provider, "The event has no user where event_path says.");
        const Jsonb* json = pg::json_document(found);
        ProviderUser user = read_person(provider, json);
        if (!user.code || user.code->empty())
            bad_answer(provider, "The event does not say whom it is about.");
        has_roles = pg::json_path_fits(json, provider.mapping.roles);
        if (has_roles && !user.gone)
            read_answered_roles(provider, json, user.roles);
        core::normalize(user.roles);
        return user;
    } catch (const Error& error) {
        throw Error("22023", "invalid event of provider \"" + provider.name + "\"", error.detail(),
                    error.hint());
    }
}

ProviderUser read_provider_user(const Jsonb* jsonb) {
    const JsonbValue value = pg::json_value(jsonb);
    if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
        bad_argument("It is not an object.");
    JsonbValue roles;
    if (!pg::json_member(value.val.binary.data, "roles", roles))
        bad_argument("It has no roles; a user who holds none has an empty array.");
    return {.code = text_member(value, "code"),
            .email = text_member(value, "email"),
            .display_name = text_member(value, "display_name"),
            .function = text_member(value, "function"),
            .roles = read_given_roles(roles),
            .unchanged = false,
            .version = {}};
}

std::vector<core::OwnedGrant> read_roles(const Jsonb* roles) {
    return read_given_roles(pg::json_value(roles));
}

Jsonb* roles_to_jsonb(const std::vector<core::OwnedGrant>& roles) {
    std::string text = "[";
    for (const core::OwnedGrant& grant : roles) {
        text += text.size() > 1 ? ", {\"role\": " : "{\"role\": ";
        append_json_string(text, grant.role);
        text += ", \"on\": ";
        if (grant.kind == core::global_kind) {
            text += "\"global\"}";
            continue;
        }
        text += '{';
        append_json_string(text, grant.kind == "institutional" ? "institutional_id" : grant.kind);
        text += ": ";
        append_json_string(text, grant.scope);
        text += "}}";
    }
    text += ']';
    return pg::call(
        [&] { return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text.c_str()))); });
}

}  // namespace rolecall::sync
