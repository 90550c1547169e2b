#include "projection/load.h"

#include "pg/acting.h"
#include "pg/settings.h"
#include "pg/snapshot.h"
#include "pg/testing.h"
#include "projection/document.h"
#include "projection/shared.h"

extern "C" {
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

core::Window window_of(HeapTuple tuple, TupleDesc columns) {
    core::Window window;
    bool is_null = false;
    const Datum from = SPI_getbinval(tuple, columns, 2, &is_null);
    if (!is_null)
        window.from = DatumGetTimestampTz(from);
    const Datum until = SPI_getbinval(tuple, columns, 3, &is_null);
    if (!is_null)
        window.until = DatumGetTimestampTz(until);
    return window;
}

// What it returns lives in the current memory context.
Loaded query(const Definition& d, Datum key) {
    Loaded loaded;
    MemoryContext caller = CurrentMemoryContext;
    const pg::Acting acting = pg::act_as_pinned(d.plan->owner);
    SPI_connect();
    run_plan(*d.plan, &key, nullptr, !testing::fault(Fault::own_snapshot_query), 2);
    if (SPI_processed > 1)
        ereport(ERROR,
                (errcode(ERRCODE_CARDINALITY_VIOLATION),
                 errmsg("the view of projection \"%s\" has more than one row for a key", NameStr(d.name))));
    if (SPI_processed == 1) {
        HeapTuple tuple = SPI_tuptable->vals[0];
        bool is_null = false;
        const Datum document = SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &is_null);
        loaded.window = window_of(tuple, SPI_tuptable->tupdesc);
        if (!is_null) {
            MemoryContext spi = MemoryContextSwitchTo(caller);
            loaded.document = DatumGetJsonbPCopy(document);
            MemoryContextSwitchTo(spi);
        }
    }
    SPI_finish();
    pg::stop_acting(acting);
    return loaded;
}

// The stamps of the groups that the key's rows belong to, sorted; in the current memory context. Read from
// those rows, not from the view: a row that does not find its group yet belongs to it all the same. No policy
// hides rows here: it may ask the group.
std::span<std::uint32_t> read_groups(const Definition& d, Datum key) {
    if (d.group_plans == NIL)
        return {};
    MemoryContext caller = CurrentMemoryContext;
    std::uint32_t* stamps = nullptr;
    std::size_t count = 0;
    ListCell* cell = nullptr;
    foreach (cell, d.group_plans) {
        const auto* plan = static_cast<Plan*>(lfirst(cell));
        const pg::Acting acting = pg::act_as_table_owner(plan->owner);
        SPI_connect();
        run_plan(*plan, &key, nullptr, true, 0);
        const std::size_t size = sizeof(std::uint32_t) * std::max<std::uint64_t>(count + SPI_processed, 1);
        stamps = static_cast<std::uint32_t*>(stamps == nullptr ? MemoryContextAlloc(caller, size)
                                                               : repalloc(stamps, size));
        for (std::uint64_t i = 0; i < SPI_processed; ++i) {
            bool is_null = false;
            const Datum value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &is_null);
            if (is_null)
                continue;
            const int group =
                DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null));
            const text* bytes = DatumGetTextPP(value);
            const std::string_view name{VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)};
            stamps[count++] = shared.stamps.index(key_hash(d.group_ids[group], name));
        }
        SPI_finish();
        pg::stop_acting(acting);
    }
    std::sort(stamps, stamps + count);
    return {stamps, static_cast<std::size_t>(std::unique(stamps, stamps + count) - stamps)};
}

Count install(const Definition& d, Datum key, const Loaded& loaded, const core::Snapshot& snapshot) {
    KeyBuffer buffer;
    const std::string_view bytes = canonical_key(d.key_kind, key, buffer);
    const core::Key name{
        .database = MyDatabaseId, .projection = d.id, .bytes = bytes, .hash = key_hash(d.id, bytes)};
    const std::span<std::uint32_t> groups = read_groups(d, key);

    core::EntryHead head{.window = loaded.window, .loaded_at = GetCurrentTimestamp()};
    std::span<char> access;
    if (loaded.document != nullptr) {
        core::AccessFacts facts = read_access(loaded.document);
        access = pack_access(facts);
        head.document_bytes = VARSIZE(loaded.document);
        head.access_bytes = static_cast<std::uint32_t>(access.size());
    }
    head.group_bytes = static_cast<std::uint32_t>(groups.size_bytes());
    testing::point("before-install");
    const Dependencies on{name.hash, d.floor, groups};
    if (d.ttl > 0 ? !versions_of(on, head.versions) : !settled(on, snapshot, head.versions))
        return Count::skip_writers;
    const core::Payload payload{.groups = reinterpret_cast<const char*>(groups.data()),
                                .access = access.data(),
                                .document = reinterpret_cast<const char*>(loaded.document)};
    return put(name, head, payload);
}

}  // namespace

Count put(const core::Key& key, const core::EntryHead& head, const core::Payload& payload) {
    const std::size_t largest = std::size_t{1024} * settings::max_document_size;
    if (std::max({std::size_t{head.document_bytes}, std::size_t{head.access_bytes},
                  std::size_t{head.group_bytes}, key.bytes.size()}) > largest)
        return Count::skip_size;
    const std::uint32_t partition = shared.cache.partition_of(key.hash);
    lock_partition(partition);
    const core::InstallResult result = shared.cache.install(key, head, payload);
    unlock_partition(partition);
    return result == core::InstallResult::installed ? Count::installs : Count::skip_size;
}

namespace {

void count(const Definition& d, Count what) { counters::add(d.counters, what); }

}  // namespace

// The order matters. The snapshot is there already. DDL that it sees as committed has sent its invalidations
// once the definitions are quiet, so they are accepted next and the watches verified; DDL that comes later
// adds itself to a floor before it commits, and is not finished for this snapshot.
Loaded load(Definition& d, Datum key, bool may_install) {
    Snapshot snapshot = GetActiveSnapshot();
    const bool quiet = may_install && definitions_are_quiet();
    testing::point("before-definition");
    if (!testing::fault(Fault::no_invalidations))
        AcceptInvalidationMessages();
    const bool fresh = definition_refresh_same_key(d);

    testing::point("before-query");
    const TimestampTz began = GetCurrentTimestamp();
    const Loaded loaded = query(d, key);
    counters::add(d.counters, Count::loads);
    counters::add(d.counters, Count::load_time, static_cast<std::uint64_t>(GetCurrentTimestamp() - began));

    if (!may_install)
        return loaded;
    const bool own_id =
        TransactionIdIsValid(GetTopTransactionIdIfAny());  // a volatile function may have taken one
    if (own_id && !testing::fault(Fault::own_writes_ignored)) {
        count(d, Count::skip_own_id);
    } else if (!quiet || !fresh) {
        count(d, Count::skip_ddl);
    } else if (d.problems != NIL && d.ttl == 0 && !testing::fault(Fault::watches_not_verified)) {
        count(d, Count::skip_unwatched);
    } else {
        if (testing::fault(Fault::newest_snapshot))
            snapshot = GetLatestSnapshot();
        count(d, install(d, key, loaded, pg::xid_snapshot(snapshot)));
    }
    return loaded;
}

}  // namespace rolecall::projection
