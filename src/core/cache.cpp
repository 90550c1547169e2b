#include "core/cache.h"

#include <algorithm>
#include <stdexcept>

namespace rolecall::core {

namespace {

constexpr std::size_t partition_target = std::size_t{4} << 20;  // large enough that one lock is no bottleneck
constexpr std::uint32_t most_partitions = 64;
constexpr std::size_t documents_per_partition = 8;   // of the largest size
constexpr std::size_t ring_bytes_per_bucket = 3200;  // half of the slots are used at 900 bytes an entry
constexpr std::uint32_t ghosts_per_bucket = 4;       // about as many as the main ring has entries
constexpr std::uint64_t nursery_share = 10;          // a tenth of the words
constexpr std::uint64_t largest_share_nursery = 8;   // one entry takes at most 1/8 of the nursery,
constexpr std::uint64_t largest_share = 2;           // and at most 1/2 of the main ring
constexpr std::uint64_t most_ring_words = UINT32_MAX - 1;
constexpr int most_kept = 32;  // entries that one install may keep, because it holds the lock

}  // namespace

Cache::Layout Cache::plan(std::size_t bytes, std::size_t largest_document) {
    Layout layout;
    const std::size_t target = std::max(partition_target, documents_per_partition * largest_document);
    layout.partitions =
        static_cast<std::uint32_t>(std::clamp<std::size_t>(bytes / target, 1, most_partitions));
    const std::size_t each = bytes / layout.partitions - sizeof(Partition) - 64;
    constexpr std::size_t bucket_bytes = sizeof(Bucket) + ghosts_per_bucket * sizeof(std::uint16_t);
    layout.buckets = static_cast<std::uint32_t>(each / (ring_bytes_per_bucket + bucket_bytes));
    layout.ghosts = layout.buckets * ghosts_per_bucket;
    layout.ring_words = std::min<std::uint64_t>((each - layout.buckets * bucket_bytes) / 8, most_ring_words);
    layout.nursery_words = layout.ring_words / nursery_share;
    layout.bytes = layout.partitions *
                   (sizeof(Partition) + layout.buckets * bucket_bytes + layout.ring_words * sizeof(Word));
    return layout;
}

Cache::Cache(void* memory, const Layout& layout) : layout_(layout) {
    auto* at = static_cast<std::byte*>(memory);
    partitions_ = reinterpret_cast<Partition*>(at);
    at += layout.partitions * sizeof(Partition);
    buckets_ = reinterpret_cast<Bucket*>(at);
    at += std::size_t{layout.partitions} * layout.buckets * sizeof(Bucket);
    rings_ = reinterpret_cast<Word*>(at);
    at += std::size_t{layout.partitions} * layout.ring_words * sizeof(Word);
    ghosts_ = reinterpret_cast<std::uint16_t*>(at);
}

Cache::Location Cache::find(const Key& key) const {
    if (key.bytes.size() > most_key_bytes)
        return {};
    const std::uint64_t hash = hash_of(key);
    const std::uint32_t tag = tag_of(hash);
    Word* base = ring(partition_of(hash));
    for (Bucket* b : buckets_of(hash))
        for (int slot = 0; slot < slots_per_bucket; ++slot) {
            const std::uint64_t value = load(b->slots[slot]);
            if (value != 0 && tag_in(value) == tag && has_key(base + offset_in(value), key))
                return {b, slot};
        }
    return {};
}

// Returns the slot of the index that points at the live entry at `offset`.
Cache::Location Cache::place_of(std::uint32_t p, std::uint64_t offset) const {
    const auto number = static_cast<std::uint32_t>(load(ring(p)[offset + at_database]));
    Bucket& b = bucket(p, number);
    for (int slot = 0; slot < slots_per_bucket; ++slot)
        if (offset_in(load(b.slots[slot])) == offset)  // an empty slot matches no offset
            return {&b, slot};
    return {};
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

void Cache::fill(Word* entry, std::uint64_t size, std::uint32_t bucket, const Key& key, const EntryHead& head,
                 const Payload& payload) {
    store(entry[at_extent],
          shape_of(key) << key_shift | std::uint64_t{head.group_bytes} << group_shift | size);
    store(entry[at_projection], key.projection);
    store(entry[at_database], std::uint64_t{key.database} << 32 | bucket);
    store(entry[at_versions], head.versions);
    store(entry[at_loaded], static_cast<std::uint64_t>(head.loaded_at));
    store(entry[at_lengths], std::uint64_t{head.access_bytes} << 32 | (has_window(head) ? window_flag : 0) |
                                 head.document_bytes);
    Word* at = copy_in(entry + head_words, key.bytes.data(), key.bytes.size());
    if (has_window(head)) {
        store(*at++, static_cast<std::uint64_t>(head.window.from));
        store(*at++, static_cast<std::uint64_t>(head.window.until));
    }
    at = copy_in(at, payload.groups, head.group_bytes);
    at = copy_in(at, payload.access, head.access_bytes);
    copy_in(at, payload.document, head.document_bytes);
}

// Removes an entry from the index. Its memory stays in use until the ring reaches it.
void Cache::forget(std::uint32_t p, const Location& place) {
    Partition& part = partition(p);
    const std::uint64_t offset = offset_in(place.value());
    Word* entry = ring(p) + offset;
    const std::uint64_t size = size_of(entry);
    set_slot(place, 0);
    set_extent(entry, state_dead, size);
    Ring& r = part.rings[ring_at(offset)];
    r.live_words -= size;
    r.dead_words += size;
    part.entries -= 1;
}

// Returns whether `size` contiguous words are free at a ring's end.
bool Cache::fits(Ring& r, RingName name, std::uint64_t size) const {
    if (r.used() == 0)
        r.start = r.end = first_of(name);
    return (is_wrapped(r) ? r.start : last_of(name)) - r.end >= size;
}

// Takes `size` words off a ring's start. The caller has already subtracted them from live or dead words.
void Cache::leave(Ring& r, RingName name, std::uint64_t size) const {
    r.start += size;
    if (r.start == last_of(name))
        r.start = first_of(name);
}

// Moves the oldest entry of `from` to the end of the main ring. The caller has made sure of the room if
// `from` is the nursery. In the main ring the room is what the entry itself leaves, and the entry moves to
// lower addresses.
void Cache::move_oldest(std::uint32_t p, RingName from, const Location& place) {
    Partition& part = partition(p);
    Ring& source = part.rings[from];
    const std::uint64_t old_offset = source.start;
    Word* old_entry = ring(p) + old_offset;
    const std::uint64_t size = size_of(old_entry);
    const std::uint32_t tag = tag_in(place.value());
    Bucket& b = *place.bucket;
    std::uint64_t offset = from == nursery ? allocate(p, main_ring, size) : 0;

    begin_change(b);
    source.live_words -= size;
    leave(source, from, size);
    if (from == main_ring)
        offset = allocate(p, main_ring, size);
    Word* entry = ring(p) + offset;
    for (std::uint64_t i = 0; i < size; ++i)
        store(entry[i], load(old_entry[i]));
    store(b.slots[place.slot], make_slot(tag, offset));
    end_change(b);
    unmark(b, place.slot);
}

// Removes a live entry to make room.
void Cache::evict(std::uint32_t p, const Location& place) {
    const Word* entry = ring(p) + offset_in(place.value());
    if (on_eviction != nullptr)
        on_eviction(database_of(entry), load(entry[at_projection]));
    partition(p).evictions += 1;
    forget(p, place);
}

// Takes the oldest entry off a ring. The entry moves to the end of the main ring if it was read since its
// last turn (up to most_kept entries), or if it was in the nursery and the main ring has room.
void Cache::pass_oldest(std::uint32_t p, RingName name, int& kept) {
    Partition& part = partition(p);
    Ring& r = part.rings[name];
    const Word* entry = ring(p) + r.start;
    const std::uint64_t size = size_of(entry);
    if (state_of(entry) == state_live) {
        const Location place = place_of(p, r.start);
        const bool stays =
            is_marked(*place.bucket, place.slot) ? kept < most_kept : name == nursery && has_room(p, size);
        if (stays) {
            ++kept;
            move_oldest(p, name, place);
            return;
        }
        if (const std::uint32_t tag = tag_in(place.value()); name == nursery)
            ghost(p, tag) = static_cast<std::uint16_t>(tag);
        evict(p, place);
    }
    r.dead_words -= size;
    leave(r, name, size);
}

bool Cache::is_wrapped(const Ring& r) { return r.used() > 0 && r.end <= r.start; }

// Continues a ring at its beginning. The rest of its memory becomes a filler.
void Cache::wrap(std::uint32_t p, RingName name) {
    Ring& r = partition(p).rings[name];
    const std::uint64_t rest = last_of(name) - r.end;
    set_extent(ring(p) + r.end, state_filler, rest);
    r.dead_words += rest;
    r.end = first_of(name);
}

// Returns whether the main ring has room for `size` words without evicting an entry. Passes over dead
// entries.
bool Cache::has_room(std::uint32_t p, std::uint64_t size) {
    Ring& r = partition(p).rings[main_ring];
    for (int kept = 0; !fits(r, main_ring, size);) {
        if (!is_wrapped(r))
            wrap(p, main_ring);
        else if (state_of(ring(p) + r.start) == state_live)
            return false;
        else
            pass_oldest(p, main_ring, kept);
    }
    return true;
}

// Allocates `size` words in a ring and returns their offset. Passes over the oldest entries as needed.
std::uint64_t Cache::allocate(std::uint32_t p, RingName name, std::uint64_t size) {
    Ring& r = partition(p).rings[name];
    for (int kept = 0; !fits(r, name, size);) {
        if (is_wrapped(r))
            pass_oldest(p, name, kept);
        else
            wrap(p, name);
    }
    const std::uint64_t offset = r.end;
    r.end += size;
    if (r.end == last_of(name))
        r.end = first_of(name);
    r.live_words += size;
    return offset;
}

// Returns an empty slot in one of a key's buckets. Prefers the first bucket while it has plenty, because
// readers look there first; otherwise takes the bucket that has more empty slots.
Cache::Location Cache::empty_place(std::uint64_t hash) const {
    constexpr int plenty = 3;
    Location best;
    int most = 0;
    for (Bucket* b : buckets_of(hash)) {
        int empty = 0;
        int slot = -1;
        for (int i = slots_per_bucket; i-- > 0;)
            if (load(b->slots[i]) == 0) {
                slot = i;
                ++empty;
            }
        if (empty > most) {
            most = empty;
            best = {b, slot};
        }
        if (most >= plenty)
            break;
    }
    return best;
}

// Like empty_place(). If both buckets are full, evicts an entry of the first, preferably one not read lately.
Cache::Location Cache::free_place(std::uint64_t hash) {
    const Location empty = empty_place(hash);
    if (empty.is_there())
        return empty;
    Bucket& b = *buckets_of(hash)[0];
    int slot = b.victim % slots_per_bucket;
    for (int i = 0; i < slots_per_bucket && is_marked(b, slot); ++i)
        slot = (slot + 1) % slots_per_bucket;
    b.victim = static_cast<std::uint8_t>((slot + 1) % slots_per_bucket);
    const std::uint32_t p = partition_of(hash);
    evict(p, {&b, slot});
    partition(p).index_evictions += 1;
    return {&b, slot};
}

InstallResult Cache::install(const Key& key, const EntryHead& head, const Payload& payload, Room room) {
    const std::uint64_t hash = hash_of(key);
    const std::uint32_t p = partition_of(hash);
    const std::uint64_t size = size_for(key, head);
    if (size > (layout_.ring_words - layout_.nursery_words) / largest_share ||
        key.bytes.size() > most_key_bytes || head.group_bytes > most_group_bytes)
        return InstallResult::too_large;

    Partition& part = partition(p);
    RingName name = nursery;
    const Location present = find(key);
    if (!present.is_there() && room == Room::free) {
        if (!empty_place(hash).is_there() || !has_room(p, size))
            return InstallResult::no_room;
        name = main_ring;  // where it would move anyway while there is room
    }
    part.installs += 1;
    const std::uint32_t tag = tag_of(hash);
    if (present.is_there()) {
        const std::uint64_t offset = offset_in(present.value());
        Word* entry = ring(p) + offset;
        if (size_of(entry) == size) {
            begin_change(*present.bucket);
            fill(entry, size, number_of(p, *present.bucket), key, head, payload);
            end_change(*present.bucket);
            return InstallResult::installed;
        }
        name = ring_at(offset);
        forget(p, present);
    } else if (ghost(p, tag) != 0 && ghost(p, tag) == static_cast<std::uint16_t>(tag)) {
        ghost(p, tag) = 0;
        name = main_ring;
    }
    if (size > layout_.nursery_words / largest_share_nursery)
        name = main_ring;

    const std::uint64_t offset = allocate(p, name, size);
    const Location place = free_place(hash);
    fill(ring(p) + offset, size, number_of(p, *place.bucket), key, head, payload);
    part.entries += 1;
    set_slot(place, make_slot(tag, offset));
    return InstallResult::installed;
}

bool Cache::remove(const Key& key) {
    const Location place = find(key);
    if (!place.is_there())
        return false;
    forget(partition_of(key.hash), place);
    return true;
}

CacheCounts Cache::counts(std::uint32_t p) const {
    const Partition& part = partition(p);
    return {.entries = part.entries,
            .live_bytes = (part.rings[nursery].live_words + part.rings[main_ring].live_words) * 8,
            .dead_bytes = (part.rings[nursery].dead_words + part.rings[main_ring].dead_words) * 8,
            .ring_bytes = layout_.ring_words * 8,
            .installs = part.installs,
            .evictions = part.evictions,
            .index_evictions = part.index_evictions};
}

namespace {

void expect_that(bool holds, const char* what) {
    if (!holds)
        throw std::logic_error(what);
}

}  // namespace

void Cache::verify_ring(std::uint32_t p, RingName name, std::uint64_t& entries) const {
    const Ring& r = partition(p).rings[name];
    std::uint64_t live = 0;
    std::uint64_t dead = 0;
    std::uint64_t at = r.start;
    while (live + dead < r.used()) {
        const Word* entry = ring(p) + at;
        const std::uint64_t size = size_of(entry);
        expect_that(size > 0 && at >= first_of(name) && at + size <= last_of(name),
                    "an entry leaves the ring");
        if (state_of(entry) == state_live) {
            expect_that(place_of(p, at).is_there(), "a live entry is not in the index");
            live += size;
            entries += 1;
        } else {
            dead += size;
        }
        at += size;
        if (at == last_of(name))
            at = first_of(name);
    }
    expect_that(live == r.live_words && dead == r.dead_words, "the counts are not what the ring holds");
    expect_that(live + dead == 0 || at == r.end, "the ring does not end where it should");
    expect_that(live + dead <= last_of(name) - first_of(name), "the ring holds more than it has");
}

void Cache::verify(std::uint32_t p) const {
    std::uint64_t entries = 0;
    verify_ring(p, nursery, entries);
    verify_ring(p, main_ring, entries);
    expect_that(entries == partition(p).entries, "the entries are not what the rings hold");

    std::uint64_t indexed = 0;
    for (std::uint32_t i = 0; i < layout_.buckets; ++i) {
        const Bucket& b = buckets_[std::uint64_t{p} * layout_.buckets + i];
        expect_that((b.sequence.load(std::memory_order_relaxed) & 1) == 0, "a bucket was left changing");
        for (const Word& slot : b.slots) {
            if (load(slot) == 0)
                continue;
            expect_that(state_of(ring(p) + offset_in(load(slot))) == state_live,
                        "the index names a dead entry");
            indexed += 1;
        }
    }
    expect_that(indexed == entries, "the index does not name each entry once");
}

}  // namespace rolecall::core
