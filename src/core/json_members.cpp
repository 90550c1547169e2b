#include "core/json_members.h"

namespace rolecall::core {

std::size_t count_members(std::string_view json) {
    std::size_t count = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\')
            ++i;
        else if (!in_string && c == ':')
            ++count;
    }
    return count;
}

}  // namespace rolecall::core
