// A cache on the heap, for tests and benchmarks.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/cache.h"
#include "core/hash.h"

namespace rolecall::core {

// With a mutex for each partition.
class Region {
 public:
    explicit Region(std::size_t bytes, std::size_t largest_document = 0)
        : layout_(Cache::plan(bytes, largest_document)),
          memory_(std::aligned_alloc(64, round(layout_.bytes))) {
        std::memset(memory_, 0, layout_.bytes);
        cache = Cache(memory_, layout_);
        locks = std::vector<std::mutex>(layout_.partitions);
    }
    ~Region() { std::free(memory_); }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

    InstallResult install(const std::string& key, const std::string& access, const std::string& document,
                          std::uint64_t versions = 1, const std::string& groups = {}, Room room = Room::any) {
        const Key k = key_of(key);
        const EntryHead head{.versions = versions,
                             .window = {},
                             .loaded_at = 42,
                             .document_bytes = static_cast<std::uint32_t>(document.size()),
                             .access_bytes = static_cast<std::uint32_t>(access.size()),
                             .group_bytes = static_cast<std::uint32_t>(groups.size())};
        const std::lock_guard guard(locks[cache.partition_of(k.hash)]);
        return cache.install(
            k, head, {.groups = groups.data(), .access = access.data(), .document = document.data()}, room);
    }

    bool remove(const std::string& key) {
        const Key k = key_of(key);
        const std::lock_guard guard(locks[cache.partition_of(k.hash)]);
        return cache.remove(k);
    }

    bool read(const std::string& key, Part part, EntryHead& head, std::string& out) const {
        std::string groups;
        return read(key, part, head, groups, out);
    }

    bool read(const std::string& key, Part part, EntryHead& head, std::string& groups,
              std::string& out) const {
        std::map<Part, std::vector<std::uint64_t>> buffers;
        const bool found = cache.read(key_of(key), part, head, [&](Part which, std::size_t bytes) {
            buffers[which].resize(bytes / 8);
            return reinterpret_cast<char*>(buffers[which].data());
        });
        const auto text = [&](Part which, std::uint32_t bytes) {
            return found && bytes > 0
                       ? std::string(reinterpret_cast<const char*>(buffers[which].data()), bytes)
                       : std::string();
        };
        groups = text(Part::groups, head.group_bytes);
        out = part == Part::groups   ? groups
              : part == Part::access ? text(part, head.access_bytes)
                                     : text(part, head.document_bytes);
        return found;
    }

    CacheCounts counts() {
        CacheCounts sum;
        for (std::uint32_t p = 0; p < cache.partitions(); ++p) {
            const std::lock_guard guard(locks[p]);
            cache.verify(p);
            const CacheCounts c = cache.counts(p);
            sum.entries += c.entries;
            sum.live_bytes += c.live_bytes;
            sum.ring_bytes += c.ring_bytes;
            sum.evictions += c.evictions;
        }
        return sum;
    }

    static Key key_of(const std::string& key) { return {7, 9, key, hash(1, 7, 9, key)}; }

    Cache cache;
    std::vector<std::mutex> locks;

 private:
    static std::size_t round(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

    Cache::Layout layout_;
    void* memory_;
};

}  // namespace rolecall::core
