// Finds the transactions that hold rows of a user, so that a sync cannot change them. The rows contain their
// ids.
#include "pg/pg.h"

#include "pg/function.h"
#include "pg/guard.h"
#include "sync/locks.h"

extern "C" {
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
}

namespace {

void put_holder(const ReturnSetInfo* result, const char* relation, TransactionId xid) {
    if (TransactionIdIsCurrentTransactionId(xid) || !TransactionIdIsInProgress(xid))
        return;
    const TransactionId top = SubTransGetTopmostTransaction(xid);
    const int pid = BackendXidGetPid(top);
    Datum values[] = {CStringGetTextDatum(relation), Int32GetDatum(pid), TransactionIdGetDatum(top)};
    bool nulls[] = {false, pid == 0, pid != 0};
    tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

// Adds the transactions that change or lock the row, except locks for foreign keys, which do not block a
// sync.
void put_holders_of(const ReturnSetInfo* result, const char* relation, const HeapTupleHeaderData* row) {
    const uint16 mask = row->t_infomask;
    if ((mask & HEAP_XMAX_INVALID) != 0)
        return;
    const TransactionId xmax = HeapTupleHeaderGetRawXmax(row);
    if ((mask & HEAP_XMAX_IS_MULTI) == 0) {
        if (!(HEAP_XMAX_IS_LOCKED_ONLY(mask) && HEAP_XMAX_IS_KEYSHR_LOCKED(mask)))
            put_holder(result, relation, xmax);
        return;
    }
    MultiXactMember* members = nullptr;
    const int count = GetMultiXactIdMembers(xmax, &members, false, HEAP_XMAX_IS_LOCKED_ONLY(mask));
    for (int i = 0; i < count; ++i)
        if (members[i].status != MultiXactStatusForKeyShare)
            put_holder(result, relation, members[i].xid);
}

// Adds the holders of the rows that a query found; its columns are tableoid and ctid.
void put_holders(const ReturnSetInfo* result) {
    SPITupleTable* found = SPI_tuptable;
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        const Oid table = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 1, &is_null));
        const Datum place = SPI_getbinval(found->vals[i], found->tupdesc, 2, &is_null);
        Relation relation = table_open(table, AccessShareLock);
        TupleTableSlot* slot = table_slot_create(relation, nullptr);
        if (table_tuple_fetch_row_version(relation, reinterpret_cast<ItemPointer>(DatumGetPointer(place)),
                                          SnapshotAny, slot)) {
            bool is_copy = false;
            HeapTuple tuple = ExecFetchSlotHeapTuple(slot, false, &is_copy);
            put_holders_of(result, RelationGetRelationName(relation), tuple->t_data);
            if (is_copy)
                heap_freetuple(tuple);
        }
        ExecDropSingleTupleTableSlot(slot);
        table_close(relation, AccessShareLock);
    }
}

}  // namespace

extern "C" {

// row_holders(uid bigint): columns as in statistics.sql. A prepared transaction has no pid; other
// transactions have no xid.
ROLECALL_FUNCTION(rolecall_row_holders, rolecall::pg::gives_rows(INT8OID)) {
    const ReturnSetInfo& result = rolecall::pg::result_set(fcinfo, TEXTOID, INT4OID, XIDOID);
    Oid type = INT8OID;
    Datum value = PG_GETARG_DATUM(0);
    // Separate queries, so that a locked table does not prevent reading the others.
    static const struct {
        const char* table;
        const char* rows;
    } places[] = {
        {"users", "SELECT tableoid, ctid FROM rolecall.users WHERE id OPERATOR(pg_catalog.=) $1"},
        {"sync_state",
         "SELECT tableoid, ctid FROM rolecall.sync_state WHERE user_id OPERATOR(pg_catalog.=) $1"},
        {"user_roles",
         "SELECT tableoid, ctid FROM rolecall.user_roles WHERE user_id OPERATOR(pg_catalog.=) $1"},
        {"user_units",
         "SELECT tableoid, ctid FROM rolecall.user_units WHERE user_id OPERATOR(pg_catalog.=) $1"},
    };
    const Oid schema = get_namespace_oid("rolecall", false);
    SPI_connect();
    for (const auto& place : places) {
        if (!rolecall::sync::try_read_lock(get_relname_relid(place.table, schema)))
            continue;
        if (SPI_execute_with_args(place.rows, 1, &type, &value, nullptr, true, 0) != SPI_OK_SELECT)
            elog(ERROR, "could not read a user's rows");
        put_holders(&result);
    }
    SPI_finish();
    return Datum{0};
}

}  // extern "C"
