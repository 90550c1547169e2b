#include "projection/document.h"

#include "pg/role_json.h"

namespace rolecall::projection {

namespace {

// These functions return false if the member is present with another type.
bool read_text(JsonbContainer* object, std::string_view name, bool& present, std::string_view& text) {
    JsonbValue value;
    present = pg::json_member(object, name, value) && value.type != jbvNull;
    if (!present)
        return true;
    if (value.type != jbvString)
        return false;
    text = pg::json_text(value);
    return true;
}

bool read_flag(JsonbContainer* object, std::string_view name, bool& flag) {
    JsonbValue value;
    if (!pg::json_member(object, name, value))
        return true;
    if (value.type != jbvBool)
        return false;
    flag = value.val.boolean;
    return true;
}

bool read_grants(JsonbContainer* object, core::AccessFacts& facts) {
    JsonbValue roles;
    if (!pg::json_member(object, "roles", roles))
        return true;
    std::span<JsonbValue> elements;
    if (!pg::json_elements(roles, elements))
        return false;
    auto* grants =
        static_cast<core::Grant*>(palloc0(sizeof(core::Grant) * std::max<std::size_t>(elements.size(), 1)));
    facts.grants = {grants, elements.size()};
    for (std::size_t i = 0; i < elements.size(); ++i) {
        if (elements[i].type == jbvString)
            grants[i] = {.role = pg::json_text(elements[i]), .kind = core::global_kind, .scope = {}};
        else if (!pg::read_role(elements[i], grants[i]))
            return false;
    }
    return true;
}

}  // namespace

core::AccessFacts read_access(const Jsonb* document) {
    core::AccessFacts facts;
    auto* object = const_cast<JsonbContainer*>(&document->root);
    facts.well_formed = JsonContainerIsObject(object) && read_flag(object, "is_active", facts.active) &&
                        read_flag(object, "is_superuser", facts.superuser) &&
                        read_text(object, "tenant_id", facts.has_tenant, facts.tenant) &&
                        read_text(object, "email", facts.has_email, facts.email) &&
                        read_grants(object, facts);
    if (facts.well_formed)
        return facts;
    core::AccessFacts broken;
    broken.well_formed = false;
    return broken;
}

std::span<char> pack_access(core::AccessFacts& facts) {
    const std::size_t bytes = core::prepare(facts);
    auto* block = static_cast<char*>(palloc(bytes));
    core::pack(facts, block);
    return {block, bytes};
}

text* document_text(const Jsonb* document) {
    StringInfoData out;
    initStringInfo(&out);
    appendStringInfoSpaces(&out, VARHDRSZ);
    (void)JsonbToCString(&out, const_cast<JsonbContainer*>(&document->root), VARSIZE(document));
    auto* result = reinterpret_cast<text*>(out.data);
    SET_VARSIZE(result, out.len);
    return result;
}

}  // namespace rolecall::projection
