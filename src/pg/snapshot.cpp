#include "pg/snapshot.h"

extern "C" {
#include "access/transam.h"
}

namespace rolecall::pg {

core::FullXid detail::xid_reference = 0;

core::FullXid next_full_xid() { return U64FromFullTransactionId(ReadNextFullTransactionId()); }

void refresh_xid_reference() { detail::xid_reference = next_full_xid(); }

// snapshot->xip has every top-level id that was running, even when subtransactions overflowed, except the
// backend's own.
core::Snapshot xid_snapshot(const SnapshotData* snapshot) {
    return {.xmin = full_xmin(snapshot),
            .xmax = core::widen(snapshot->xmax, detail::xid_reference),
            .own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny()),
            .running = {snapshot->xip, snapshot->xcnt}};
}

namespace {

bool are_equal(const TransactionId* a, const TransactionId* b, std::size_t count) {
    return count == 0 || memcmp(a, b, sizeof(TransactionId) * count) == 0;
}

TransactionId* copy_ids(const TransactionId* ids, std::size_t count, MemoryContext context) {
    auto* copy =
        static_cast<TransactionId*>(MemoryContextAlloc(context, sizeof(TransactionId) * (count + 1)));
    std::copy(ids, ids + count, copy);
    return copy;
}

// When subtransactions overflowed, PostgreSQL neither reads nor copies their ids, except in a standby's
// snapshot.
std::size_t subtransactions_of(const SnapshotData* snapshot) {
    return snapshot->suboverflowed && !snapshot->takenDuringRecovery
               ? 0
               : static_cast<std::size_t>(snapshot->subxcnt);
}

}  // namespace

bool see_the_same_transactions(const SnapshotData* a, const SnapshotData* b) {
    return a->xmin == b->xmin && a->xmax == b->xmax && a->xcnt == b->xcnt && a->subxcnt == b->subxcnt &&
           a->suboverflowed == b->suboverflowed && a->takenDuringRecovery == b->takenDuringRecovery &&
           are_equal(a->xip, b->xip, a->xcnt) && are_equal(a->subxip, b->subxip, subtransactions_of(a));
}

SnapshotData* copy_of(const SnapshotData* snapshot, MemoryContext context) {
    auto* copy = static_cast<SnapshotData*>(MemoryContextAlloc(context, sizeof(SnapshotData)));
    *copy = *snapshot;
    copy->xip = copy_ids(snapshot->xip, snapshot->xcnt, context);
    copy->subxip = copy_ids(snapshot->subxip, subtransactions_of(snapshot), context);
    return copy;
}

}  // namespace rolecall::pg
