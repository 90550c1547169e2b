#include "pg/snapshot.h"

extern "C" {
#include "access/transam.h"
}

namespace rolecall::pg {

namespace {

core::FullXid reference = 0;

}  // namespace

core::FullXid next_full_xid() { return U64FromFullTransactionId(ReadNextFullTransactionId()); }

void refresh_xid_reference() { reference = next_full_xid(); }

// snapshot->xip has every top-level id that was running, even when subtransactions overflowed. It lacks the
// backend's own.
core::Snapshot xid_snapshot(const SnapshotData* snapshot) {
    if (reference == 0)
        refresh_xid_reference();
    return {.xmin = core::widen(snapshot->xmin, reference),
            .xmax = core::widen(snapshot->xmax, reference),
            .own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny()),
            .running = {snapshot->xip, snapshot->xcnt}};
}

}  // namespace rolecall::pg
