// Converts PostgreSQL's snapshots to those of the freshness rule.
#pragma once

#include "pg/pg.h"

#include "core/rule.h"

extern "C" {
#include "utils/snapshot.h"
}

namespace rolecall::pg {

/// Returns whether this is an MVCC snapshot that was not taken during recovery; xid_snapshot() requires one.
inline bool is_plain(const SnapshotData* snapshot) {
    return snapshot->snapshot_type == SNAPSHOT_MVCC && !snapshot->takenDuringRecovery;
}

/// Returns a view of such a snapshot for the current transaction. Ids are widened against a next id that this
/// backend read at any earlier time; if it is too old, that only costs cache hits.
core::Snapshot xid_snapshot(const SnapshotData* snapshot);

/// Returns whether the same transactions have ended for both MVCC snapshots. If so, both see the same rows of
/// other transactions; which of its own rows a transaction sees depends on the command id. The contents are
/// compared.
bool see_the_same_transactions(const SnapshotData* a, const SnapshotData* b);

/// Returns a copy of an MVCC snapshot, allocated in `context`, to be used for comparisons only.
SnapshotData* copy_of(const SnapshotData* snapshot, MemoryContext context);

/// Reads the next transaction id again. Takes a lock.
void refresh_xid_reference();

namespace detail {
extern core::FullXid xid_reference;
}

/// Returns the xmin of a snapshot, widened as in xid_snapshot().
inline core::FullXid full_xmin(const SnapshotData* snapshot) {
    if (detail::xid_reference == 0) [[unlikely]]
        refresh_xid_reference();
    return core::widen(snapshot->xmin, detail::xid_reference);
}

/// Returns the next transaction id to be assigned, in full. Takes a lock.
core::FullXid next_full_xid();

}  // namespace rolecall::pg
