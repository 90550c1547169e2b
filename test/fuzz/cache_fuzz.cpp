// Operations on a small cache, against a map: whatever is found is what was put there last, and after each
// input the ring adds up.
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/cache.h"
#include "core/hash.h"

using namespace rolecall::core;

namespace {

void require(bool holds) {
    if (!holds)
        std::abort();
}

Key key_of(const std::string& bytes) { return {1, 2, bytes, hash(3, 1, 2, bytes)}; }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Cache::Layout layout = Cache::plan(std::size_t{1} << 18);
    static void* memory = std::aligned_alloc(64, (layout.bytes + 63) / 64 * 64);
    std::memset(memory, 0, layout.bytes);
    Cache cache(memory, layout);
    std::map<std::string, std::string> model;

    for (std::size_t at = 0; at + 4 <= size; at += 4) {
        const std::string key(1 + data[at] % 16, static_cast<char>('a' + data[at + 1] % 64));
        const std::size_t length = std::size_t{data[at + 2]} * data[at + 3];
        if (data[at] >= 224) {
            cache.remove(key_of(key));
            model.erase(key);
            continue;
        }
        const std::string document(length, static_cast<char>(data[at + 3]));
        const EntryHead head{.versions = length,
                             .window = {},
                             .loaded_at = 0,
                             .document_bytes = static_cast<std::uint32_t>(length),
                             .access_bytes = data[at + 1],
                             .group_bytes = data[at + 3]};
        const std::string access(data[at + 1], 'x');
        const std::string groups(data[at + 3], 'y');
        const Payload payload{.groups = groups.data(), .access = access.data(), .document = document.data()};
        if (cache.install(key_of(key), head, payload) == InstallResult::installed)
            model[key] = document;
    }

    for (std::uint32_t p = 0; p < cache.partitions(); ++p)
        cache.verify(p);
    for (std::size_t i = 0; i < 16 * 64; ++i) {
        const std::string key(1 + i % 16, static_cast<char>('a' + i / 16));
        EntryHead head;
        std::vector<std::uint64_t> groups;
        std::vector<std::uint64_t> buffer;
        const bool found = cache.read(key_of(key), Part::document, head, [&](Part part, std::size_t bytes) {
            std::vector<std::uint64_t>& to = part == Part::groups ? groups : buffer;
            to.resize(bytes / 8);
            return reinterpret_cast<char*>(to.data());
        });
        if (!found)
            continue;
        require(model.contains(key) && model[key].size() == head.document_bytes);
        require(head.document_bytes == 0 ||
                std::memcmp(buffer.data(), model[key].data(), head.document_bytes) == 0);
    }
    return 0;
}
