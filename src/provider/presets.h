// The kinds of provider. Each is a table of values for options that are not given. The rest of the library
// does not depend on the kind: a new kind needs only a table here and a section in docs/providers.md.
#pragma once

#include <span>
#include <string_view>

namespace rolecall::provider {

struct Setting {
    const char* option;
    const char* value;
};

struct Preset {
    const char* kind;
    std::span<const Setting> settings;  ///< options of the server
};

/// In alphabetical order of the kinds.
std::span<const Preset> all_presets();

/// Returns nullptr if there is no such kind.
const Preset* preset_of(std::string_view kind);

}  // namespace rolecall::provider
