// The arithmetic of the freshness rule: what a snapshot says about those who changed a document. Pure, so
// that every case can be tested; docs/architecture.md explains why the rule holds.
//
// Numbers are full (64-bit) ids of top-level transactions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace rolecall::core {

using FullXid = std::uint64_t;

/// Widens a 32-bit id that lies less than 2^31 behind the next id to be assigned. `reference` is a next id
/// read at any earlier time: when it is too old, the result errs low, which only costs a hit, and never high.
constexpr FullXid widen(std::uint32_t xid, FullXid reference) {
    const auto distance = static_cast<std::int32_t>(xid - static_cast<std::uint32_t>(reference));
    const auto wide = static_cast<std::int64_t>(reference) + distance;
    return wide < 0 ? 0 : static_cast<FullXid>(wide);
}

/// What a snapshot says about transactions. A view: `running` must outlive it.
struct Snapshot {
    FullXid xmin = 0;  ///< all below had finished
    FullXid xmax = 0;  ///< from here on none had
    FullXid own = 0;   ///< the transaction of who asks, or 0: never finished, and not among `running`
    std::span<const std::uint32_t> running;  ///< low halves of those in between that had not

    /// Had this transaction finished when the snapshot was taken? Then its changes are visible if it
    /// committed, and will never be if it did not.
    constexpr bool finished(FullXid writer) const {
        if (writer < xmin)
            return true;
        if (writer >= xmax || writer == own)
            return false;
        return std::find(running.begin(), running.end(), static_cast<std::uint32_t>(writer)) == running.end();
    }
};

/// The time in which a document holds, [from, until) in microseconds; compared with the reader's now().
struct Window {
    std::int64_t from = INT64_MIN;
    std::int64_t until = INT64_MAX;

    constexpr bool contains(std::int64_t now) const { return from <= now && now < until; }
    constexpr bool operator==(const Window&) const = default;
};

}  // namespace rolecall::core
