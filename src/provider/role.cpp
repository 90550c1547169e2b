#include "provider/role.h"

#include "pg/json_path.h"
#include "pg/role_json.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "utils/numeric.h"
}

namespace rolecall::provider {

namespace {

// These words describe a scope and are not kinds: {"kind": "global"} would otherwise be a scope of kind
// "kind".
bool is_kind(std::string_view kind) {
    return !kind.empty() && kind != core::global_kind && kind != "institutional_id" && kind != "kind" &&
           kind != "id" && kind != "type" && kind != "scope" && kind != "scope_kind" && kind != "scope_id";
}

// Reads "name", "name@global" or "name@kind:id". The name ends at the first "@", the kind at the next ":".
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
    return is_kind(grant.kind) && !grant.scope.empty();
}

// A grant must fit into an index entry.
bool is_short(const core::OwnedGrant& grant) {
    constexpr std::size_t most_bytes = 2000;
    return grant.role.size() + grant.kind.size() + grant.scope.size() <= most_bytes;
}

RoleIs unfit(Fit fit) { return fit == Fit::several ? RoleIs::ambiguous : RoleIs::odd; }

// In UTF-8, as in shapes.
std::string name_of(const JsonbValue& key) {
    std::string name(pg::json_text(key));
    if (GetDatabaseEncoding() == PG_SQL_ASCII)
        return name;
    return pg::call([&] { return pg_server_to_any(name.c_str(), static_cast<int>(name.size()), PG_UTF8); });
}

// Returns whether a role has members that no path names, because one of them may be its scope. (In a pruned
// answer, a mark replaces such members.)
bool says_more(const JsonbValue& value, const core::JsonShape& shape) {
    if (value.type != jbvBinary)
        return false;
    JsonbContainer* container = value.val.binary.data;
    const bool is_object = JsonContainerIsObject(container);
    if (is_object && shape.whole)
        return JsonContainerSize(container) != 1;
    JsonbIterator* it = pg::call([&] { return JsonbIteratorInit(container); });
    JsonbValue part;
    std::string name;
    while (const JsonbIteratorToken token = pg::call([&] { return JsonbIteratorNext(&it, &part, true); })) {
        if (token == WJB_KEY) {
            name = name_of(part);
        } else if (token == WJB_ELEM) {
            if (says_more(part, shape))
                return true;
        } else if (token == WJB_VALUE) {
            const auto member = shape.members.find(name);
            if (member == shape.members.end() || says_more(part, member->second))
                return true;
        }
    }
    return false;
}

// The verdict for a role whose scope is not where the paths say. It is global only if scope_absent says so.
RoleIs without_scope(const Mapping& mapping) {
    switch (mapping.scope_absent) {
        case Mapping::ScopeAbsent::skip:
            return RoleIs::skipped;
        case Mapping::ScopeAbsent::global:
            return RoleIs::granted;
        case Mapping::ScopeAbsent::error:
            break;
    }
    return RoleIs::unscoped;
}

RoleIs read_scope_by_contract(const Mapping& mapping, const Jsonb* role, core::OwnedGrant& grant) {
    JsonbValue on;
    const pg::Found found = pg::json_single(role, "$.on", on);
    if (found == pg::Found::several)
        return RoleIs::ambiguous;
    if (found == pg::Found::nothing)
        return says_more(pg::json_value(role), mapping.role_item) ? without_scope(mapping) : RoleIs::granted;
    core::Grant scope{.role = {}, .kind = core::global_kind, .scope = {}};
    if (!pg::read_scope(on, scope) || (scope.kind != core::global_kind && !is_kind(scope.kind)))
        return RoleIs::odd;  // if it were treated as global, a role on one unit would become a role on all
    grant.kind = scope.kind;
    grant.scope = scope.scope;
    return RoleIs::granted;
}

RoleIs read_scope_by_paths(const Mapping& mapping, const Jsonb* role, core::OwnedGrant& grant) {
    Fit fit = Fit::fits;
    const auto kind = text_at(role, mapping.scope_kind, fit);
    const auto id = text_at(role, mapping.scope_id, fit);
    if (fit != Fit::fits || (kind && kind->empty()))
        return unfit(fit);
    if (id && !id->empty()) {
        grant.kind = kind.value_or("institutional");
        grant.scope = *id;
        return is_kind(grant.kind) ? RoleIs::granted : RoleIs::odd;
    }
    if (kind && *kind == core::global_kind)
        return RoleIs::granted;
    const RoleIs verdict = without_scope(mapping);
    // A kind without id means a unit that is not named.
    return kind && verdict == RoleIs::granted ? RoleIs::unscoped : verdict;
}

RoleIs read_any_role(const Mapping& mapping, JsonbValue& element, core::OwnedGrant& grant) {
    if (element.type == jbvString) {
        if (!read_role_text(pg::json_text(element), grant))
            return RoleIs::odd;
        const bool says = pg::json_text(element).find('@') != std::string_view::npos;
        return says || !mapping.has_scope_paths() ? RoleIs::granted : without_scope(mapping);
    }
    const Jsonb* role = pg::json_document(element);
    Fit fit = Fit::fits;
    const auto name = text_at(role, mapping.role, fit);
    if (!name || name->empty())
        return unfit(fit);
    grant = {.role = *name, .kind = std::string(core::global_kind), .scope = {}};
    return mapping.has_scope_paths() ? read_scope_by_paths(mapping, role, grant)
                                     : read_scope_by_contract(mapping, role, grant);
}

const core::JsonShape& given_role() {
    static const core::JsonShape shape{.members = {{"role", {.value = true}}}};
    return shape;
}

bool has_scope(const JsonbValue& role) {
    JsonbValue on;
    return pg::json_member(role.val.binary.data, "on", on);
}

}  // namespace

std::optional<std::string> text_at(const Jsonb* json, const std::string& path, Fit& fit) {
    JsonbValue value;
    const pg::Found found = pg::json_single(json, path, value);
    if (found == pg::Found::several)
        fit = Fit::several;
    if (found != pg::Found::one)
        return std::nullopt;
    if (value.type == jbvString)
        return std::string(pg::json_text(value));
    if (value.type == jbvNumeric)
        return std::string(pg::call([&] {
            return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
        }));
    if (value.type != jbvNull && fit == Fit::fits)
        fit = Fit::of_another_type;
    return std::nullopt;
}

RoleIs read_mapped_role(const Mapping& mapping, JsonbValue& element, core::OwnedGrant& grant) {
    const RoleIs verdict = read_any_role(mapping, element, grant);
    return verdict == RoleIs::granted && !is_short(grant) ? RoleIs::odd : verdict;
}

bool read_given_role(const JsonbValue& element, core::OwnedGrant& grant) {
    if (element.type == jbvString)
        return read_role_text(pg::json_text(element), grant) && is_short(grant);
    core::Grant read;
    if (!pg::call([&] { return pg::read_role(element, read); }) ||
        (!has_scope(element) && says_more(element, given_role())))
        return false;
    grant = {std::string(read.role), std::string(read.kind), std::string(read.scope)};
    return (grant.kind == core::global_kind || is_kind(grant.kind)) && is_short(grant);
}

}  // namespace rolecall::provider
