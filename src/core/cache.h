// The store of cached documents: one region of memory shared by all processes, bounded, with eviction.
//
// The region is cut into partitions; each has an index of 64-byte buckets and a ring of entries. Readers take
// no lock and write nothing: each bucket carries a sequence number that is odd while it changes, words are
// copied by relaxed loads between fences, and a copy counts only if the number did not move (a sequence lock;
// Boehm, "Can seqlocks get along with programming language memory models?", 2012). Writers hold the
// partition's lock, which the caller owns: a process-shared lock in the server, a mutex in tests.
//
// A ring gives memory to entries in order of arrival and takes it back in the same order, so there is no
// fragmentation and nothing to compact. An entry that was replaced or removed is passed over when its turn
// comes. No pointer is stored in the region: processes may map it at different addresses.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/rule.h"

namespace rolecall::core {

/// Names one document. `bytes` are the key's canonical bytes; equality is on all three members.
struct Key {
    std::uint32_t database = 0;
    std::uint64_t projection = 0;
    std::string_view bytes;
    std::uint64_t hash = 0;  ///< core::hash() of the three above
};

/// What an entry says about itself, beside its payload.
struct EntryHead {
    std::uint64_t versions = 0;        ///< sum of its stamps' versions when it was loaded
    Window window;                     ///< when it holds
    std::int64_t loaded_at = 0;        ///< microseconds, the server's epoch
    std::uint32_t document_bytes = 0;  ///< 0: a cached "no such key"
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
    too_large,  ///< larger than an eighth of a partition's ring
};

struct CacheCounts {
    std::uint64_t entries = 0;          ///< live
    std::uint64_t live_bytes = 0;       ///< of live entries, heads included
    std::uint64_t dead_bytes = 0;       ///< replaced or removed, not yet passed
    std::uint64_t ring_bytes = 0;       ///< all that entries can use
    std::uint64_t installs = 0;         ///< since the start
    std::uint64_t evictions = 0;        ///< live entries that made room for others
    std::uint64_t index_evictions = 0;  ///< of those: because a bucket was full
};

/// A process's handle on the region. Cheap to copy; holds addresses of this process only.
class Cache {
 public:
    struct Layout {
        std::uint32_t partitions = 0;
        std::uint32_t buckets = 0;     ///< per partition
        std::uint64_t ring_words = 0;  ///< per partition, 8 bytes each
        std::size_t bytes = 0;         ///< of the whole region
    };

    /// Divides `bytes` (at least 256 kB) into partitions. The layout's own `bytes` is not larger.
    static Layout plan(std::size_t bytes);

    Cache() = default;

    /// `memory`: layout.bytes bytes, aligned to 64, shared, zeroed before the first process attaches.
    Cache(void* memory, const Layout& layout);

    std::uint32_t partitions() const { return layout_.partitions; }

    /// The partition whose lock install() and remove() of this key need.
    std::uint32_t partition_of(std::uint64_t hash) const {
        return static_cast<std::uint32_t>((hash >> 32) * layout_.partitions >> 32);
    }

    /// Looks a key up and copies head, groups and the wanted part. `reserve(Part, bytes)` returns where a
    /// part goes: `bytes` rounded up to a multiple of 8, aligned to 8; it may be called more than once and
    /// may leave by longjmp. False: not cached (or changing too fast to be copied, which is as good).
    template <typename Reserve>
    bool read(const Key& key, Part part, EntryHead& head, Reserve&& reserve) const;

    /// Puts a document in place of the one with its key, if any. The caller holds the partition's lock.
    InstallResult install(const Key& key, const EntryHead& head, const Payload& payload);

    /// Forgets a key; false when it was not there. The caller holds the partition's lock.
    bool remove(const Key& key);

    /// Forgets what `gone(database, projection)` says, in one partition. The caller holds its lock.
    template <typename Predicate>
    std::uint64_t remove_if(std::uint32_t partition, Predicate&& gone);

    /// Counts of one partition. The caller holds its lock.
    CacheCounts counts(std::uint32_t partition) const;

    /// Walks one partition and throws std::logic_error where index, ring and counts disagree. The caller
    /// holds its lock. For tests.
    void verify(std::uint32_t partition) const;

 private:
    using Word = std::atomic<std::uint64_t>;
    static_assert(sizeof(Word) == 8 && Word::is_always_lock_free);

    static constexpr int slots_per_bucket = 7;
    static constexpr int read_attempts = 16;

    // A slot is (tag << 32 | offset + 1): the hash folded, and where the entry starts in its ring; 0 is
    // empty.
    struct alignas(64) Bucket {
        std::atomic<std::uint32_t> sequence;
        std::uint32_t victim;  // the slot to give up next when all are taken; under the lock
        Word slots[slots_per_bucket];
    };
    static_assert(sizeof(Bucket) == 64);

    // All under the partition's lock. Offsets and sizes in words: `start` is the oldest entry, `end` where
    // the next one goes; live and dead words together are what the ring holds, fillers at its end included.
    struct alignas(64) Partition {
        std::uint64_t start;
        std::uint64_t end;
        std::uint64_t entries;
        std::uint64_t live_words;
        std::uint64_t dead_words;
        std::uint64_t installs;
        std::uint64_t evictions;
        std::uint64_t index_evictions;
    };

    // The words of an entry, in this order, then key, groups, access block and document, each padded to a
    // word.
    enum : std::uint32_t {
        at_extent,  // state << 32 | size in words; read by writers only
        at_hash,
        at_projection,
        at_database,  // database << 32 | key bytes
        at_versions,
        at_from,
        at_until,
        at_loaded,
        at_lengths,  // access bytes << 32 | document bytes
        at_groups,   // bytes
        head_words,
    };
    enum : std::uint64_t { state_filler = 0, state_live = 1, state_dead = 2 };

    static constexpr std::uint64_t words(std::uint64_t bytes) { return (bytes + 7) / 8; }

    Partition& partition(std::uint32_t p) const { return partitions_[p]; }
    Word* ring(std::uint32_t p) const { return rings_ + p * layout_.ring_words; }
    Bucket& bucket(std::uint32_t p, std::uint64_t hash) const {
        const std::uint64_t low = static_cast<std::uint32_t>(hash);
        return buckets_[std::uint64_t{p} * layout_.buckets + (low * layout_.buckets >> 32)];
    }
    static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash ^ hash >> 32); }
    static std::uint32_t tag_in(std::uint64_t slot) { return static_cast<std::uint32_t>(slot >> 32); }
    static std::uint64_t offset_in(std::uint64_t slot) { return static_cast<std::uint32_t>(slot) - 1U; }
    static std::uint64_t make_slot(std::uint64_t hash, std::uint64_t offset) {
        return std::uint64_t{tag_of(hash)} << 32 | (offset + 1);
    }
    static std::uint64_t load(const Word& word) { return word.load(std::memory_order_relaxed); }
    static void store(Word& word, std::uint64_t value) { word.store(value, std::memory_order_relaxed); }
    static std::uint64_t size_of(const Word* entry) {
        return static_cast<std::uint32_t>(load(entry[at_extent]));
    }
    static std::uint64_t state_of(const Word* entry) { return load(entry[at_extent]) >> 32; }

    static bool has_key(const Word* entry, const Key& key);
    static void read_head(const Word* entry, EntryHead& head);
    static void copy_out(const Word* from, char* to, std::uint64_t count);
    static Word* copy_in(Word* to, const char* from, std::uint64_t bytes);
    int find(const Bucket& b, Word* base, const Key& key) const;
    std::uint64_t allocate(std::uint32_t p, std::uint64_t size);
    void pass_oldest(std::uint32_t p);
    void forget(std::uint32_t p, Bucket& b, int slot);
    static void fill(Word* entry, std::uint64_t size, const Key& key, const EntryHead& head,
                     const Payload& payload);

    static void begin_change(Bucket& b) {
        b.sequence.store(b.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
    }
    static void end_change(Bucket& b) {
        b.sequence.store(b.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    static bool unchanged(const Bucket& b, std::uint32_t sequence) {
        std::atomic_thread_fence(std::memory_order_acquire);
        return b.sequence.load(std::memory_order_relaxed) == sequence;
    }

    Layout layout_;
    Partition* partitions_ = nullptr;
    Bucket* buckets_ = nullptr;
    Word* rings_ = nullptr;
};

}  // namespace rolecall::core

#include "core/cache_read.h"
