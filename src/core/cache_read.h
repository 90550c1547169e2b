// The lock-free half of core/cache.h: read(), and what read() shares with the writers. Only cache.h includes
// it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

namespace rolecall::core {

// NOLINTBEGIN(clang-analyzer-core.NonNullParamChecker): `entry` always lies in a ring
inline bool Cache::has_key(const Word* entry, const Key& key) {
    if (load(entry[at_extent]) >> key_shift != shape_of(key) ||
        load(entry[at_projection]) != key.projection || database_of(entry) != key.database)
        return false;
    const char* at = key.bytes.data();
    const Word* word = entry + head_words;
    std::uint64_t expected = 0;
    std::uint64_t left = key.bytes.size();
    for (; left >= 8; left -= 8, at += 8, ++word) {
        std::memcpy(&expected, at, 8);
        if (load(*word) != expected)
            return false;
    }
    if (left == 0)
        return true;
    expected = 0;
    std::memcpy(&expected, at, left);
    return load(*word) == expected;
}
// NOLINTEND(clang-analyzer-core.NonNullParamChecker)

inline void Cache::read_head(const Word* entry, EntryHead& head) {
    head.group_bytes = static_cast<std::uint32_t>(load(entry[at_extent]) >> group_shift) & most_group_bytes;
    head.versions = load(entry[at_versions]);
    head.loaded_at = static_cast<std::int64_t>(load(entry[at_loaded]));
    const std::uint64_t lengths = load(entry[at_lengths]);
    head.access_bytes = static_cast<std::uint32_t>(lengths >> 32);
    head.document_bytes = static_cast<std::uint32_t>(lengths);
}

// Prefetches the payload of an entry of usual size, before the head tells where the payload starts, so that
// the cache misses overlap.
inline void Cache::expect_entry(const Word* entry, Part part) {
    constexpr int line = 8;  // words
    constexpr int usual_document = 14;
    constexpr int usual_access = 4;
    int lines = part == Part::document ? usual_document : usual_access;
    for (; lines > 0; --lines)
        __builtin_prefetch(entry += line);
}

inline void Cache::read_window(const Word* entry, std::uint64_t key_words, EntryHead& head) {
    const Word* at = entry + head_words + key_words;
    head.window.from = static_cast<std::int64_t>(load(at[0]));
    head.window.until = static_cast<std::int64_t>(load(at[1]));
}

// Copying takes most of the time of a hit. On x86, loads are not reordered whatever their width, so wide
// loads are as good as relaxed word loads. In C++ wide loads would be a data race by the letter, so they are
// in assembly.
inline void Cache::copy_out(const Word* from, char* to, std::uint64_t count) {
    std::uint64_t i = 0;
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(ROLECALL_MODEL)
    for (; i + 8 <= count; i += 8)
        asm volatile(
            "movups (%0), %%xmm0\n\t"
            "movups 16(%0), %%xmm1\n\t"
            "movups 32(%0), %%xmm2\n\t"
            "movups 48(%0), %%xmm3\n\t"
            "movups %%xmm0, (%1)\n\t"
            "movups %%xmm1, 16(%1)\n\t"
            "movups %%xmm2, 32(%1)\n\t"
            "movups %%xmm3, 48(%1)"
            :
            : "r"(from + i), "r"(to + i * 8)
            : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
    for (; i + 2 <= count; i += 2)
        asm volatile(
            "movups (%0), %%xmm0\n\t"
            "movups %%xmm0, (%1)"
            :
            : "r"(from + i), "r"(to + i * 8)
            : "xmm0", "memory");
#endif
    for (; i < count; ++i) {
        const std::uint64_t word = load(from[i]);
        std::memcpy(to + i * 8, &word, 8);
    }
}

// Why a validated copy is correct on weakly ordered CPUs too: a writer sets the number to odd, issues a
// release fence, changes words or slots, and sets the number to even by a release store. It reuses an entry's
// memory only after such a change of the bucket that pointed at the entry. If any word copied here was
// written after such a fence, the acquire fence in unchanged() makes the odd number visible to the load that
// follows the fence, and the copy is discarded. If none was, the first acquire load has made everything
// visible that the bucket pointed at.
//
// Why stamps must be read after this function: its last acquire fence pairs with the writer's release fence,
// so loads that follow see every stamp that was raised before the copied entry was installed.
//
// test/model runs this code against every execution that the C++ memory model allows, and reports a fault
// when any of these orderings is removed. A writer that dies during a change leaves the number odd, and
// readers find nothing there; the server reinitializes its shared memory when a process dies while it holds a
// lock.
template <typename Reserve>
bool Cache::read(const Key& key, Part part, EntryHead& head, Reserve&& reserve) const {
    if (key.bytes.size() > most_key_bytes)
        return false;
    const auto [first, second] = buckets_of(hash_of(key));
    for (int attempt = 0; attempt < read_attempts; ++attempt) {
        Look seen = look(*first, key, part, head, reserve);
        if (seen == Look::absent && second != first)
            seen = look(*second, key, part, head, reserve);
        if (seen != Look::changed)
            return seen == Look::found;
    }
    return false;
}

template <typename Reserve>
Cache::Look Cache::look(const Bucket& b, const Key& key, Part part, EntryHead& head,
                        Reserve&& reserve) const {
    const std::uint64_t hash = hash_of(key);
    const Word* base = ring(partition_of(hash));
    const Word* end = base + layout_.ring_words;
    const std::uint64_t key_words = words(key.bytes.size());
    const std::uint32_t tag = tag_of(hash);

    const std::uint32_t sequence = b.sequence.load(std::memory_order_acquire);
    if ((sequence & 1) != 0)
        return Look::changed;
    // The loop has no branches because the matching slot cannot be predicted.
    unsigned candidates = 0;
#pragma GCC unroll 7
    for (int i = 0; i < slots_per_bucket; ++i)
        candidates |= static_cast<unsigned>(tag_in(load(b.slots[i])) == tag) << i;
    int slot = 0;
    const Word* entry = nullptr;
    for (; candidates != 0; candidates &= candidates - 1) {
        slot = std::countr_zero(candidates);
        const std::uint64_t value = load(b.slots[slot]);
        // An offset is always one that a writer stored, but the entry there may be gone, so check the bounds.
        if (value == 0 || offset_in(value) + head_words + key_words > layout_.ring_words)
            continue;
        const Word* there = base + offset_in(value);
        expect_entry(there, part);
        if (has_key(there, key)) {
            entry = there;
            break;
        }
    }
    if (entry != nullptr) {
        read_head(entry, head);
        head.window = {};
        if ((head.document_bytes & window_flag) != 0 && entry + head_words + key_words + window_words <= end)
            read_window(entry, key_words, head);
    }
    if (!unchanged(b, sequence))
        return Look::changed;
    if (entry == nullptr)
        return Look::absent;

    // The head is valid, so its lengths are; the payload may still change during the copy.
    const Word* payload = entry + head_words + key_words;
    if ((head.document_bytes & window_flag) != 0) {
        payload += window_words;
        head.document_bytes &= ~window_flag;
    }
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
    if (!unchanged(b, sequence))
        return Look::changed;
    if (!is_marked(b, slot))
        mark(b, slot);
    return Look::found;
}

template <typename Each>
std::uint32_t Cache::walk(std::uint32_t p, std::uint32_t from, Each&& each) const {
    constexpr std::uint32_t at_once = 1024;
    const std::uint32_t to = std::min(from + at_once, layout_.buckets);
    for (std::uint32_t i = from; i < to; ++i) {
        Bucket& b = buckets_[std::uint64_t{p} * layout_.buckets + i];
        for (int slot = 0; slot < slots_per_bucket; ++slot) {
            const std::uint64_t value = load(b.slots[slot]);
            if (value != 0)
                each(Location{&b, slot}, ring(p) + offset_in(value));
        }
    }
    return to == layout_.buckets ? 0 : to;
}

template <typename Predicate>
std::uint32_t Cache::remove_if(std::uint32_t p, std::uint32_t from, Predicate&& gone) {
    return walk(p, from, [&](const Location& place, const Word* entry) {
        if (gone(database_of(entry), load(entry[at_projection])))
            forget(p, place);
    });
}

template <typename Visitor>
std::uint32_t Cache::visit(std::uint32_t p, std::uint32_t from, Visitor&& what) const {
    return walk(p, from, [&](const Location&, const Word* entry) {
        what(database_of(entry), load(entry[at_projection]), size_of(entry) * 8);
    });
}

}  // namespace rolecall::core
