#include "core/cache.h"

#include <algorithm>
#include <stdexcept>

namespace rolecall::core {

namespace {

constexpr std::size_t partition_target = std::size_t{4} << 20;  // large enough that one lock is no bottleneck
constexpr std::uint32_t most_partitions = 64;
constexpr std::size_t ring_bytes_per_bucket = 1600;  // at 700 bytes an entry, a third of the slots are taken
constexpr std::uint64_t largest_share = 8;           // one entry takes at most this part of a ring
constexpr std::uint64_t most_ring_words = UINT32_MAX - 1;

}  // namespace

Cache::Layout Cache::plan(std::size_t bytes) {
    Layout layout;
    layout.partitions =
        static_cast<std::uint32_t>(std::clamp<std::size_t>(bytes / partition_target, 1, most_partitions));
    const std::size_t each = bytes / layout.partitions - sizeof(Partition) - 64;
    layout.buckets = static_cast<std::uint32_t>(each / (ring_bytes_per_bucket + sizeof(Bucket)));
    layout.ring_words =
        std::min<std::uint64_t>((each - layout.buckets * sizeof(Bucket)) / 8, most_ring_words);
    layout.bytes = layout.partitions *
                   (sizeof(Partition) + layout.buckets * sizeof(Bucket) + layout.ring_words * sizeof(Word));
    return layout;
}

Cache::Cache(void* memory, const Layout& layout) : layout_(layout) {
    auto* at = static_cast<std::byte*>(memory);
    partitions_ = reinterpret_cast<Partition*>(at);
    at += layout.partitions * sizeof(Partition);
    buckets_ = reinterpret_cast<Bucket*>(at);
    at += std::size_t{layout.partitions} * layout.buckets * sizeof(Bucket);
    rings_ = reinterpret_cast<Word*>(at);
}

int Cache::find(const Bucket& b, Word* base, const Key& key) const {
    for (int slot = 0; slot < slots_per_bucket; ++slot) {
        const std::uint64_t value = load(b.slots[slot]);
        if (value != 0 && tag_in(value) == tag_of(key.hash) && has_key(base + offset_in(value), key))
            return slot;
    }
    return -1;
}

Cache::Word* Cache::copy_in(Word* to, const char* from, std::uint64_t bytes) {
    while (bytes > 0) {
        const std::uint64_t step = std::min<std::uint64_t>(bytes, 8);
        std::uint64_t word = 0;
        std::memcpy(&word, from, step);
        store(*to++, word);
        from += step;
        bytes -= step;
    }
    return to;
}

void Cache::fill(Word* entry, std::uint64_t size, const Key& key, const EntryHead& head,
                 const Payload& payload) {
    store(entry[at_extent], state_live << 32 | size);
    store(entry[at_hash], key.hash);
    store(entry[at_projection], key.projection);
    store(entry[at_database], std::uint64_t{key.database} << 32 | key.bytes.size());
    store(entry[at_versions], head.versions);
    store(entry[at_from], static_cast<std::uint64_t>(head.window.from));
    store(entry[at_until], static_cast<std::uint64_t>(head.window.until));
    store(entry[at_loaded], static_cast<std::uint64_t>(head.loaded_at));
    store(entry[at_lengths], std::uint64_t{head.access_bytes} << 32 | head.document_bytes);
    store(entry[at_groups], head.group_bytes);
    Word* at = copy_in(entry + head_words, key.bytes.data(), key.bytes.size());
    at = copy_in(at, payload.groups, head.group_bytes);
    at = copy_in(at, payload.access, head.access_bytes);
    copy_in(at, payload.document, head.document_bytes);
}

// Takes an entry out of the index; its memory stays where it is until the ring comes round.
void Cache::forget(std::uint32_t p, Bucket& b, int slot) {
    Partition& part = partition(p);
    Word* entry = ring(p) + offset_in(load(b.slots[slot]));
    const std::uint64_t size = size_of(entry);
    begin_change(b);
    store(b.slots[slot], 0);
    end_change(b);
    store(entry[at_extent], state_dead << 32 | size);
    part.entries -= 1;
    part.live_words -= size;
    part.dead_words += size;
}

void Cache::pass_oldest(std::uint32_t p) {
    Partition& part = partition(p);
    const Word* entry = ring(p) + part.start;
    const std::uint64_t size = size_of(entry);
    if (state_of(entry) == state_live) {
        const std::uint64_t hash = load(entry[at_hash]);
        Bucket& b = bucket(p, hash);
        const std::uint64_t value = make_slot(hash, part.start);
        for (int slot = 0; slot < slots_per_bucket; ++slot) {
            if (load(b.slots[slot]) == value) {
                forget(p, b, slot);
                break;
            }
        }
        part.evictions += 1;
    }
    part.dead_words -= size;
    part.start += size;
    if (part.start == layout_.ring_words)
        part.start = 0;
}

// Returns where `size` words are free, passing over the oldest entries as needed.
std::uint64_t Cache::allocate(std::uint32_t p, std::uint64_t size) {
    Partition& part = partition(p);
    for (;;) {
        if (part.live_words + part.dead_words == 0)
            part.start = part.end = 0;
        const bool wrapped = part.live_words + part.dead_words > 0 && part.end <= part.start;
        const std::uint64_t limit = wrapped ? part.start : layout_.ring_words;
        if (limit - part.end >= size) {
            const std::uint64_t offset = part.end;
            part.end += size;
            if (part.end == layout_.ring_words)
                part.end = 0;
            part.live_words += size;
            part.entries += 1;
            return offset;
        }
        if (wrapped) {
            pass_oldest(p);
        } else {
            const std::uint64_t rest = layout_.ring_words - part.end;
            store(ring(p)[part.end], state_filler << 32 | rest);
            part.dead_words += rest;
            part.end = 0;
        }
    }
}

InstallResult Cache::install(const Key& key, const EntryHead& head, const Payload& payload) {
    const std::uint32_t p = partition_of(key.hash);
    const std::uint64_t size = head_words + words(key.bytes.size()) + words(head.group_bytes) +
                               words(head.access_bytes) + words(head.document_bytes);
    if (size > layout_.ring_words / largest_share)
        return InstallResult::too_large;

    Partition& part = partition(p);
    Bucket& b = bucket(p, key.hash);
    part.installs += 1;
    const int present = find(b, ring(p), key);
    if (present >= 0) {
        Word* entry = ring(p) + offset_in(load(b.slots[present]));
        if (size_of(entry) == size) {
            begin_change(b);
            fill(entry, size, key, head, payload);
            end_change(b);
            return InstallResult::installed;
        }
        forget(p, b, present);
    }

    const std::uint64_t offset = allocate(p, size);
    fill(ring(p) + offset, size, key, head, payload);
    int slot = 0;
    while (slot < slots_per_bucket && load(b.slots[slot]) != 0)
        ++slot;
    if (slot == slots_per_bucket) {
        slot = static_cast<int>(b.victim++ % slots_per_bucket);
        forget(p, b, slot);
        part.evictions += 1;
        part.index_evictions += 1;
    }
    begin_change(b);
    store(b.slots[slot], make_slot(key.hash, offset));
    end_change(b);
    return InstallResult::installed;
}

bool Cache::remove(const Key& key) {
    const std::uint32_t p = partition_of(key.hash);
    Bucket& b = bucket(p, key.hash);
    const int slot = find(b, ring(p), key);
    if (slot < 0)
        return false;
    forget(p, b, slot);
    return true;
}

CacheCounts Cache::counts(std::uint32_t p) const {
    const Partition& part = partition(p);
    return {.entries = part.entries,
            .live_bytes = part.live_words * 8,
            .dead_bytes = part.dead_words * 8,
            .ring_bytes = layout_.ring_words * 8,
            .installs = part.installs,
            .evictions = part.evictions,
            .index_evictions = part.index_evictions};
}

void Cache::verify(std::uint32_t p) const {
    const auto expect = [](bool holds, const char* what) {
        if (!holds)
            throw std::logic_error(what);
    };
    const Partition& part = partition(p);
    std::uint64_t live = 0;
    std::uint64_t dead = 0;
    std::uint64_t entries = 0;
    std::uint64_t at = part.start;
    while (live + dead < part.live_words + part.dead_words) {
        const Word* entry = ring(p) + at;
        const std::uint64_t size = size_of(entry);
        expect(size > 0 && at + size <= layout_.ring_words, "an entry leaves the ring");
        if (state_of(entry) == state_live) {
            const Bucket& b = bucket(p, load(entry[at_hash]));
            expect(std::any_of(
                       std::begin(b.slots), std::end(b.slots),
                       [&](const Word& slot) { return load(slot) == make_slot(load(entry[at_hash]), at); }),
                   "a live entry is not in the index");
            live += size;
            entries += 1;
        } else {
            dead += size;
        }
        at += size;
        if (at == layout_.ring_words)
            at = 0;
    }
    expect(live == part.live_words && dead == part.dead_words, "the counts are not what the ring holds");
    expect(entries == part.entries, "the entries are not what the ring holds");
    expect(live + dead == 0 || at == part.end, "the ring does not end where it should");
    expect(live + dead <= layout_.ring_words, "the ring holds more than it has");

    std::uint64_t indexed = 0;
    for (std::uint32_t i = 0; i < layout_.buckets; ++i) {
        const Bucket& b = buckets_[std::uint64_t{p} * layout_.buckets + i];
        expect((b.sequence.load(std::memory_order_relaxed) & 1) == 0, "a bucket was left changing");
        for (const Word& slot : b.slots) {
            if (load(slot) == 0)
                continue;
            expect(state_of(ring(p) + offset_in(load(slot))) == state_live, "the index names a dead entry");
            indexed += 1;
        }
    }
    expect(indexed == part.entries, "the index does not name each entry once");
}

}  // namespace rolecall::core
