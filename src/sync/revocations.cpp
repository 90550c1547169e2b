// Sums up what was taken away in a window of the brake, before a transaction takes away more. Changes by
// transactions that are still open count as well; otherwise each transaction would have to wait until they
// end. So the rows are read with a dirty snapshot, as for unique index checks.
#include "pg/pg.h"

#include "pg/function.h"
#include "pg/security_context.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "executor/spi.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace rolecall::sync {

namespace {

// Calls `f(tuple, columns)` for each row of a provider.
template <typename F>
void for_each_row(const char* table, const char* index, Datum provider, F&& f) {
    const Oid relation_id = pg::extension_relation(table);
    Relation relation = table_open(relation_id, AccessShareLock);
    TupleDesc columns = RelationGetDescr(relation);
    ScanKeyData key;
    ScanKeyEntryInitialize(&key, 0, get_attnum(relation_id, "provider"), BTEqualStrategyNumber, InvalidOid,
                           DEFAULT_COLLATION_OID, F_TEXTEQ, provider);
    SnapshotData dirty;
    InitDirtySnapshot(dirty);
    SysScanDesc scan = systable_beginscan(relation, pg::extension_relation(index), true, &dirty, 1, &key);
    for (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple); tuple = systable_getnext(scan))
        f(tuple, columns);
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
}

std::int64_t number_of(HeapTuple tuple, TupleDesc columns, const char* column) {
    bool is_null = false;
    return DatumGetInt64(heap_getattr(tuple, SPI_fnumber(columns, column), columns, &is_null));
}

}  // namespace

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {

// revocations_since(name text, since timestamptz): columns as in safety.sql. If no window was summed up,
// grants and users are NULL.
ROLECALL_FUNCTION(rolecall_revocations_since, pg::takes(RECORDOID, TEXTOID, TIMESTAMPTZOID)) {
    const Datum provider = PG_GETARG_DATUM(0);
    const TimestampTz since = PG_GETARG_TIMESTAMPTZ(1);
    TupleDesc result = pg::result_row(fcinfo, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
                                      INT8OID, INT8OID, INT8OID);
    enum {
        began_at,
        users_affected,
        grants_revoked,
        grants,
        users_deactivated,
        users,
        open_users,
        open_grants,
        open_deactivated,
        column_count
    };
    std::int64_t numbers[column_count] = {};
    TimestampTz first = DT_NOEND;
    bool is_added_up = false;
    for_each_row("revocations", "revocations_pkey", provider, [&](HeapTuple tuple, TupleDesc columns) {
        const TimestampTz began = number_of(tuple, columns, "began_at");
        // (There are two rows if the row is being changed manually.)
        if (began <= since || number_of(tuple, columns, "users_affected") < numbers[users_affected])
            return;
        is_added_up = true;
        first = began;
        numbers[users_affected] = number_of(tuple, columns, "users_affected");
        numbers[grants_revoked] = number_of(tuple, columns, "grants_revoked");
        numbers[grants] = number_of(tuple, columns, "grants");
        numbers[users_deactivated] = number_of(tuple, columns, "users_deactivated");
        numbers[users] = number_of(tuple, columns, "users");
    });
    for_each_row("open_revocations", "open_revocations_provider_idx", provider,
                 [&](HeapTuple tuple, TupleDesc columns) {
                     const TimestampTz time = number_of(tuple, columns, "happened_at");
                     if (time <= since)
                         return;
                     first = std::min(first, time);
                     numbers[open_users] += number_of(tuple, columns, "users_affected");
                     numbers[open_grants] += number_of(tuple, columns, "grants_revoked");
                     numbers[open_deactivated] += number_of(tuple, columns, "users_deactivated");
                 });
    numbers[began_at] = first;
    Datum values[column_count];
    bool nulls[column_count] = {};
    for (int i = 0; i < column_count; ++i)
        values[i] = Int64GetDatum(numbers[i]);
    nulls[began_at] = first == DT_NOEND;
    nulls[grants] = nulls[users] = !is_added_up;
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(result, values, nulls)));
}

}  // extern "C"
