// A cache local to one process: copies of compact blocks from the shared cache, so that repeated role checks
// on the same users, such as those of a row-security policy, cost a few loads. A copy is subject to the same
// rule as its shared entry: the caller reads the entry's stamps after it has found the copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "core/cache.h"

namespace rolecall::core {

/// A fixed array indexed by a few bits of the key, so its size is bounded. Zeroed memory is an empty one.
class FirstLevel {
 public:
    static constexpr std::size_t largest_key = 40;     // a UUID as text fits
    static constexpr std::size_t largest_block = 400;  // about ten grants
    static constexpr std::size_t most_groups = 32;
    static constexpr std::uint32_t slots = 64;
    static constexpr std::uint32_t uses = 64;

    struct LocalEntry {
        std::uint64_t projection;  ///< 0: empty
        std::uint64_t hash;        ///< of the key, for its stamp
        EntryHead head;
        std::uint32_t left;  ///< uses until the shared entry is read again
        std::uint32_t key_bytes;
        char key[largest_key];
        std::uint32_t groups[most_groups];
        alignas(8) char block[largest_block];

        std::span<const std::uint32_t> group_stamps() const {
            return {groups, head.group_bytes / sizeof(std::uint32_t)};
        }
    };

    /// Returns the copy for a key, or nullptr. Also returns nullptr on every 64th use: the caller then reads
    /// the shared entry, which tells the cache that the key is in use.
    LocalEntry* find(std::uint64_t projection, std::string_view key) {
        LocalEntry& copy = at(projection, key);
        if (copy.projection != projection || copy.key_bytes != key.size() ||
            !same(copy.key, key.data(), key.size()) || copy.left == 0)
            return nullptr;
        --copy.left;
        return &copy;
    }

    /// Keeps a copy of an entry of the shared cache, replacing another copy if necessary. Entries that are
    /// too large are not kept.
    void keep(const Key& key, const EntryHead& head, std::span<const std::uint32_t> groups,
              const char* block) {
        if (key.bytes.size() > largest_key || groups.size() > most_groups ||
            head.access_bytes > largest_block)
            return;
        LocalEntry& copy = at(key.projection, key.bytes);
        copy.projection = key.projection;
        copy.hash = key.hash;
        copy.head = head;
        copy.left = uses - 1;
        copy.key_bytes = static_cast<std::uint32_t>(key.bytes.size());
        std::memcpy(copy.key, key.bytes.data(), key.bytes.size());
        std::copy(groups.begin(), groups.end(), copy.groups);
        if (head.access_bytes > 0)
            std::memcpy(copy.block, block, head.access_bytes);
    }

 private:
    static std::uint64_t last_word(std::string_view key) {
        std::uint64_t word = 0;
        if (key.size() >= 8)
            std::memcpy(&word, key.data() + key.size() - 8, 8);
        else
            std::memcpy(&word, key.data(), key.size());
        return word;
    }
    static bool same(const char* a, const char* b, std::size_t size) {
        if (size != 8)
            return std::memcmp(a, b, size) == 0;
        std::uint64_t words[2];
        std::memcpy(&words[0], a, 8);
        std::memcpy(&words[1], b, 8);
        return words[0] == words[1];
    }
    LocalEntry& at(std::uint64_t projection, std::string_view key) {
        return copies_[(last_word(key) ^ projection) * 0x9e3779b97f4a7c15ULL >> 58];
    }

    LocalEntry copies_[slots];
    static_assert(slots == 64, "six bits of the product");
};

}  // namespace rolecall::core
