#include "provider/presets.h"

namespace rolecall::provider {

namespace {

constexpr Setting json[] = {
    {"display_name_path", "$.display_name"},
    {"function_path", "$.function"},
    {"request_path", "/users/{subject}"},
    {"role_path", "$.role"},
    {"roles_path", "$.roles[*]"},
    {"scope_absent", "error"},
    {"subject_path", "$.code"},
};

// roles_path is strict: for an authorization whose state is missing or not a string, the condition is
// unknown.
constexpr Setting accred[] = {
    {"display_name_path", "$.display"},
    {"function_path", "$.position"},
    {"request_path", "/persons/{subject}"},
    {"role_path", "$.name"},
    {"roles_path", R"($.authorizations[*] ? (@.state like_regex "^active$" flag "i"))"},
    {"roles_request_path", "/authorizations?persid={subject}&state=active&expand=0&type=right"},
    {"scope_absent", "skip"},
    {"scope_id_path", "$.reason.resource.cf"},
    {"subject_path", "$.id"},
};

// In alphabetical order.
constexpr Preset presets[] = {
    {"accred", accred},
    {"json", json},
};

}  // namespace

std::span<const Preset> all_presets() { return presets; }

const Preset* preset_of(std::string_view kind) {
    for (const Preset& preset : presets)
        if (kind == preset.kind)
            return &preset;
    return nullptr;
}

}  // namespace rolecall::provider
