// Whatever a provider sends: what is left of it is JSON in which nothing is odd, and prunes to itself; what
// is kept whole is refused only where it is not JSON; what nobody reads makes no difference.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "http/json_prune.h"
#include "http/json_reader.h"

using namespace rolecall;
using namespace rolecall::http;

namespace {

bool hold_all(std::string_view) { return true; }
bool hold_none(std::string_view) { return false; }

void require(bool condition) {
    if (!condition)
        std::abort();
}

core::JsonShape some_shape() {
    core::JsonShape shape;
    shape.members["a"].value = true;
    shape.members["b"].members["a"].whole = true;
    shape.members["b"].value = true;
    return shape;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    core::JsonShape whole;
    whole.whole = true;
    const core::JsonShape some = some_shape();
    core::JsonShape with_odd = some;  // the marks themselves
    with_odd.members[std::string(odd_member)].value = true;
    with_odd.members["a"].members[std::string(odd_member)].value = true;
    with_odd.members["b"].members[std::string(odd_member)].value = true;
    bool is_json = true;
    try {
        JsonReader reader(text);
        (void)reader.skip_value();
        is_json = reader.at_end();
    } catch (const Error&) {
        is_json = false;
    }
    for (const auto* shape : {static_cast<const core::JsonShape*>(&whole), &some}) {
        try {
            const Pruned pruned = prune_json(text, *shape, hold_all);
            require(is_json);
            const Pruned again = prune_json(pruned.json, shape == &some ? with_odd : whole, hold_all);
            require(again.oddities == 0);
            if (pruned.oddities == 0)
                require(again.json == pruned.json);
            require(prune_json(text, *shape, hold_none).oddities >= pruned.oddities || pruned.oddities > 0);
            // Beside it, what nobody reads
            const Pruned beside = prune_json("{\"x\":" + text + ",\"b\":" + text + "}", some, hold_all);
            const Pruned alone = prune_json("{\"b\":" + text + "}", some, hold_all);
            require(beside.json == alone.json && beside.oddities == alone.oddities);
        } catch (const Error&) {
            require(!is_json);
        }
    }
    return 0;
}
