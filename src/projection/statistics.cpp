// What administrators see of the cache.
#include "pg/pg.h"

#include "pg/settings.h"
#include "projection/shared.h"

using namespace rolecall;
using namespace rolecall::projection;

extern "C" {

PG_FUNCTION_INFO_V1(rolecall_cache_statistics);

// One row: the columns of the view stat_cache, in its order.
Datum rolecall_cache_statistics(PG_FUNCTION_ARGS) {
    require_preloaded();
    TupleDesc columns = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &columns) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "return type must be a row type");

    core::CacheCounts sum;
    for (std::uint32_t p = 0; p < shared.cache.partitions(); ++p) {
        lock_partition(p);
        const core::CacheCounts counts = shared.cache.counts(p);
        unlock_partition(p);
        sum.entries += counts.entries;
        sum.live_bytes += counts.live_bytes;
        sum.dead_bytes += counts.dead_bytes;
        sum.ring_bytes += counts.ring_bytes;
        sum.evictions += counts.evictions;
    }
    const std::uint64_t numbers[] = {
        sum.ring_bytes,
        sum.entries,
        sum.live_bytes,
        sum.dead_bytes,
        sum.evictions,
        total(Count::hits),
        total(Count::misses),
        total(Count::installs),
        total(Count::bypass_off),
        total(Count::bypass_recovery),
        total(Count::bypass_snapshot),
        total(Count::bypass_serializable),
        total(Count::bypass_own_writes),
        total(Count::skip_own_id),
        total(Count::skip_ddl),
        total(Count::skip_unwatched),
        total(Count::skip_writers),
        total(Count::skip_size),
    };
    constexpr int count = std::size(numbers);
    if (columns->natts != count)
        elog(ERROR, "stat_cache has %d columns, not %d", columns->natts, count);
    Datum values[count];
    bool nulls[count] = {};
    for (int i = 0; i < count; ++i)
        values[i] = Int64GetDatum(static_cast<int64>(numbers[i]));
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls)));
}

}  // extern "C"
