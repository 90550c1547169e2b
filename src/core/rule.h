// The arithmetic of the freshness rule: which writers of a document had ended for a snapshot. The functions
// are pure, so that every case can be tested; docs/architecture.md explains why the rule holds.
//
// Transaction ids are full (64-bit) ids of top-level transactions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace rolecall::core {

using FullXid = std::uint64_t;

/// Widens a 32-bit id that lies less than 2^31 behind the next id to be assigned. `reference` is a next id
/// read at any earlier time. If it is too old, the result may be too low, which only costs a cache hit; it is
/// never too high.
constexpr FullXid widen(std::uint32_t xid, FullXid reference) {
    const auto distance = static_cast<std::int32_t>(xid - static_cast<std::uint32_t>(reference));
    const auto wide = static_cast<std::int64_t>(reference) + distance;
    return wide < 0 ? 0 : static_cast<FullXid>(wide);
}

/// What a snapshot says about transactions. This is a view: `running` must outlive it.
struct Snapshot {
    FullXid xmin = 0;  ///< all transactions below had ended
    FullXid xmax = 0;  ///< no transaction from here on had ended
    FullXid own = 0;   ///< the reader's own transaction, or 0: has not ended, and is not in `running`
    std::span<const std::uint32_t> running;  ///< low halves of the ids in between that had not ended

    /// Returns whether a transaction had ended when the snapshot was taken. If so, its changes are visible if
    /// it committed, and never will be if it aborted.
    constexpr bool finished(FullXid writer) const {
        if (writer < xmin)
            return true;
        if (writer >= xmax || writer == own)
            return false;
        return std::find(running.begin(), running.end(), static_cast<std::uint32_t>(writer)) == running.end();
    }
};

/// The time in which a document is valid: [from, until), in microseconds, compared with the reader's now().
struct Window {
    std::int64_t from = INT64_MIN;
    std::int64_t until = INT64_MAX;

    constexpr bool contains(std::int64_t now) const { return from <= now && now < until; }
    constexpr bool operator==(const Window&) const = default;
};

}  // namespace rolecall::core
