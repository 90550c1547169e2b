// The stamp table: an array of 64-bit atomics in memory that all processes share, indexed by hash. Two keys
// may share a slot; that costs a reload and never a wrong answer, because a slot only ever grows.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/rule.h"

namespace rolecall::core {

static_assert(std::atomic<FullXid>::is_always_lock_free, "stamps are shared between processes");

/// Raises `slot` to `value`, never lowers it. The order is sequentially consistent: a raise is seen by
/// everyone who sees the commit that follows it.
inline void raise(std::atomic<FullXid>& slot, FullXid value) {
    FullXid seen = slot.load(std::memory_order_relaxed);
    while (seen < value && !slot.compare_exchange_weak(seen, value, std::memory_order_seq_cst)) {
    }
}

/// A view of `slots` atomics (a power of two) that live elsewhere, zeroed before first use. Copyable.
class Stamps {
 public:
    Stamps() = default;
    Stamps(std::atomic<FullXid>* slots, std::size_t count)
        : slots_(slots), shift_(64 - std::countr_zero(count)) {}

    static constexpr std::size_t bytes(std::size_t count) { return count * sizeof(std::atomic<FullXid>); }

    /// Acquire: what is read after a cached copy was taken is at least as new as that copy.
    FullXid read(std::uint64_t hash) const { return slot(hash).load(std::memory_order_acquire); }

    std::atomic<FullXid>& slot(std::uint64_t hash) const { return slots_[hash >> shift_]; }

 private:
    std::atomic<FullXid>* slots_ = nullptr;
    int shift_ = 63;
};

}  // namespace rolecall::core
