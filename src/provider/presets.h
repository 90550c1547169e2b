// The kinds of provider: each is a table of values for options that are not given. Nothing else in the
// library asks for the kind; a new one is a table here, and a section in docs/providers.md.
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
    std::span<const Setting> settings;  ///< of options of servers
};

/// In alphabetical order of the kinds.
std::span<const Preset> all_presets();

/// nullptr: there is no such kind.
const Preset* preset_of(std::string_view kind);

}  // namespace rolecall::provider
