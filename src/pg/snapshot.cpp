#include "pg/snapshot.h"

extern "C" {
#include "access/transam.h"
}

namespace rolecall::pg {

core::FullXid detail::xid_reference = 0;

core::FullXid next_full_xid() { return U64FromFullTransactionId(ReadNextFullTransactionId()); }

void refresh_xid_reference() { detail::xid_reference = next_full_xid(); }

// snapshot->xip has every top-level id that was running, even when subtransactions overflowed. It lacks the
// backend's own.
core::Snapshot xid_snapshot(const SnapshotData* snapshot) {
    return {.xmin = full_xmin(snapshot),
            .xmax = core::widen(snapshot->xmax, detail::xid_reference),
            .own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny()),
            .running = {snapshot->xip, snapshot->xcnt}};
}

}  // namespace rolecall::pg
