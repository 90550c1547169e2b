#include "projection/load.h"

#include "cache/shared.h"
#include "definition/compiled.h"
#include "definition/groups.h"
#include "definition/run.h"
#include "pg/settings.h"
#include "pg/snapshot.h"
#include "pg/testing.h"
#include "projection/document.h"
#include "projection/group_scan.h"

extern "C" {
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace rolecall::projection {

using testing::Fault;

core::Key key_in_cache(const Definition& d, Datum key, KeyBuffer& buffer) {
    const std::string_view bytes = canonical_key(d.key_kind, key, buffer);
    return {.database = MyDatabaseId,
            .projection = d.id,
            .bytes = bytes,
            .hash = key_hash(d.id, d.key_kind, bytes)};
}

void complain_of_several_rows(const Definition& d) {
    ereport(ERROR,
            (errcode(ERRCODE_CARDINALITY_VIOLATION),
             errmsg("the view of projection \"%s\" has more than one row for a key", NameStr(d.name))));
    pg_unreachable();
}

ViewRow read_row(HeapTuple tuple, TupleDesc columns, int first) {
    ViewRow row{};
    bool is_null = false;
    row.document = SPI_getbinval(tuple, columns, first, &is_null);
    row.has_document = !is_null;
    const Datum from = SPI_getbinval(tuple, columns, first + 1, &is_null);
    if (!is_null)
        row.window.from = DatumGetTimestampTz(from);
    const Datum until = SPI_getbinval(tuple, columns, first + 2, &is_null);
    if (!is_null)
        row.window.until = DatumGetTimestampTz(until);
    return row;
}

namespace {

// Runs the projection's query, inside SPI. The document is allocated in `context`.
Loaded query(const Definition& d, Datum key, MemoryContext context) {
    const TimestampTz began = GetCurrentTimestamp();
    Loaded loaded;
    run_plan(*d.plan, &key, nullptr, !testing::fault(Fault::own_snapshot_query), 2);
    if (SPI_processed > 1)
        complain_of_several_rows(d);
    if (SPI_processed == 1) {
        const ViewRow row = read_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
        loaded.window = row.window;
        if (row.has_document) {
            MemoryContext spi = MemoryContextSwitchTo(context);
            loaded.document = DatumGetJsonbPCopy(row.document);
            MemoryContextSwitchTo(spi);
        }
    }
    cache::counters::add(d.counters, cache::Count::loads);
    cache::counters::add(d.counters, cache::Count::load_time,
                         static_cast<std::uint64_t>(GetCurrentTimestamp() - began));
    return loaded;
}

// Returns the stamps of the groups that the key's document belongs to, sorted and without duplicates. Runs
// inside SPI. The result is allocated in `context`.
std::span<std::uint32_t> read_groups(const Definition& d, Datum key, MemoryContext context) {
    if (d.group_sources == NIL)
        return {};
    GroupStamps groups = no_groups(context);
    if (!scan_groups(d.group_sources, d.key_kind, key, groups))
        each_group(list_copy(d.group_plans), array_of_keys(d.key_kind, &key, 1),
                   [&](Datum, std::uint32_t stamp) { groups.add(stamp); });
    std::sort(groups.all, groups.all + groups.count);
    return {groups.all,
            static_cast<std::size_t>(std::unique(groups.all, groups.all + groups.count) - groups.all)};
}

}  // namespace

cache::Count install(const Definition& d, const core::Key& key, const Loaded& loaded,
                     std::span<const std::uint32_t> groups, const core::Snapshot& snapshot, TimestampTz time,
                     core::Room room) {
    if (d.runs_text && compiled_differs(loaded.ambiguous_calls))
        return cache::Count::skip_ddl;
    core::EntryHead head{.window = loaded.window, .loaded_at = time};
    std::span<char> access;
    if (loaded.document != nullptr) {
        core::AccessFacts facts = read_access(loaded.document);
        access = pack_access(facts);
        head.document_bytes = VARSIZE(loaded.document);
        head.access_bytes = static_cast<std::uint32_t>(access.size());
    }
    head.group_bytes = static_cast<std::uint32_t>(groups.size_bytes());
    testing::point("before-install");
    const cache::Dependencies on{key.hash, d.floor, groups};
    if (testing::fault(Fault::writers_not_asked))
        head.versions = cache::floor_versions(on.floor) + cache::stamp_versions(on);
    else if (!cache::settled(on, snapshot, head.versions))
        return cache::Count::skip_writers;
    const core::Payload payload{.groups = reinterpret_cast<const char*>(groups.data()),
                                .access = access.data(),
                                .document = reinterpret_cast<const char*>(loaded.document)};
    return put(key, head, payload, room);
}

cache::Count put(const core::Key& key, const core::EntryHead& head, const core::Payload& payload,
                 core::Room room) {
    const std::size_t largest = std::size_t{1024} * settings::max_document_size;
    if (std::max({std::size_t{head.document_bytes}, std::size_t{head.access_bytes},
                  std::size_t{head.group_bytes}, key.bytes.size()}) > largest)
        return cache::Count::skip_size;
    const std::uint32_t partition = cache::shared.cache.partition_of(key.hash);
    cache::lock_partition(partition);
    const core::InstallResult result = cache::shared.cache.install(key, head, payload, room);
    cache::unlock_partition(partition);
    switch (result) {
        case core::InstallResult::installed:
            return cache::Count::installs;
        case core::InstallResult::no_room:
            return cache::Count::skip_room;
        case core::InstallResult::too_large:
            break;
    }
    return cache::Count::skip_size;
}

// The order matters. The snapshot exists already. If the definitions are quiet, DDL that the snapshot sees as
// committed has sent its invalidation messages; so these are accepted next, and the watches verified. DDL
// that commits later adds itself to a floor before its commit, and has not ended for this snapshot.
Loaded load(Definition& d, Datum key, bool may_install) {
    Snapshot snapshot = GetActiveSnapshot();
    const bool quiet = may_install && cache::definitions_are_quiet();
    testing::point("before-definition");
    AcceptInvalidationMessages();
    const bool fresh = definition_ready_same_key(d, quiet);

    testing::point("before-query");
    MemoryContext caller = CurrentMemoryContext;
    const std::uint64_t calls = ambiguous_calls();
    const pg::SecurityContext before = act_as_view_owner(d);
    SPI_connect();
    Loaded loaded = query(d, key, caller);
    loaded.ambiguous_calls = calls;
    d.differs_by_calls = d.runs_text && compiled_differs(calls);
    cache::Count result = cache::Count::installs;
    // A volatile function may have assigned an id to this transaction.
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && !testing::fault(Fault::own_writes_ignored))
        result = cache::Count::skip_own_id;
    else if (!quiet || !fresh)
        result = cache::Count::skip_ddl;
    else if (d.differs_here ||
             (d.problems != NIL && d.ttl == 0 && !testing::fault(Fault::watches_not_verified)))
        result = cache::Count::skip_unwatched;
    std::span<std::uint32_t> groups;
    if (may_install && result == cache::Count::installs && !testing::fault(Fault::groups_not_read) &&
        !(testing::fault(Fault::miss_without_groups) && loaded.document == nullptr))
        groups = read_groups(d, key, caller);
    SPI_finish();
    pg::restore_security_context(before);

    if (!may_install)
        return loaded;
    if (result == cache::Count::installs) {
        if (testing::fault(Fault::newest_snapshot))
            snapshot = GetLatestSnapshot();
        KeyBuffer buffer;
        result = install(d, key_in_cache(d, key, buffer), loaded, groups, pg::xid_snapshot(snapshot),
                         GetCurrentTimestamp(), core::Room::any);
    }
    loaded.kept = result == cache::Count::installs;
    cache::counters::add(d.counters, result);
    return loaded;
}

}  // namespace rolecall::projection
