// PostgreSQL's snapshots as the freshness rule sees them.
#pragma once

#include "pg/pg.h"

#include "core/rule.h"

extern "C" {
#include "utils/snapshot.h"
}

namespace rolecall::pg {

/// Is this an ordinary snapshot of a running server, one that xid_snapshot() can be made of?
inline bool is_plain(const SnapshotData* snapshot) {
    return snapshot->snapshot_type == SNAPSHOT_MVCC && !snapshot->takenDuringRecovery;
}

/// A view of a plain snapshot, asked by the current transaction. Ids are widened against a next id that this
/// backend has read at any earlier time: one that is too old only costs hits.
core::Snapshot xid_snapshot(const SnapshotData* snapshot);

/// Are the same transactions finished for both? Each sees the same rows then, of other transactions: which of
/// its own, its command id says. Of MVCC snapshots, as they are now, wherever they lie and come from.
bool see_the_same_transactions(const SnapshotData* a, const SnapshotData* b);

/// A copy of an MVCC snapshot to compare with, nothing else; all of it lives in `context`.
SnapshotData* copy_of(const SnapshotData* snapshot, MemoryContext context);

/// Reads the next id anew. Takes a lock.
void refresh_xid_reference();

namespace detail {
extern core::FullXid xid_reference;
}

/// The same snapshot's xmin.
inline core::FullXid full_xmin(const SnapshotData* snapshot) {
    if (detail::xid_reference == 0) [[unlikely]]
        refresh_xid_reference();
    return core::widen(snapshot->xmin, detail::xid_reference);
}

/// The next transaction id to be assigned, in full. Takes a lock.
core::FullXid next_full_xid();

}  // namespace rolecall::pg
