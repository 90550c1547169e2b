// Functions that show administrators the state of the cache.
#include "pg/pg.h"

#include "cache/shared.h"
#include "pg/function.h"
#include "pg/settings.h"

extern "C" {
#include "utils/array.h"
#include "utils/tuplestore.h"
}

using namespace rolecall;

namespace {

// Changes of the extension's own tables have no command tag.
const char* name_of(CommandTag tag) {
    return tag == CMDTAG_UNKNOWN ? "a projection or watch" : GetCommandTagName(tag);
}

}  // namespace

extern "C" {

// Returns one row with the columns of the view stat_cache, in its order.
ROLECALL_FUNCTION(rolecall_cache_statistics, pg::takes(RECORDOID)) {
    cache::require_preloaded();
    core::CacheCounts sum;
    for (std::uint32_t p = 0; p < cache::shared.cache.partitions(); ++p) {
        cache::lock_partition(p);
        const core::CacheCounts counts = cache::shared.cache.counts(p);
        cache::unlock_partition(p);
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
        cache::counters::total(cache::Count::hits),
        cache::counters::total(cache::Count::misses),
        cache::counters::total(cache::Count::installs),
        cache::counters::total(cache::Count::bypass_off),
        cache::counters::total(cache::Count::bypass_recovery),
        cache::counters::total(cache::Count::bypass_snapshot),
        cache::counters::total(cache::Count::bypass_serializable),
        cache::counters::total(cache::Count::bypass_own_writes),
        cache::counters::total(cache::Count::skip_own_id),
        cache::counters::total(cache::Count::skip_ddl),
        cache::counters::total(cache::Count::skip_unwatched),
        cache::counters::total(cache::Count::skip_writers),
        cache::counters::total(cache::Count::skip_size),
    };
    constexpr int count = std::size(numbers);
    Oid types[count];
    std::fill(types, types + count, Oid{INT8OID});
    TupleDesc columns = pg::result_row(fcinfo, std::span<const Oid>(types));
    Datum values[count];
    bool nulls[count] = {};
    for (int i = 0; i < count; ++i)
        values[i] = Int64GetDatum(static_cast<int64>(numbers[i]));
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(columns, values, nulls)));
}

// projection_statistics(ids bigint[]): returns a row for each id, in the order of the view stat_projection.
ROLECALL_FUNCTION(rolecall_projection_statistics, pg::gives_rows(INT8ARRAYOID)) {
    cache::require_preloaded();
    Datum* elements = nullptr;
    int count = 0;
    deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
                      &elements, nullptr, &count);
    auto* ids = static_cast<std::uint64_t*>(palloc(sizeof(std::uint64_t) * (count + 1)));
    auto* holdings = static_cast<cache::Holding*>(palloc0(sizeof(cache::Holding) * (count + 1)));
    for (int i = 0; i < count; ++i)
        ids[i] = static_cast<std::uint64_t>(DatumGetInt64(elements[i]));
    cache::count_holdings({ids, static_cast<std::size_t>(count)}, holdings);

    constexpr cache::Count columns[] = {cache::Count::hits,
                                        cache::Count::misses,
                                        cache::Count::bypass_off,
                                        cache::Count::bypass_recovery,
                                        cache::Count::bypass_snapshot,
                                        cache::Count::bypass_serializable,
                                        cache::Count::bypass_own_writes,
                                        cache::Count::skip_own_id,
                                        cache::Count::skip_ddl,
                                        cache::Count::skip_unwatched,
                                        cache::Count::skip_writers,
                                        cache::Count::skip_size,
                                        cache::Count::loads,
                                        cache::Count::evictions};
    constexpr int fixed = 3;
    constexpr int after_counts = fixed + static_cast<int>(std::size(columns));
    constexpr int all = after_counts + 3;
    Oid types[all];
    std::fill(types, types + after_counts, Oid{INT8OID});
    types[after_counts] = FLOAT8OID;
    types[after_counts + 1] = INT8OID;
    types[after_counts + 2] = TEXTOID;
    const ReturnSetInfo& result = pg::result_set(fcinfo, std::span<const Oid>(types));
    for (int i = 0; i < count; ++i) {
        const cache::CounterPlace place = cache::counters::existing_place_of(cache::projection_hash(ids[i]));
        Datum values[all];
        bool nulls[all] = {};
        values[0] = elements[i];
        values[1] = Int64GetDatum(static_cast<int64>(holdings[i].entries));
        values[2] = Int64GetDatum(static_cast<int64>(holdings[i].bytes));
        const bool is_unknown = place < 0 && cache::counters::is_full();  // counted together with others
        const auto number = [place](cache::Count what) {
            return place < 0 ? 0 : static_cast<int64>(cache::counters::total(place, what));
        };
        for (std::size_t c = 0; c < std::size(columns); ++c)
            values[fixed + c] = Int64GetDatum(number(columns[c]));
        std::fill(nulls + fixed, nulls + after_counts + 1, is_unknown);
        values[after_counts] = Float8GetDatum(static_cast<double>(number(cache::Count::load_time)) / 1000.0);
        const cache::Invalidations invalidations = cache::invalidations_of(ids[i]);
        values[after_counts + 1] = Int64GetDatum(static_cast<int64>(invalidations.count));
        nulls[after_counts + 2] = invalidations.count == 0;
        if (invalidations.count > 0)
            values[after_counts + 2] = CStringGetTextDatum(name_of(invalidations.last));
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    return Datum{0};
}

}  // extern "C"
