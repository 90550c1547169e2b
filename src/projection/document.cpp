#include "projection/document.h"

namespace rolecall::projection {

namespace {

std::string_view text_of(const JsonbValue& value) {
    return {value.val.string.val, static_cast<std::size_t>(value.val.string.len)};
}

JsonbContainer* root(const Jsonb* document) { return const_cast<JsonbContainer*>(&document->root); }

bool member(JsonbContainer* object, std::string_view name, JsonbValue& value) {
    return getKeyJsonValueFromContainer(object, name.data(), static_cast<int>(name.size()), &value) != nullptr;
}

// Each of these returns false where the member is there and of another type.
bool read_text(JsonbContainer* object, std::string_view name, bool& present, std::string_view& text) {
    JsonbValue value;
    present = member(object, name, value) && value.type != jbvNull;
    if (!present)
        return true;
    if (value.type != jbvString)
        return false;
    text = text_of(value);
    return true;
}

bool read_flag(JsonbContainer* object, std::string_view name, bool& flag) {
    JsonbValue value;
    if (!member(object, name, value))
        return true;
    if (value.type != jbvBool)
        return false;
    flag = value.val.boolean;
    return true;
}

// {"institutional_id": "x"} or {"<kind>": "x"}: exactly one member.
bool read_scope(JsonbContainer* object, core::Grant& grant) {
    if (JsonContainerSize(object) != 1)
        return false;
    JsonbIterator* it = JsonbIteratorInit(object);
    JsonbValue kind;
    JsonbValue id;
    (void)JsonbIteratorNext(&it, &kind, true);  // the object
    (void)JsonbIteratorNext(&it, &kind, true);
    (void)JsonbIteratorNext(&it, &id, true);
    if (id.type != jbvString)
        return false;
    grant.kind = text_of(kind);
    grant.scope = text_of(id);
    if (grant.kind == institutional_member)
        grant.kind = institutional_kind;
    return grant.kind != core::global_kind && !grant.scope.empty();
}

bool read_grant(const JsonbValue& value, core::Grant& grant) {
    grant.kind = core::global_kind;
    if (value.type == jbvString) {
        grant.role = text_of(value);
        return true;
    }
    if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
        return false;
    JsonbContainer* object = value.val.binary.data;
    JsonbValue found;
    if (!member(object, "role", found) || found.type != jbvString)
        return false;
    grant.role = text_of(found);
    if (!member(object, "on", found))
        return true;
    if (found.type == jbvString)
        return text_of(found) == core::global_kind;
    return found.type == jbvBinary && JsonContainerIsObject(found.val.binary.data) &&
           read_scope(found.val.binary.data, grant);
}

bool read_grants(JsonbContainer* object, core::AccessFacts& facts) {
    JsonbValue roles;
    if (!member(object, "roles", roles))
        return true;
    if (roles.type != jbvBinary || !JsonContainerIsArray(roles.val.binary.data))
        return false;
    JsonbContainer* array = roles.val.binary.data;
    const std::size_t count = JsonContainerSize(array);
    auto* grants = static_cast<core::Grant*>(palloc0(sizeof(core::Grant) * std::max<std::size_t>(count, 1)));
    facts.grants = {grants, count};

    JsonbIterator* it = JsonbIteratorInit(array);
    JsonbValue value;
    (void)JsonbIteratorNext(&it, &value, true);  // the array
    for (std::size_t i = 0; i < count; ++i) {
        (void)JsonbIteratorNext(&it, &value, true);
        if (!read_grant(value, grants[i]))
            return false;
    }
    return true;
}

}  // namespace

core::AccessFacts read_access(const Jsonb* document) {
    core::AccessFacts facts;
    JsonbContainer* object = root(document);
    facts.well_formed = JsonContainerIsObject(object) && read_flag(object, "is_active", facts.active) &&
                        read_flag(object, "is_superuser", facts.superuser) &&
                        read_text(object, "tenant_id", facts.has_tenant, facts.tenant) &&
                        read_text(object, "email", facts.has_email, facts.email) && read_grants(object, facts);
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

}  // namespace rolecall::projection
