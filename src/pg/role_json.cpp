#include "pg/role_json.h"

namespace rolecall::pg {

namespace {

constexpr std::string_view institutional_kind = "institutional";
constexpr std::string_view institutional_member = "institutional_id";

bool is_object(const JsonbValue& value) {
    return value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data);
}

}  // namespace

std::string_view json_text(const JsonbValue& value) {
    Assert(value.type == jbvString);
    if (value.type != jbvString)
        return {};
    return {value.val.string.val, static_cast<std::size_t>(value.val.string.len)};
}

bool json_member(JsonbContainer* object, std::string_view name, JsonbValue& value) {
    // The server's function does not check the type: in an array, it takes elements for members and reads
    // their text as addresses.
    return JsonContainerIsObject(object) &&
           getKeyJsonValueFromContainer(object, name.data(), static_cast<int>(name.size()), &value) !=
               nullptr;
}

bool read_scope(const JsonbValue& on, core::Grant& grant) {
    if (on.type == jbvString) {
        grant.kind = core::global_kind;
        grant.scope = {};
        return json_text(on) == core::global_kind;
    }
    if (!is_object(on) || JsonContainerSize(on.val.binary.data) != 1)
        return false;
    JsonbIterator* it = JsonbIteratorInit(on.val.binary.data);
    JsonbValue kind;
    JsonbValue id;
    (void)JsonbIteratorNext(&it, &kind, true);  // the object itself
    (void)JsonbIteratorNext(&it, &kind, true);
    (void)JsonbIteratorNext(&it, &id, true);
    if (id.type != jbvString)
        return false;
    grant.kind = json_text(kind) == institutional_member ? institutional_kind : json_text(kind);
    grant.scope = json_text(id);
    return !grant.kind.empty() && grant.kind != core::global_kind && !grant.scope.empty();
}

bool read_role(const JsonbValue& value, core::Grant& grant) {
    if (!is_object(value))
        return false;
    JsonbContainer* object = value.val.binary.data;
    JsonbValue found;
    if (!json_member(object, "role", found) || found.type != jbvString || found.val.string.len == 0)
        return false;
    grant = {.role = json_text(found), .kind = core::global_kind, .scope = {}};
    return !json_member(object, "on", found) || read_scope(found, grant);
}

bool json_elements(const JsonbValue& value, std::span<JsonbValue>& elements) {
    if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data) ||
        JsonContainerIsScalar(value.val.binary.data))
        return false;
    JsonbContainer* array = value.val.binary.data;
    const std::size_t count = JsonContainerSize(array);
    elements = {static_cast<JsonbValue*>(palloc(sizeof(JsonbValue) * std::max<std::size_t>(count, 1))),
                count};
    JsonbIterator* it = JsonbIteratorInit(array);
    JsonbValue begin;
    (void)JsonbIteratorNext(&it, &begin, true);  // the array itself
    for (JsonbValue& element : elements)
        (void)JsonbIteratorNext(&it, &element, true);
    return true;
}

}  // namespace rolecall::pg
