// Whether this transaction has changed definitions. Kept by invalidation/announce.cpp, for reads.
#pragma once

namespace rolecall::projection {

namespace detail {
inline int noted_changes = 0;
inline bool noted_once = false;  // in any transaction of this process, rolled back or not
}  // namespace detail

/// Has this transaction noted what it has not yet committed? Its own reads then bypass the cache.
inline bool definitions_are_changing_here() { return detail::noted_changes > 0; }

}  // namespace rolecall::projection
