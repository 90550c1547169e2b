#include "provider/mapping.h"

#include "core/error.h"
#include "pg/json_path.h"
#include "pg/role_json.h"
#include "provider/answer.h"
#include "provider/role.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/json.h"
#include "utils/numeric.h"
}

namespace rolecall::provider {

namespace {

[[noreturn]] void bad_argument(const std::string& detail) {
    throw Error(
        "22023", "invalid provider user", detail,
        R"(Give {"code": ..., "roles": [{"role": "name", "on": "global" | {"<kind>": "id"}}, ...]}.)");
}

[[noreturn]] void several_values(const Provider& provider, const std::string& option) {
    bad_answer(provider, "More than one value is where " + option + " says.",
               "None of them is chosen. Correct " + option + " if it is wrong: it must find one value.");
}

// Limits how much of a provider's text goes to logs.
std::string clipped(const std::string& text) {
    constexpr int most = 64;
    return text.substr(
        0, static_cast<std::size_t>(pg_mbcliplen(text.data(), static_cast<int>(text.size()), most)));
}

bool is_active(const Provider& provider, const Jsonb* answer) {
    JsonbValue value;
    const pg::Found found = pg::json_single(answer, provider.mapping.active, value);
    if (found == pg::Found::several)
        several_values(provider, "active_path");
    if (found == pg::Found::one && value.type == jbvBool)
        return value.val.boolean;
    bad_answer(provider, "The response does not say whether the subject is active.",
               "Correct active_path if it is wrong: it must find true or false.");
}

// Reads the subject of an answer, and whether it is inactive.
ProviderUser read_person(const Provider& provider, const Jsonb* answer) {
    Fit fit = Fit::fits;
    ProviderUser user;
    user.code = text_at(answer, provider.mapping.subject, fit);
    if (fit == Fit::several)
        several_values(provider, "subject_path");
    if (!provider.mapping.active.empty() && !is_active(provider, answer))
        user.gone = "It says that the subject is inactive.";
    return user;
}

// Likewise, and fails if it is not the requested subject.
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

// Counts the items that a filter excludes without a reason: an item for which the condition is unknown,
// because the member is null or absent, matches neither the condition nor its negation.
std::size_t count_unknown(const Jsonb* json, const std::vector<std::string>& paths) {
    std::size_t count = 0;
    for (const std::string& path : paths)
        count += pg::json_all(json, path).size();
    return count;
}

[[noreturn]] void bad_items(const Provider& provider, const char* option, std::size_t count) {
    bad_answer(provider,
               "For " + std::to_string(count) + " items of the response the condition of " + option +
                   " is neither true nor false.",
               "A member that it asks for is missing, null or of another type. Say in " +
                   std::string(option) + " what such an item is, for example by (...) is unknown.");
}

[[noreturn]] void bad_role(const Provider& provider, std::size_t number, RoleIs verdict) {
    const std::string role = "Role " + std::to_string(number) + " of the response";
    if (verdict == RoleIs::unscoped && !provider.mapping.has_scope_paths())
        bad_answer(
            provider, role + " has members that no path names, and no scope.",
            "It is never taken for a role on everything. Have it say {\"on\": \"global\"} if it is, set "
            "scope_id_path if one of these members is its scope, or say by scope_absent what such a "
            "role is.");
    if (verdict == RoleIs::unscoped)
        bad_answer(
            provider, role + " has no scope where scope_kind_path and scope_id_path say.",
            "It is never taken for a role on everything. Correct the paths if they are wrong, or say by "
            "scope_absent what such a role is.");
    if (verdict == RoleIs::ambiguous)
        bad_answer(provider,
                   role + " has more than one value where role_path, scope_kind_path or scope_id_path says.",
                   "None of them is chosen. Correct the paths if they are wrong: each must find one value.");
    bad_answer(provider, role + " has an unexpected shape.",
               "Correct role_path, scope_kind_path and scope_id_path if they are wrong.");
}

// Adds the roles of an answer, or of one page of it. Returns false if it has none and they may be absent.
bool read_answered_roles(const Provider& provider, const Jsonb* answer,
                         std::vector<core::OwnedGrant>& roles) {
    const Mapping& mapping = provider.mapping;
    if (!pg::json_path_fits(answer, mapping.roles))
        bad_answer(
            provider, "The response has no roles where roles_path says.",
            "An answer without the roles member never removes a role. Correct roles_path if it is wrong.");
    if (const std::size_t unknown = count_unknown(answer, mapping.roles_unknown); unknown > 0)
        bad_items(provider, "roles_path", unknown);
    const std::span<JsonbValue> found = pg::json_all(answer, mapping.roles);
    if (roles.size() + found.size() > static_cast<std::size_t>(provider.max_roles))
        refuse_so_many_roles(provider);
    for (std::size_t i = 0; i < found.size(); ++i) {
        core::OwnedGrant grant;
        const RoleIs verdict = read_mapped_role(mapping, found[i], grant);
        if (verdict == RoleIs::granted)
            roles.push_back(std::move(grant));
        else if (verdict != RoleIs::skipped)
            bad_role(provider, i + 1, verdict);
    }
    return !found.empty() || !mapping.roles_may_be_absent;
}

// ---- Users given in SQL

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
        if (!read_given_role(elements[i], roles[i]))
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

// An answer that says that its subject is inactive may contain oddities: nothing else of it is used.
bool says_gone(const Provider& provider, const Jsonb* answer, const std::string& subject) {
    Fit fit = Fit::fits;
    JsonbValue active;
    return !provider.mapping.active.empty() && text_at(answer, provider.mapping.subject, fit) == subject &&
           pg::json_single(answer, provider.mapping.active, active) == pg::Found::one &&
           active.type == jbvBool && !active.val.boolean;
}

// Refuses oddities before other errors, because they may be the cause of those.
ProviderUser read_profile(const Provider& provider, const std::string& subject, const Answer& answer) {
    if (answer.is_odd && !says_gone(provider, answer.json, subject))
        refuse_oddity(provider, answer.json);
    return read_profile(provider, subject, answer.json);
}

// ---- Lists

ProviderUser read_listed_user(const Provider& provider, const Jsonb* listed, bool may_be_odd) {
    Fit fit = Fit::fits;
    if (may_be_odd &&
        !says_gone(provider, listed, text_at(listed, provider.mapping.subject, fit).value_or("")))
        refuse_oddity(provider, listed);
    ProviderUser user = read_person(provider, listed);
    if (!user.code || user.code->empty())
        bad_answer(provider, "It has no subject where subject_path says.");
    if (!user.gone)
        user.silent = !read_answered_roles(provider, listed, user.roles);
    core::normalize(user.roles);
    return user;
}

// Returns how messages name a user whose entry cannot be used.
std::string listed_name(const Provider& provider, JsonbValue& found, std::size_t number) {
    Fit fit = Fit::fits;
    const auto code = text_at(pg::json_document(found), provider.mapping.subject, fit);
    return code && !code->empty() ? "\"" + clipped(*code) + "\"" : "record " + std::to_string(number);
}

}  // namespace

ProviderUser map_answers(const Provider& provider, const std::string& subject,
                         const std::vector<http::Pages>& answers) {
    std::optional<ProviderUser> user;
    std::vector<core::OwnedGrant> roles;
    const bool unchanged = answers.back().front().status == http::not_modified;
    for (const http::Pages& answer : answers) {
        if (unchanged && &answer == &answers.back())
            break;
        for (const http::Completion& page : answer) {
            const Answer read = read_answer(provider, page.body);
            if (&answer == &answers.front()) {  // each of its pages must be about the subject
                ProviderUser said = read_profile(provider, subject, read);
                if (said.gone)
                    return said;
                if (!user)
                    user = std::move(said);
            } else if (read.is_odd) {
                refuse_oddity(provider, read.json);
            }
            if (&answer == &answers.back())
                (void)read_answered_roles(provider, read.json, roles);
        }
    }
    if (!user)
        user.emplace();
    core::normalize(roles);
    if (provider.paging.style == http::Paging::Style::none)  // validators are of one page only
        user->version = version_of(answers.back().front(), provider, roles);
    user->roles = std::move(roles);
    user->unchanged = unchanged;
    return *std::move(user);
}

ProviderUser map_subject(const Provider& provider, const std::string& subject, const http::Pages& answer) {
    return read_profile(provider, subject, read_answer(provider, answer.front().body));
}

ListPage map_list_page(const Provider& provider, const std::string& page) {
    const Answer answer = read_list_page(provider, page);
    if (!pg::json_path_fits(answer.json, provider.mapping.users)) {
        if (answer.is_odd)
            refuse_oddity(provider, answer.json);
        bad_answer(provider, "The list has no users where users_path says.",
                   "Correct users_path if it is wrong.");
    }
    ListPage result;
    if (!provider.mapping.total.empty()) {
        Fit fit = Fit::fits;
        const auto total = text_at(answer.json, provider.mapping.total, fit);
        if (fit == Fit::several)
            several_values(provider, "total_path");
        if (!total || total->size() > 18 || total->find_first_not_of("0123456789") != std::string::npos)
            bad_answer(provider, "The list has no number of users where total_path says.",
                       "Correct total_path if it is wrong.");
        result.total = std::stoll(*total);
    }
    if (const std::size_t unknown = count_unknown(answer.json, provider.mapping.users_unknown); unknown > 0)
        result.odd.push_back({"somebody", "The condition of users_path is neither true nor false for " +
                                              std::to_string(unknown) + " records of a page."});
    const std::span<JsonbValue> found = pg::json_all(answer.json, provider.mapping.users);
    result.users.reserve(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        pg::call([] { CHECK_FOR_INTERRUPTS(); });
        ProviderUser user;
        try {
            user = read_listed_user(provider, pg::json_document(found[i]), answer.is_odd);
            result.users.push_back(std::move(user));
        } catch (const Error& error) {
            result.odd.push_back({listed_name(provider, found[i], i + 1), error.detail()});
        }
    }
    return result;
}

ProviderUser map_event(const Provider& provider, const Jsonb* event, bool& has_roles) {
    try {
        JsonbValue found;
        const pg::Found users = pg::json_single(event, provider.mapping.event, found);
        if (users == pg::Found::several)
            several_values(provider, "event_path");
        if (users == pg::Found::nothing)
            bad_answer(provider, "The event has no user where event_path says.");
        if (const std::size_t unknown = count_unknown(event, provider.mapping.event_unknown); unknown > 0)
            bad_items(provider, "event_path", unknown);
        const Jsonb* json = pg::json_document(found);
        ProviderUser user = read_person(provider, json);
        if (!user.code || user.code->empty())
            bad_answer(provider, "The event does not say whom it is about.");
        has_roles = pg::json_path_fits(json, provider.mapping.roles);
        if (has_roles && !user.gone)
            has_roles = read_answered_roles(provider, json, user.roles);
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
    for (const char* name : {"email", "display_name", "function"})  // checked, but not used
        (void)text_member(value, name);
    ProviderUser user;
    user.code = text_member(value, "code");
    user.roles = read_given_roles(roles);
    return user;
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

}  // namespace rolecall::provider
