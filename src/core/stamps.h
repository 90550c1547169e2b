// Stamps: who changed what a cached document shows. They live in memory that all processes share, indexed by
// hash. Two keys may share a stamp; that costs a reload and never a wrong answer.
//
// A stamp names the transactions whose end a snapshot must have seen. It keeps only those that matter: when a
// transaction is added, whoever has finished by then is dropped, because a snapshot in which the new one has
// finished was taken later still. So a stamp usually names one, and no transaction that did not write here
// can keep its documents from being cached, however long it runs.
//
// A reader takes a stamp's version along. Versions only grow, and change whenever a transaction is added: a
// sum over several stamps is the same only if each of them is.
//
// A high-water mark lies above all that any stamp names. Mostly nobody has written since the oldest
// transaction began that a snapshot may still have to wait for; then the high-water mark says so of all
// stamps at once.
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

    std::atomic<std::uint64_t> version;               ///< odd while it changes
    std::atomic<FullXid> below;                       ///< every transaction below must have finished ...
    std::array<std::atomic<FullXid>, named> writers;  ///< ... and these; 0: none
};
static_assert(sizeof(Stamp) == 32);
static_assert(std::atomic<FullXid>::is_always_lock_free, "stamps are shared between processes");

/// Above every transaction that a set of stamps names or bounds; raised before they are. Zeroed memory is
/// that of new stamps.
class HighWaterMark {
 public:
    void raise(FullXid to) {
        FullXid seen = value_.load(std::memory_order_relaxed);
        while (seen < to && !value_.compare_exchange_weak(seen, to, std::memory_order_relaxed)) {
        }
    }

    /// Has everybody whom a stamp names finished for a snapshot of this xmin? True of the stamps whose
    /// versions were read before, as they were then.
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

// A sequence lock, as in core/cache_read.h: a copy counts if the version was even and has not moved.
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

// Replaces what a copy was taken of; false when it has changed since. Between the two versions nothing can
// fail or wait.
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

// Keeps those of `writers` that `keep(FullXid)` says, closing gaps; returns how many.
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
    // More at once than there are names: the lowest, likely the first to lie below all xmins, is covered by a
    // bound.
    FullXid& lowest = *std::min_element(copy.writers.begin(), copy.writers.end());
    if (lowest < writer)
        std::swap(lowest, writer);
    copy.below = std::max(copy.below, writer + 1);
}

}  // namespace detail

/// Adds `writer`, a running transaction, to who must have finished. `known`: any snapshot, may say of others
/// that they have; `running(FullXid)` is asked where that is not enough. To be called by the writer itself,
/// before it commits: whoever sees the commit sees the stamp.
template <typename Running>
void add_writer(Stamp& stamp, HighWaterMark& high_water, FullXid writer, const Snapshot& known,
                Running&& running) {
    high_water.raise(writer + 1);
    for (const auto& w : stamp.writers)
        if (w.load(std::memory_order_relaxed) == writer)
            return;  // nobody else adds it, and dropping it leaves a bound
    detail::update(stamp, [&](detail::StampCopy& copy) { detail::add(copy, writer, known, running); });
}

/// Every transaction below `bound` must have finished.
inline void raise_bound(Stamp& stamp, HighWaterMark& high_water, FullXid bound) {
    high_water.raise(bound);
    detail::update(stamp, [bound](detail::StampCopy& copy) { copy.below = std::max(copy.below, bound); });
}

/// Replaces a bound, unless it has been raised since, by what it stood for: `writers`, who all run, the
/// caller's own transaction among them. Whoever else was below has finished, and will have for each snapshot
/// in which the caller's has.
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

/// Its version; odd while it changes. What is read later is at least as new, what the version tells of
/// included.
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

/// Adds the stamp's version to `versions`; false while it changes, and where somebody has not finished for
/// this snapshot. What is read is at least as new as anything read before it. Asked of each stamp that a
/// document depends on where the high-water mark does not tell: mostly all that it names lies below xmin.
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

/// What administrators are told of stamps.
struct Writers {
    FullXid latest = 0;      ///< the highest that is named; 0: none
    FullXid unfinished = 0;  ///< one that has not finished for the snapshot; 0: none
};

/// Adds what a stamp says to `writers`.
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

/// A table of `count` stamps (a power of two) that live elsewhere, zeroed before first use. Copyable.
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
