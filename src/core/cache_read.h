// The lock-free half of core/cache.h: read(), and what it shares with the writers. Included by cache.h only.
#pragma once

#include <cstring>

#include "core/cache.h"

namespace rolecall::core {

// NOLINTBEGIN(clang-analyzer-core.NonNullParamChecker): `entry` lies in a ring, the analyzer thinks of no
// memory
inline bool Cache::has_key(const Word* entry, const Key& key) {
    if (load(entry[at_hash]) != key.hash || load(entry[at_projection]) != key.projection ||
        load(entry[at_database]) != (std::uint64_t{key.database} << 32 | key.bytes.size()))
        return false;
    const char* at = key.bytes.data();
    std::uint64_t left = key.bytes.size();
    for (const Word* word = entry + head_words; left > 0; ++word) {
        const std::uint64_t step = std::min<std::uint64_t>(left, 8);
        std::uint64_t expected = 0;
        std::memcpy(&expected, at, step);
        if (load(*word) != expected)
            return false;
        at += step;
        left -= step;
    }
    return true;
}
// NOLINTEND(clang-analyzer-core.NonNullParamChecker)

inline void Cache::read_head(const Word* entry, EntryHead& head) {
    head.versions = load(entry[at_versions]);
    head.window.from = static_cast<std::int64_t>(load(entry[at_from]));
    head.window.until = static_cast<std::int64_t>(load(entry[at_until]));
    head.loaded_at = static_cast<std::int64_t>(load(entry[at_loaded]));
    const std::uint64_t lengths = load(entry[at_lengths]);
    head.access_bytes = static_cast<std::uint32_t>(lengths >> 32);
    head.document_bytes = static_cast<std::uint32_t>(lengths);
    head.group_bytes = static_cast<std::uint32_t>(load(entry[at_groups]));
}

inline void Cache::copy_out(const Word* from, char* to, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t word = load(from[i]);
        std::memcpy(to + i * 8, &word, 8);
    }
}

// Why a validated copy is good on weakly ordered CPUs too. A writer changes the number to odd, then a release
// fence, then words or slots, then the number to even by a release store; it reuses an entry's memory only
// after such a change of the bucket that pointed at it. If any word copied here came from after a fence, our
// acquire fence in unchanged() makes that odd number visible to the load behind it, and the copy is thrown
// away. If none did, the first acquire load has made all that the bucket pointed at visible.
//
// Why stamps must be read after this function: its last acquire fence pairs with the writer's release fence,
// so whatever stamp was raised before the copied entry was installed is seen by loads that follow.
template <typename Reserve>
bool Cache::read(const Key& key, Part part, EntryHead& head, Reserve&& reserve) const {
    const std::uint32_t p = partition_of(key.hash);
    const Bucket& b = bucket(p, key.hash);
    const Word* base = ring(p);
    const std::uint64_t key_words = words(key.bytes.size());

    for (int attempt = 0; attempt < read_attempts; ++attempt) {
        const std::uint32_t sequence = b.sequence.load(std::memory_order_acquire);
        if ((sequence & 1) != 0)
            continue;
        const Word* entry = nullptr;
        for (const Word& slot : b.slots) {
            const std::uint64_t value = load(slot);
            // An offset is always one that a writer stored, but the entry behind it may be gone: stay inside.
            if (value != 0 && tag_in(value) == tag_of(key.hash) &&
                offset_in(value) + head_words + key_words <= layout_.ring_words &&
                has_key(base + offset_in(value), key)) {
                entry = base + offset_in(value);
                break;
            }
        }
        if (entry != nullptr)
            read_head(entry, head);
        if (!unchanged(b, sequence))
            continue;
        if (entry == nullptr)
            return false;

        // The head is sound, so its lengths are; the payload may still change under the copy.
        const Word* payload = entry + head_words + key_words;
        std::uint64_t count = words(head.group_bytes);
        if (count > 0)
            copy_out(payload, reserve(Part::groups, count * 8), count);
        payload += count;
        count = words(head.access_bytes);
        if (part == Part::document) {
            payload += count;
            count = words(head.document_bytes);
        }
        if (part != Part::groups && count > 0)
            copy_out(payload, reserve(part, count * 8), count);
        if (unchanged(b, sequence))
            return true;
    }
    return false;
}

template <typename Predicate>
std::uint64_t Cache::remove_if(std::uint32_t p, Predicate&& gone) {
    std::uint64_t removed = 0;
    for (std::uint32_t i = 0; i < layout_.buckets; ++i) {
        Bucket& b = buckets_[std::uint64_t{p} * layout_.buckets + i];
        for (int slot = 0; slot < slots_per_bucket; ++slot) {
            const std::uint64_t value = load(b.slots[slot]);
            if (value == 0)
                continue;
            const Word* entry = ring(p) + offset_in(value);
            if (gone(static_cast<std::uint32_t>(load(entry[at_database]) >> 32),
                     load(entry[at_projection]))) {
                forget(p, b, slot);
                ++removed;
            }
        }
    }
    return removed;
}

}  // namespace rolecall::core
