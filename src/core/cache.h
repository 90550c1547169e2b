// The store of cached documents: one bounded region of memory, shared by all processes, with eviction.
//
// The region is divided into partitions. Each has an index of 64-byte buckets and two rings of entries. A key
// has two buckets. An entry goes into the first unless that is more than half full; then it goes into the one
// with more room. So both buckets of a key are full, and an entry must be evicted for that reason, only when
// nearly all buckets are full (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
// Readers take no lock: each bucket has a sequence number that is odd while the bucket changes, words are
// copied by relaxed loads between fences, and a copy is valid only if the number did not change (a sequence
// lock; Boehm, "Can seqlocks get along with programming language memory models?", 2012). Writers hold the
// partition's lock, which the caller owns: a process-shared lock in the server, a mutex in tests.
//
// A ring allocates memory in order of arrival and frees it in the same order, so there is no fragmentation
// and nothing to compact. An entry that was replaced or removed is passed over when its turn comes. The
// region contains no pointers, so processes may map it at different addresses.
//
// Eviction follows S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", 2023). A new
// entry goes into the nursery, a tenth of the memory. When its turn comes there, it moves to the main ring if
// it was read meanwhile, and is evicted otherwise. The hash of an evicted key is kept for a while, and a key
// that comes back in that time goes to the main ring at once. In the main ring, an entry that was read since
// its last turn stays for another turn. A scan of cold keys passes through the nursery only. A reader sets a
// mark, one byte beside the bucket's sequence number, and only where it is not set: a hit writes at most once
// between two turns of the ring, and never while nothing is evicted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/atomic.h"
#include "core/rule.h"

namespace rolecall::core {

/// The form in which a document is cached. Each form of a key is an entry of its own, evicted separately.
enum class Form : std::uint8_t {
    document,  ///< as the view returned it, with the compact block
    text,      ///< as text, ready to send
};

/// Identifies one document. `bytes` are the key's canonical bytes. Two keys are equal if all members except
/// the hash are equal.
struct Key {
    std::uint32_t database = 0;
    std::uint64_t projection = 0;
    std::string_view bytes;
    std::uint64_t hash = 0;  ///< core::hash() of the three above
    Form form = Form::document;
};

/// What an entry stores beside its payload.
struct EntryHead {
    std::uint64_t versions = 0;        ///< sum of the versions of its stamps when it was loaded
    Window window;                     ///< when the document is valid
    std::int64_t loaded_at = 0;        ///< microseconds, the server's epoch
    std::uint32_t document_bytes = 0;  ///< 0: a cached "no such key"; below 2^31
    std::uint32_t access_bytes = 0;    ///< the compact block, core/access.h
    std::uint32_t group_bytes = 0;     ///< the stamps of the groups it belongs to, 4 bytes each
};

/// The payloads of an entry.
enum class Part { groups, access, document };

struct Payload {
    const char* groups = nullptr;
    const char* access = nullptr;
    const char* document = nullptr;
};

enum class InstallResult {
    installed,
    too_large,  ///< larger than half of a main ring, or the key than 4 kB, or the groups than 128 kB
    no_room,    ///< another entry would have to be evicted
};

/// The memory that a new entry may take: also that of other entries, or only free memory. An entry that
/// replaces the one with its key may always take that entry's place.
enum class Room { any, free };

struct CacheCounts {
    std::uint64_t entries = 0;          ///< live
    std::uint64_t live_bytes = 0;       ///< of live entries, heads included
    std::uint64_t dead_bytes = 0;       ///< of entries replaced or removed, not yet passed over
    std::uint64_t ring_bytes = 0;       ///< all that entries can use
    std::uint64_t installs = 0;         ///< since the server started
    std::uint64_t evictions = 0;        ///< live entries evicted to make room
    std::uint64_t index_evictions = 0;  ///< those of them evicted because both buckets of a key were full
};

/// A process's handle for the region. It is cheap to copy and holds addresses that are valid in this process
/// only.
class Cache {
 public:
    struct Layout {
        std::uint32_t partitions = 0;
        std::uint32_t buckets = 0;        ///< per partition
        std::uint32_t ghosts = 0;         ///< per partition: 16 bits of each hash evicted from the nursery
        std::uint64_t nursery_words = 0;  ///< per partition, 8 bytes each; they come first
        std::uint64_t ring_words = 0;     ///< per partition: nursery and main ring
        std::size_t bytes = 0;            ///< of the whole region
    };

    /// Divides `bytes` (at least 256 kB) into partitions. They can hold documents of `largest_document` bytes
    /// if `bytes` is at least four times as large. The `bytes` of the result is not larger than the argument.
    static Layout plan(std::size_t bytes, std::size_t largest_document = 0);

    Cache() = default;

    /// `memory` has layout.bytes bytes, is shared, aligned to 64, and zeroed before the first process
    /// attaches.
    Cache(void* memory, const Layout& layout);

    std::uint32_t partitions() const { return layout_.partitions; }

    /// Returns the partition whose lock install() and remove() of this key require.
    std::uint32_t partition_of(std::uint64_t hash) const {
        return static_cast<std::uint32_t>((hash >> 32) * layout_.partitions >> 32);
    }

    /// Prefetches the bucket of a key that will be read soon.
    void expect(const Key& key) const { __builtin_prefetch(buckets_of(hash_of(key))[0]); }

    /// Looks a key up and copies head, groups and the requested part. `reserve(Part, bytes)` returns the
    /// memory for a part: `bytes` rounded up to a multiple of 8, aligned to 8. It may be called more than
    /// once and may leave by longjmp. Returns false if the key is not cached, or if the entry changes too
    /// fast to be copied.
    template <typename Reserve>
    bool read(const Key& key, Part part, EntryHead& head, Reserve&& reserve) const;

    /// Stores a document, replacing the one with its key, if any. The caller holds the partition's lock.
    InstallResult install(const Key& key, const EntryHead& head, const Payload& payload,
                          Room room = Room::any);

    /// Removes a key; returns false if it was not cached. The caller holds the partition's lock.
    bool remove(const Key& key);

    /// Removes the entries for which `gone(database, projection)` returns true, in a few buckets starting at
    /// `from`, so that the lock is held briefly. Returns where to continue, or 0 at the end. The caller holds
    /// the partition's lock.
    template <typename Predicate>
    std::uint32_t remove_if(std::uint32_t partition, std::uint32_t from, Predicate&& gone);

    /// Calls `what(database, projection, bytes)` for the entries of a few buckets starting at `from`. Returns
    /// and requires the same as remove_if().
    template <typename Visitor>
    std::uint32_t visit(std::uint32_t partition, std::uint32_t from, Visitor&& what) const;

    /// Called for each live entry that is evicted, under its partition's lock. Each process sets its own.
    void (*on_eviction)(std::uint32_t database, std::uint64_t projection) = nullptr;

    /// Returns the counts of one partition. The caller holds its lock.
    CacheCounts counts(std::uint32_t partition) const;

    /// Checks one partition and throws std::logic_error if index, rings and counts disagree. The caller holds
    /// its lock. For tests.
    void verify(std::uint32_t partition) const;

 private:
    using Word = Atomic<std::uint64_t>;

    static constexpr int slots_per_bucket = 7;
#ifdef ROLECALL_MODEL
    static constexpr int read_attempts = 1;  // a reader that starts later covers a later attempt
#else
    static constexpr int read_attempts = 16;
#endif

    // A slot is (tag << 32 | offset + 1): the folded hash, and the entry's offset among the partition's
    // words. 0 is an empty slot. The sequence number does not guard marks and victim: a mark that is lost, or
    // set for the slot's next entry, only makes an entry leave one turn of the ring too early or too late.
    struct alignas(64) Bucket {
        Atomic<std::uint32_t> sequence;
        mutable Atomic<std::uint8_t> marks;  // a bit per slot: read since its last turn
        std::uint8_t victim;                 // the next slot to evict when all are used; under the lock
        Word slots[slots_per_bucket];
    };

    // Offsets and sizes are in words. `start` is the oldest entry, `end` is where the next one goes. Live and
    // dead words together are all that the ring holds, including the filler at its end.
    struct Ring {
        std::uint64_t start;
        std::uint64_t end;
        std::uint64_t live_words;
        std::uint64_t dead_words;

        std::uint64_t used() const { return live_words + dead_words; }
    };
    enum RingName { nursery, main_ring, ring_names };

    // A slot of the index. If there is none, slot < 0.
    struct Location {
        Bucket* bucket = nullptr;
        int slot = -1;

        bool is_there() const { return slot >= 0; }
        std::uint64_t value() const { return load(bucket->slots[slot]); }
    };

    enum class Look { found, absent, changed };

    // The partition's lock guards all members.
    struct alignas(64) Partition {
        Ring rings[ring_names];
        std::uint64_t entries;
        std::uint64_t installs;
        std::uint64_t evictions;
        std::uint64_t index_evictions;
    };

    // The words of an entry, in this order. They are followed by key, window (if there is one), groups,
    // access block and document, each padded to a word.
    enum : std::uint32_t {
        at_extent,  // state << 62 | form << 61 | key bytes << 49 | group bytes << 32 | size in words
        at_projection,
        at_database,  // database << 32 | its bucket in the partition
        at_versions,
        at_loaded,
        at_lengths,  // access bytes << 32 | has a window << 31 | document bytes
        head_words,
    };
    static constexpr std::uint64_t window_words = 2;
    static constexpr std::uint32_t window_flag = std::uint32_t{1} << 31;
    enum State : std::uint64_t { state_filler = 0, state_live = 1, state_dead = 2 };
    static constexpr int state_shift = 62;
    static constexpr int form_shift = 61;
    static constexpr int key_shift = 49;
    static constexpr int group_shift = 32;
    static constexpr std::uint64_t most_key_bytes = (1U << (form_shift - key_shift)) - 1;
    static constexpr std::uint32_t most_group_bytes = (1U << (key_shift - group_shift)) - 1;

    static constexpr std::uint64_t words(std::uint64_t bytes) { return (bytes + 7) / 8; }
    static constexpr bool has_window(const EntryHead& head) { return head.window != Window{}; }
    static std::uint64_t size_for(const Key& key, const EntryHead& head) {
        return head_words + words(key.bytes.size()) + (has_window(head) ? window_words : 0) +
               words(head.group_bytes) + words(head.access_bytes) + words(head.document_bytes);
    }

    // The forms of a key share a partition but not a bucket.
    static std::uint64_t hash_of(const Key& key) {
        return key.form == Form::document ? key.hash : key.hash ^ 0x9e3779b9U;
    }
    // Returns the upper bits of a live entry's extent, from the state to the key bytes.
    static std::uint64_t shape_of(const Key& key) {
        const auto form = std::uint64_t{key.form == Form::text};
        return (state_live << state_shift | form << form_shift) >> key_shift | key.bytes.size();
    }

    Partition& partition(std::uint32_t p) const { return partitions_[p]; }
    Word* ring(std::uint32_t p) const { return rings_ + p * layout_.ring_words; }
    std::uint64_t first_of(RingName name) const { return name == nursery ? 0 : layout_.nursery_words; }
    std::uint64_t last_of(RingName name) const {
        return name == nursery ? layout_.nursery_words : layout_.ring_words;
    }
    RingName ring_at(std::uint64_t offset) const {
        return offset < layout_.nursery_words ? nursery : main_ring;
    }
    Bucket& bucket(std::uint32_t p, std::uint32_t number) const {
        return buckets_[std::uint64_t{p} * layout_.buckets + number];
    }
    std::uint32_t number_of(std::uint32_t p, const Bucket& b) const {
        return static_cast<std::uint32_t>(&b - buckets_ - std::uint64_t{p} * layout_.buckets);
    }
    // The two buckets may be the same one. The upper half of the hash chooses the partition.
    std::array<Bucket*, 2> buckets_of(std::uint64_t hash) const {
        const std::uint32_t p = partition_of(hash);
        const std::uint64_t first = static_cast<std::uint32_t>(hash);
        const std::uint64_t second = hash * 0x9e3779b97f4a7c15ULL >> 32;
        return {&bucket(p, static_cast<std::uint32_t>(first * layout_.buckets >> 32)),
                &bucket(p, static_cast<std::uint32_t>(second * layout_.buckets >> 32))};
    }
    // Where the eviction of an entry with this tag from the nursery is remembered. A tag whose lower half is
    // 0 is not remembered.
    std::uint16_t& ghost(std::uint32_t p, std::uint32_t tag) const {
        return ghosts_[std::uint64_t{p} * layout_.ghosts + (std::uint64_t{tag} * layout_.ghosts >> 32)];
    }
    static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash ^ hash >> 32); }
    static std::uint32_t tag_in(std::uint64_t slot) { return static_cast<std::uint32_t>(slot >> 32); }
    static std::uint64_t offset_in(std::uint64_t slot) { return static_cast<std::uint32_t>(slot) - 1U; }
    static std::uint64_t make_slot(std::uint32_t tag, std::uint64_t offset) {
        return std::uint64_t{tag} << 32 | (offset + 1);
    }
    static std::uint64_t load(const Word& word) { return word.load(std::memory_order_relaxed); }
    static void store(Word& word, std::uint64_t value) { word.store(value, std::memory_order_relaxed); }
    static std::uint64_t size_of(const Word* entry) {
        return static_cast<std::uint32_t>(load(entry[at_extent]));
    }
    static std::uint64_t state_of(const Word* entry) { return load(entry[at_extent]) >> state_shift; }
    static void set_extent(Word* entry, State state, std::uint64_t size) {
        store(entry[at_extent], std::uint64_t{state} << state_shift | size);
    }

    static bool has_key(const Word* entry, const Key& key);
    static void read_head(const Word* entry, EntryHead& head);
    template <typename Reserve>
    Look look(const Bucket& b, const Key& key, Part part, EntryHead& head, Reserve&& reserve) const;
    static void expect_entry(const Word* entry, Part part);
    static void read_window(const Word* entry, std::uint64_t key_words, EntryHead& head);
    static void copy_out(const Word* from, char* to, std::uint64_t count);
    static Word* copy_in(Word* to, const char* from, std::uint64_t bytes);
    static void fill(Word* entry, std::uint64_t size, std::uint32_t bucket, const Key& key,
                     const EntryHead& head, const Payload& payload);
    Location find(const Key& key) const;
    Location place_of(std::uint32_t p, std::uint64_t offset) const;
    Location empty_place(std::uint64_t hash) const;
    Location free_place(std::uint64_t hash);
    std::uint64_t allocate(std::uint32_t p, RingName name, std::uint64_t size);
    static bool is_wrapped(const Ring& r);
    bool fits(Ring& r, RingName name, std::uint64_t size) const;
    void wrap(std::uint32_t p, RingName name);
    bool has_room(std::uint32_t p, std::uint64_t size);
    void leave(Ring& r, RingName name, std::uint64_t size) const;
    template <typename Each>
    std::uint32_t walk(std::uint32_t p, std::uint32_t from, Each&& each) const;
    static std::uint32_t database_of(const Word* entry) {
        return static_cast<std::uint32_t>(load(entry[at_database]) >> 32);
    }
    void evict(std::uint32_t p, const Location& place);
    void pass_oldest(std::uint32_t p, RingName name, int& kept);
    void move_oldest(std::uint32_t p, RingName from, const Location& place);
    void forget(std::uint32_t p, const Location& place);
    void verify_ring(std::uint32_t p, RingName name, std::uint64_t& entries) const;

    static void begin_change(Bucket& b) {
        b.sequence.store(b.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        fence(std::memory_order_release);
    }
    static void end_change(Bucket& b) {
        b.sequence.store(b.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    static bool unchanged(const Bucket& b, std::uint32_t sequence) {
        fence(std::memory_order_acquire);
        return b.sequence.load(std::memory_order_relaxed) == sequence;
    }
    // Stores or clears a slot, and clears its mark.
    static void set_slot(const Location& place, std::uint64_t value) {
        begin_change(*place.bucket);
        store(place.bucket->slots[place.slot], value);
        end_change(*place.bucket);
        unmark(*place.bucket, place.slot);
    }
    static bool is_marked(const Bucket& b, int slot) {
        return (b.marks.load(std::memory_order_relaxed) >> slot & 1) != 0;
    }
    static void mark(const Bucket& b, int slot) {
        const auto marks = b.marks.load(std::memory_order_relaxed);
        b.marks.store(static_cast<std::uint8_t>(marks | 1 << slot), std::memory_order_relaxed);
    }
    static void unmark(Bucket& b, int slot) {
        const auto marks = b.marks.load(std::memory_order_relaxed);
        b.marks.store(static_cast<std::uint8_t>(marks & ~(1 << slot)), std::memory_order_relaxed);
    }

    Layout layout_;
    Partition* partitions_ = nullptr;
    Bucket* buckets_ = nullptr;
    std::uint16_t* ghosts_ = nullptr;
    Word* rings_ = nullptr;
};

}  // namespace rolecall::core

#include "core/cache_read.h"
