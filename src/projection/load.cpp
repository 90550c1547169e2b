#include "projection/load.h"

#include "pg/acting.h"
#include "pg/settings.h"
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
    const pg::Acting acting = pg::act_as_pinned(d.owner);
    SPI_connect();
    Datum values[] = {key};
    const bool read_only = !testing::fault(Fault::own_snapshot_query);
    if (SPI_execute_plan(d.plan, values, nullptr, read_only, 2) != SPI_OK_SELECT)
        elog(ERROR, "could not query projection \"%s\"", NameStr(d.name));
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

Count install(const Definition& d, Datum key, const Loaded& loaded, core::FullXid load_xmin) {
    KeyBuffer buffer;
    const std::string_view bytes = canonical_key(d.key_kind, key, buffer);
    const core::Key name{MyDatabaseId, d.id, bytes, key_hash(d.id, bytes)};

    core::EntryHead head{.load_xmin = load_xmin, .window = loaded.window, .loaded_at = GetCurrentTimestamp()};
    std::span<char> access;
    if (loaded.document != nullptr) {
        core::AccessFacts facts = read_access(loaded.document);
        access = pack_access(facts);
        head.document_bytes = VARSIZE(loaded.document);
        head.access_bytes = static_cast<std::uint32_t>(access.size());
    }
    const std::size_t largest = std::size_t{1024} * settings::max_document_size;
    if (head.document_bytes > largest || access.size() > largest || bytes.size() > largest)
        return Count::skip_size;

    testing::point("before-install");
    const core::FullXid required =
        core::required(shared.stamps.read(name.hash), shared.floors.read(floor_hash(d.id)),
                       shared.head->common_floor.load(std::memory_order_acquire));
    if (!core::may_install(required, load_xmin))
        return Count::skip_writers;
    const std::uint32_t partition = shared.cache.partition_of(name.hash);
    lock_partition(partition);
    const core::InstallResult result =
        shared.cache.install(name, head, access.data(), reinterpret_cast<const char*>(loaded.document));
    unlock_partition(partition);
    return result == core::InstallResult::installed ? Count::installs : Count::skip_size;
}

}  // namespace

// The order matters. The snapshot is there already. DDL that it sees as committed has sent its invalidations
// once the definitions are quiet, so they are accepted next and the watches verified; DDL that comes later
// raises a floor above this snapshot's xmin before it commits.
Loaded load(Definition& d, Datum key, bool may_install) {
    Snapshot snapshot = GetActiveSnapshot();
    const bool quiet = may_install && definitions_are_quiet();
    if (!testing::fault(Fault::no_invalidations))
        AcceptInvalidationMessages();
    const bool fresh = definition_refresh(d);

    testing::point("before-query");
    const Loaded loaded = query(d, key);

    if (!may_install)
        return loaded;
    const bool own_id =
        TransactionIdIsValid(GetTopTransactionIdIfAny());  // a volatile function may have taken one
    if (own_id && !testing::fault(Fault::own_writes_ignored)) {
        count(Count::skip_own_id);
    } else if (!quiet || !fresh) {
        count(Count::skip_ddl);
    } else if (d.unwatched != nullptr) {
        count(Count::skip_unwatched);
    } else {
        const TransactionId xmin =
            testing::fault(Fault::newest_snapshot_xmin) ? GetLatestSnapshot()->xmin : snapshot->xmin;
        count(install(d, key, loaded, core::widen(xmin, next_full_xid())));
    }
    return loaded;
}

}  // namespace rolecall::projection
