// A stamp records the transactions that changed what cached documents show. Stamps live in shared memory and
// are indexed by hash. Two keys may share a stamp; that costs a reload but never gives a wrong answer.
//
// A stamp names the transactions that must have ended for a reader's snapshot. It keeps only those that
// matter: when a transaction is added, those that have ended by then are dropped, because any snapshot in
// which the new one has ended is taken later. So a stamp usually names one transaction, and a transaction
// that did not write here can never keep the documents of this stamp from being cached, however long it runs.
//
// A reader remembers a stamp's version. Versions only grow, and a version changes whenever a transaction is
// added, so a sum of several stamps' versions is unchanged only if each of them is.
//
// A high-water mark lies above all transactions that any stamp names. Usually there was no write since the
// start of the oldest transaction that a snapshot still has to wait for; then one look at the high-water mark
// answers for all stamps.
#pragma once

#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/rule.h"

namespace rolecall::core {

struct alignas(32) Stamp {
    static constexpr std::size_t named = 2;

    std::atomic<std::uint64_t> version;               ///< odd while the stamp changes
    std::atomic<FullXid> below;                       ///< every transaction below must have ended ...
    std::array<std::atomic<FullXid>, named> writers;  ///< ... and so must these; 0: none
};
static_assert(sizeof(Stamp) == 32);
static_assert(std::atomic<FullXid>::is_always_lock_free, "stamps are shared between processes");

/// A number above every transaction that a set of stamps names or bounds. It is raised before the stamps are.
/// Zeroed memory is the mark of new stamps.
class HighWaterMark {
 public:
    void raise(FullXid to) {
        FullXid seen = value_.load(std::memory_order_relaxed);
        while (seen < to && !value_.compare_exchange_weak(seen, to, std::memory_order_relaxed)) {
        }
    }

    /// Returns whether all transactions that the stamps name have ended for a snapshot with this xmin. The
    /// answer holds for the stamps as they were when their versions were read, which must be before this
    /// call.
    bool is_behind(FullXid xmin) const { return value_.load(std::memory_order_relaxed) <= xmin; }

 private:
    std::atomic<FullXid> value_;
};

namespace detail {

// A stamp as it was at one moment.
struct StampCopy {
    std::uint64_t version = 0;
    FullXid below = 0;
    std::array<FullXid, Stamp::named> writers{};
};

// Copies a stamp under a sequence lock, as in core/cache_read.h: the copy is valid if the version was even
// and did not change.
inline bool read(const Stamp& stamp, StampCopy& copy) {
    copy.version = stamp.version.load(std::memory_order_acquire);
    copy.below = stamp.below.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < Stamp::named; ++i)
        copy.writers[i] = stamp.writers[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    return (copy.version & 1) == 0 && stamp.version.load(std::memory_order_relaxed) == copy.version;
}

inline bool read_patiently(const Stamp& stamp, StampCopy& copy) {
    constexpr int attempts = 16;
    for (int attempt = 0; attempt < attempts; ++attempt)
        if (read(stamp, copy))
            return true;
    return false;
}

// Replaces a stamp by `next`; returns false if it is no longer equal to `seen`. The code between the two
// versions cannot fail or wait.
inline bool replace(Stamp& stamp, const StampCopy& seen, const StampCopy& next) {
    std::uint64_t expected = seen.version;
    if (!stamp.version.compare_exchange_strong(expected, seen.version + 1, std::memory_order_acquire,
                                               std::memory_order_relaxed))
        return false;
    std::atomic_thread_fence(std::memory_order_release);
    stamp.below.store(next.below, std::memory_order_relaxed);
    for (std::size_t i = 0; i < Stamp::named; ++i)
        stamp.writers[i].store(next.writers[i], std::memory_order_relaxed);
    stamp.version.store(seen.version + 2, std::memory_order_release);
    return true;
}

// Changes a stamp by `change(StampCopy&)`, which may be called more than once.
template <typename Change>
void update(Stamp& stamp, Change&& change) {
    constexpr int spins = 100;
    for (int attempt = 0;; ++attempt) {
        StampCopy seen;
        if (read(stamp, seen)) {
            StampCopy next = seen;
            change(next);
            if (replace(stamp, seen, next))
                return;
        }
        if (attempt >= spins)
            sched_yield();
    }
}

// Keeps the writers for which `keep(FullXid)` returns true, closes gaps, and returns how many remain.
template <typename Keep>
std::size_t filter(std::array<FullXid, Stamp::named>& writers, Keep&& keep) {
    std::size_t kept = 0;
    for (FullXid& w : writers) {
        const FullXid writer = std::exchange(w, 0);
        if (writer != 0 && keep(writer))
            writers[kept++] = writer;
    }
    return kept;
}

template <typename Running>
void add(StampCopy& copy, FullXid writer, const Snapshot& known, Running&& running) {
    std::size_t count = filter(copy.writers, [&](FullXid w) { return !known.finished(w); });
    if (count == Stamp::named)
        count = filter(copy.writers, running);
    if (count < Stamp::named) {
        copy.writers[count] = writer;
        return;
    }
    // There are more running writers than names. The lowest one is covered by the bound instead, because it
    // is likely to be the first that lies below the xmin of every snapshot.
    FullXid& lowest = *std::min_element(copy.writers.begin(), copy.writers.end());
    if (lowest < writer)
        std::swap(lowest, writer);
    copy.below = std::max(copy.below, writer + 1);
}

}  // namespace detail

/// Adds `writer`, a running transaction, to the transactions that must have ended. `known` is any snapshot;
/// it may show that others have ended. `running(FullXid)` is called where the snapshot is not enough. The
/// writer itself must call this before it commits, so that a process that sees the commit also sees the
/// stamp.
template <typename Running>
void add_writer(Stamp& stamp, HighWaterMark& high_water, FullXid writer, const Snapshot& known,
                Running&& running) {
    high_water.raise(writer + 1);
    for (const auto& w : stamp.writers)
        if (w.load(std::memory_order_relaxed) == writer)
            return;  // no other process adds it, and if it is dropped, the bound covers it
    detail::update(stamp, [&](detail::StampCopy& copy) { detail::add(copy, writer, known, running); });
}

/// Requires that every transaction below `bound` has ended.
inline void raise_bound(Stamp& stamp, HighWaterMark& high_water, FullXid bound) {
    high_water.raise(bound);
    detail::update(stamp, [bound](detail::StampCopy& copy) { copy.below = std::max(copy.below, bound); });
}

/// Replaces a bound, unless it was raised since, by the transactions that it stood for: `writers`, which all
/// still run and include the caller's own. All other transactions below the bound have ended, and they have
/// ended for every snapshot in which the caller's has.
inline void replace_bound(Stamp& stamp, HighWaterMark& high_water, FullXid bound,
                          std::span<const FullXid> writers) {
    for (const FullXid writer : writers)
        high_water.raise(writer + 1);
    detail::update(stamp, [&](detail::StampCopy& copy) {
        if (copy.below != bound)
            return;
        copy.below = 0;
        for (const FullXid writer : writers)
            detail::add(copy, writer, Snapshot{}, [](FullXid) { return true; });
    });
}

/// Returns a stamp's version, which is odd while the stamp changes. Anything read after this call is at least
/// as new as this version, including the change that the version stands for.
inline std::uint64_t version_of(const Stamp& stamp) { return stamp.version.load(std::memory_order_acquire); }

namespace detail {

[[gnu::noinline]] inline bool settled_slowly(const Stamp& stamp, const Snapshot& snapshot,
                                             std::uint64_t& versions) {
    StampCopy copy;
    if (!read_patiently(stamp, copy))
        return false;
    versions += copy.version;
    return copy.below <= snapshot.xmin && std::all_of(copy.writers.begin(), copy.writers.end(),
                                                      [&](FullXid w) { return snapshot.finished(w); });
}

}  // namespace detail

/// Adds the stamp's version to `versions`. Returns false while the stamp changes, and if a transaction that
/// it names or bounds has not ended for this snapshot. What is read is at least as new as anything read
/// before. This is called for each stamp that a document depends on when the high-water mark gives no answer;
/// usually all that the stamp names lies below xmin.
inline bool settled(const Stamp& stamp, const Snapshot& snapshot, std::uint64_t& versions) {
    detail::StampCopy copy;
    FullXid highest = 0;
    if (detail::read(stamp, copy) && copy.below <= snapshot.xmin) [[likely]] {
        for (const FullXid w : copy.writers)
            highest = std::max(highest, w);
        if (highest < snapshot.xmin) [[likely]] {
            versions += copy.version;
            return true;
        }
    }
    return detail::settled_slowly(stamp, snapshot, versions);
}

/// What administrators see of stamps.
struct Writers {
    FullXid latest = 0;      ///< the highest transaction named; 0: none
    FullXid unfinished = 0;  ///< a transaction that has not ended for the snapshot; 0: none
};

/// Adds the transactions of a stamp to `writers`.
inline void describe(const Stamp& stamp, const Snapshot& snapshot, Writers& writers) {
    detail::StampCopy copy;
    if (!detail::read_patiently(stamp, copy))
        return;
    if (copy.below > snapshot.xmin)
        writers.unfinished = snapshot.xmin;
    for (const FullXid w : copy.writers) {
        writers.latest = std::max(writers.latest, w);
        if (!snapshot.finished(w))
            writers.unfinished = w;
    }
}

/// A table of `count` stamps (a power of two) in memory that the caller owns, zeroed before the first use. It
/// is copyable.
class Stamps {
 public:
    Stamps() = default;
    Stamps(Stamp* stamps, std::size_t count) : stamps_(stamps), shift_(64 - std::countr_zero(count)) {}

    static constexpr std::size_t bytes(std::size_t count) { return count * sizeof(Stamp); }

    std::uint32_t index(std::uint64_t hash) const { return static_cast<std::uint32_t>(hash >> shift_); }
    Stamp& operator[](std::uint32_t index) const { return stamps_[index]; }
    Stamp& of(std::uint64_t hash) const { return stamps_[index(hash)]; }

 private:
    Stamp* stamps_ = nullptr;
    int shift_ = 63;
};

}  // namespace rolecall::core
