// The arithmetic of the freshness rule: when a cached document may be installed and used. Pure, so that every
// case can be tested; docs/architecture.md explains why the rule holds.
//
// Numbers are full (64-bit) transaction ids. A *stamp* says: whoever uses a cached document of this key needs
// a snapshot in which every transaction below the stamp has finished. A *floor* says the same of many keys.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rolecall::core {

using FullXid = std::uint64_t;

/// The stamp that transaction `writer` (its top-level id) leaves on what it changes.
constexpr FullXid stamp_of(FullXid writer) { return writer + 1; }

/// Widens a 32-bit id that lies less than 2^31 behind the next id to be assigned. `reference` is a next id
/// read at any earlier time: when it is too old, the result errs low, which only costs a hit, and never high.
constexpr FullXid widen(std::uint32_t xid, FullXid reference) {
    const auto distance = static_cast<std::int32_t>(xid - static_cast<std::uint32_t>(reference));
    const auto wide = static_cast<std::int64_t>(reference) + distance;
    return wide < 0 ? 0 : static_cast<FullXid>(wide);
}

/// What a document needs of a snapshot: the latest of its stamp and of the floors above it.
constexpr FullXid required(FullXid stamp, FullXid projection_floor, FullXid common_floor) {
    return std::max({stamp, projection_floor, common_floor});
}

/// May a document loaded under a snapshot with this xmin be installed?
constexpr bool may_install(FullXid required, FullXid load_xmin) { return required <= load_xmin; }

/// May a reader whose snapshot has `reader_xmin` use a document loaded under `load_xmin`?
constexpr bool may_use(FullXid required, FullXid load_xmin, FullXid reader_xmin) {
    return required <= std::min(load_xmin, reader_xmin);
}

/// The time in which a document holds, [from, until) in microseconds; compared with the reader's now().
struct Window {
    std::int64_t from = INT64_MIN;
    std::int64_t until = INT64_MAX;

    constexpr bool contains(std::int64_t now) const { return from <= now && now < until; }
    constexpr bool operator==(const Window&) const = default;
};

}  // namespace rolecall::core
