#include "projection/read.h"

#include "pg/settings.h"
#include "pg/testing.h"
#include "projection/document.h"
#include "projection/load.h"
#include "projection/shared.h"

extern "C" {
#include "access/parallel.h"
#include "access/xlog.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

// A next transaction id read earlier, to widen snapshots' ids without a lock. Refreshed at every miss, so
// that an old one costs no more than one.
core::FullXid xid_reference = 0;

// What the caller's transaction may do with cached documents. A mode other than "use" comes with what to
// count.
struct Standing {
    bool may_use;
    bool may_install;
    Count why;
    core::FullXid xmin;
};

// Holds this backend a lock under which rows of the projection may have changed already, unknown to any stamp
// because AFTER triggers run at the end of the statement?
bool may_have_written(Definition& d) {
    if (IsParallelWorker())
        return true;  // the locks are the leader's
    definition_refresh(d);
    for (int i = 0; i < d.relation_count; ++i) {
        LOCKTAG tag;
        SET_LOCKTAG_RELATION(tag, MyDatabaseId, d.relations[i]);
        if (pg::holds_lock(tag, RowExclusiveLock))
            return true;
    }
    return false;
}

// Reads in a SERIALIZABLE transaction leave predicate locks, which a hit does not. Only a deferrable one that
// has its safe snapshot needs none; one that became READ ONLY after its first snapshot did not wait for it.
bool needs_predicate_locks() {
    return IsolationIsSerializable() &&
           !(XactReadOnly && XactDeferrable && ShareSerializableXact() == nullptr);
}

Standing standing_of(Definition& d) {
    Standing s{.may_use = false, .may_install = false, .why = Count::bypass_off, .xmin = 0};
    if (!settings::cache)
        return s;
    s.why = Count::bypass_recovery;
    if (!floor_is_ready())
        return s;
    s.why = Count::bypass_snapshot;
    if (!ActiveSnapshotSet())
        return s;
    const SnapshotData* snapshot = GetActiveSnapshot();
    if (snapshot->snapshot_type != SNAPSHOT_MVCC || snapshot->takenDuringRecovery)
        return s;
    s.why = Count::bypass_serializable;
    if (needs_predicate_locks() && !testing::fault(Fault::serializable_hit))
        return s;
    if (xid_reference == 0)
        xid_reference = next_full_xid();
    s.xmin = core::widen(snapshot->xmin, xid_reference);
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && !testing::fault(Fault::own_writes_ignored)) {
        s.why = Count::bypass_own_writes;
        s.may_use = !may_have_written(d);
        return s;
    }
    s.may_use = s.may_install = true;
    return s;
}

core::FullXid required_of(const Definition& d, const core::Key& key) {
    return core::required(shared.stamps.read(key.hash), shared.floors.read(floor_hash(d.id)),
                          shared.head->common_floor.load(std::memory_order_acquire));
}

// Copies the entry and only then reads its stamp: the other way round, an entry that was reloaded in between
// would show a commit that this snapshot does not contain.
template <typename Reserve>
bool hit(const Definition& d, const Standing& standing, Datum key_value, core::Part part,
         core::EntryHead& head, Reserve&& reserve) {
    KeyBuffer buffer;
    const std::string_view bytes = canonical_key(d.key_kind, key_value, buffer);
    const core::Key key{MyDatabaseId, d.id, bytes, key_hash(d.id, bytes)};

    core::FullXid required = 0;
    if (testing::fault(Fault::stamp_read_before_entry)) {
        required = required_of(d, key);
        testing::point("between-entry-and-stamp");
    }
    if (!shared.cache.read(key, part, head, reserve))
        return false;
    if (!testing::fault(Fault::stamp_read_before_entry)) {
        testing::point("between-entry-and-stamp");
        required = required_of(d, key);
    }
    if (testing::fault(Fault::miss_not_stamped) && head.document_bytes == 0)
        required = 0;
    const core::FullXid reader_xmin = testing::fault(Fault::reader_xmin_ignored) ? UINT64_MAX : standing.xmin;
    return core::may_use(required, head.load_xmin, reader_xmin) &&
           head.window.contains(GetCurrentTransactionStartTimestamp());
}

template <typename Reserve>
bool try_hit(Definition& d, Datum key, core::Part part, Reserve&& reserve, core::EntryHead& head,
             bool& may_install) {
    const Standing standing = standing_of(d);
    may_install = standing.may_install;
    if (!standing.may_use) {
        count(standing.why);
        return false;
    }
    if (hit(d, standing, key, part, head, reserve)) {
        count(Count::hits);
        return true;
    }
    count(Count::misses);
    xid_reference = next_full_xid();
    return false;
}

Loaded load_for(Definition& d, Datum key, bool may_install) {
    if (ActiveSnapshotSet())
        return load(d, key, may_install);
    PushActiveSnapshot(GetTransactionSnapshot());
    const Loaded loaded = load(d, key, false);
    PopActiveSnapshot();
    return loaded;
}

const char* check_contract(const Definition& d, const char* access) {
    if (!core::Access(access).well_formed())
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a document of projection \"%s\" does not follow the contract of \"me\"",
                               NameStr(d.name)),
                        errhint("Its roles must be [\"name\", ...] or [{\"role\": ..., \"on\": \"global\" | "
                                "{\"institutional_id\": ...} | {\"<kind>\": ...}}, ...].")));
    return access;
}

}  // namespace

Answer read_document(Definition& d, Datum key) {
    require_preloaded();
    core::EntryHead head;
    Jsonb* document = nullptr;
    const auto reserve = [&document](const core::EntryHead&, std::size_t bytes) {
        document = static_cast<Jsonb*>(palloc(bytes));
        return reinterpret_cast<char*>(document);
    };
    bool may_install = false;
    if (try_hit(d, key, core::Part::document, reserve, head, may_install))
        return {.found = head.document_bytes > 0, .document = head.document_bytes > 0 ? document : nullptr};
    const Loaded loaded = load_for(d, key, may_install);
    return {.found = loaded.document != nullptr, .document = loaded.document};
}

Answer read_access(Definition& d, Datum key, AccessBuffer& buffer) {
    require_preloaded();
    core::EntryHead head;
    const char* block = nullptr;
    const auto reserve = [&](const core::EntryHead&, std::size_t bytes) {
        char* to = bytes <= AccessBuffer::size ? buffer.bytes : static_cast<char*>(palloc(bytes));
        block = to;
        return to;
    };
    bool may_install = false;
    if (try_hit(d, key, core::Part::access, reserve, head, may_install)) {
        if (head.document_bytes == 0)
            return {};
        return {.found = true, .access = check_contract(d, block)};
    }
    const Loaded loaded = load_for(d, key, may_install);
    if (loaded.document == nullptr)
        return {};
    core::AccessFacts facts = read_access(loaded.document);
    return {.found = true, .access = check_contract(d, pack_access(facts).data())};
}

}  // namespace rolecall::projection
