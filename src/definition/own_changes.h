// Whether this transaction has changed definitions. invalidation/announce.cpp maintains this state; reads use
// it.
#pragma once

namespace rolecall::projection {

namespace detail {
inline int noted_changes = 0;
inline bool noted_once = false;  // in any transaction of this process, rolled back or not
}  // namespace detail

/// Returns whether this transaction has noted a change that is not committed yet. If so, its own reads bypass
/// the cache.
inline bool definitions_are_changing_here() { return detail::noted_changes > 0; }

}  // namespace rolecall::projection
