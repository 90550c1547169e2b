#include "projection/full_load.h"

#include "cache/shared.h"
#include "definition/check.h"
#include "definition/compiled.h"
#include "definition/groups.h"
#include "definition/run.h"
#include "pg/security_context.h"
#include "pg/snapshot.h"
#include "pg/testing.h"
#include "projection/load.h"

extern "C" {
#include "executor/execdesc.h"
#include "nodes/plannodes.h"
#include "utils/datum.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
}

namespace rolecall::projection {

namespace {

constexpr int batch_size = 500;
constexpr TimestampTz shortest_step = 2 * USECS_PER_SEC;
constexpr int step_by_start = 10;               // the start of the query takes at most a tenth of the time
constexpr std::uint64_t most_refused = 10'000;  // in a row: the cache is then full

// A row of the view: its key, document and window.
struct Candidate {
    HeapTuple tuple;
    Datum key;
    KeyBuffer buffer;
    core::Key name;
};

struct Batch {
    Candidate rows[batch_size + 1];
    int count;
};

// The state of one step. All members are trivially destructible, because errors jump over them.
struct Run {
    FullLoad& progress;
    const Definition& d;
    core::Snapshot snapshot;
    TimestampTz began;
    Oid column_type;  // of the key
    List* group_plans;
    Batch* batch;
    std::uint64_t ambiguous_calls;  // before the view was run
};

const char* query_of(const Definition& d, const char* columns, bool has_last) {
    const char* key = quote_identifier(NameStr(d.key_column));
    return psprintf("SELECT v.%s%s FROM %s v%s ORDER BY v.%s", key, columns, qualified_name(d.view),
                    has_last ? psprintf(" WHERE v.%s > $1", key) : "", key);
}

const char* document_columns(const Definition& d) {
    return psprintf(
        ", v.%s, %s", quote_identifier(NameStr(d.doc_column)),
        has_window(d.view) ? "v.valid_from, v.valid_until" : "NULL::timestamptz, NULL::timestamptz");
}

// Plans the query for this step only, and for a fast start: with an index of keys, if there is one, rather
// than by sorting documents.
Portal open_view(const Definition& d, const FullLoad& progress, const char* columns) {
    const pg::SecurityContext before = act_as_view_owner(d);
    const Oid type = key_type_of(d.key_kind);
    Plan* plan = make_plan(d.name, d.view, query_of(d, columns, progress.has_last),
                           {&type, progress.has_last ? 1U : 0U}, CURSOR_OPT_FAST_PLAN);
    Portal portal = open_plan(*plan, &progress.last_key);
    pg::restore_security_context(before);
    return portal;
}

// A row's position in the batch and the stamp of a group it belongs to, in one number that sorts by row.
using Membership = std::uint64_t;
constexpr Membership membership(std::uint32_t row, std::uint32_t stamp) {
    return Membership{row} << 32 | stamp;
}

struct Memberships {
    Membership* all;
    std::size_t count;
};

// The positions of keys in the batch: (hash, row), sorted by hash.
using Place = std::pair<std::uint64_t, std::uint32_t>;

std::span<Place> places_of(const Batch& batch, int count) {
    auto* places = static_cast<Place*>(palloc(sizeof(Place) * static_cast<std::size_t>(count)));
    for (int i = 0; i < count; ++i)
        places[i] = {batch.rows[i].name.hash, static_cast<std::uint32_t>(i)};
    std::sort(places, places + count);
    return {places, static_cast<std::size_t>(count)};
}

// Returns the groups of the first `count` rows, sorted by row.
Memberships read_groups(const Run& run, int count) {
    Memberships found{.all = nullptr, .count = 0};
    if (run.group_plans == NIL)
        return found;
    const auto rows = static_cast<std::size_t>(count);
    auto* keys = static_cast<Datum*>(palloc(sizeof(Datum) * rows));
    for (std::size_t i = 0; i < rows; ++i)
        keys[i] = run.batch->rows[i].key;
    const std::span<Place> places = places_of(*run.batch, count);
    std::size_t room = 8 * rows;
    found.all = static_cast<Membership*>(palloc(sizeof(Membership) * room));
    each_group(
        run.group_plans, array_of_keys(run.d.key_kind, keys, count), [&](Datum key, std::uint32_t stamp) {
            // Keys of one hash share a stamp: what belongs to one of them may count for all.
            KeyBuffer buffer;
            const std::uint64_t hash = key_in_cache(run.d, key, buffer).hash;
            for (auto place = std::lower_bound(places.begin(), places.end(), Place{hash, 0});
                 place != places.end() && place->first == hash; ++place) {
                if (found.count == room)
                    found.all =
                        static_cast<Membership*>(repalloc_huge(found.all, sizeof(Membership) * (room *= 2)));
                found.all[found.count++] = membership(place->second, stamp);
            }
        });
    std::sort(found.all, found.all + found.count);
    found.count = static_cast<std::size_t>(std::unique(found.all, found.all + found.count) - found.all);
    return found;
}

Datum copy_of_key(const Definition& d, Datum key, MemoryContext context) {
    int16 length = 0;
    bool by_value = false;
    get_typlenbyval(key_type_of(d.key_kind), &length, &by_value);
    MemoryContext caller = MemoryContextSwitchTo(context);
    key = datumCopy(key, by_value, length);
    MemoryContextSwitchTo(caller);
    return key;
}

void remember(FullLoad& progress, const Definition& d, Datum key) {
    MemoryContextReset(progress.context);
    progress.last_key = copy_of_key(d, key, progress.context);
    progress.has_last = true;
}

void install_row(const Run& run, const Candidate& row, TupleDesc columns,
                 std::span<const std::uint32_t> groups) {
    FullLoad& progress = run.progress;
    const ViewRow content = read_row(row.tuple, columns, 2);
    const Loaded loaded{.document = content.has_document ? DatumGetJsonbP(content.document) : nullptr,
                        .window = content.window,
                        .ambiguous_calls = run.ambiguous_calls};
    const core::Snapshot snapshot = testing::fault(testing::Fault::pass_by_newest_snapshot)
                                        ? pg::xid_snapshot(GetLatestSnapshot())
                                        : run.snapshot;
    const cache::Count result = install(run.d, row.name, loaded, groups, snapshot,
                                        GetCurrentTransactionStartTimestamp(), core::Room::free);
    progress.read += 1;
    progress.loaded += result == cache::Count::installs ? 1 : 0;
    progress.refused_in_a_row = result == cache::Count::skip_room ? progress.refused_in_a_row + 1 : 0;
    cache::counters::add(run.d.counters, result);
}

// Installs the first `count` rows of the batch and saves the last key.
void install_batch(const Run& run, TupleDesc columns, int count) {
    if (count == 0)
        return;
    const Memberships all = read_groups(run, count);
    auto* groups = static_cast<std::uint32_t*>(palloc(sizeof(std::uint32_t) * (all.count + 1)));
    testing::point("pass-before-install");
    std::size_t at = 0;
    for (int i = 0; i < count; ++i) {
        std::size_t belongs_to = 0;
        for (; at < all.count && all.all[at] >> 32 == static_cast<std::uint32_t>(i); ++at)
            groups[belongs_to++] = static_cast<std::uint32_t>(all.all[at]);
        install_row(run, run.batch->rows[i], columns, {groups, belongs_to});
    }

    remember(run.progress, run.d, run.batch->rows[count - 1].key);
}

void refuse_several_rows(const Run& run) {
    for (int i = 1; i < run.batch->count; ++i)
        if (run.batch->rows[i].name.bytes == run.batch->rows[i - 1].name.bytes)
            complain_of_several_rows(run.d);
}

// Adds a row. Returns false for a row without a key: such rows come last, and no reader can ask for them.
bool add(const Run& run, HeapTuple tuple, TupleDesc columns) {
    bool is_null = false;
    const Datum key = SPI_getbinval(tuple, columns, 1, &is_null);
    if (is_null)
        return false;
    Candidate& row = run.batch->rows[run.batch->count++];
    row.tuple = tuple;
    row.key = widened_key(run.column_type, key);
    row.name = key_in_cache(run.d, row.key, row.buffer);
    return true;
}

SPITupleTable* fetch(const Definition& d, Portal portal) {
    const pg::SecurityContext before = act_as_view_owner(d);
    SPI_cursor_fetch(portal, true, batch_size);
    pg::restore_security_context(before);
    return SPI_tuptable;
}

// Returns Step::wait if rows read from now on may not be installed, else Step::go_on.
Step look_at_floor(const Run& run) {
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("the view of projection \"%s\" assigns a transaction id", NameStr(run.d.name))));
    std::uint64_t versions = 0;
    const bool settled = core::settled(*run.d.floor, run.snapshot, versions) &&
                         core::settled(*cache::shared.database_floor, run.snapshot, versions);
    return settled && cache::definitions_are_quiet() ? Step::go_on : Step::wait;
}

// The last row of a batch is kept for the next batch, whose first row may have the same key.
Step read_view(Run& run, Portal portal, bool (*report)(const FullLoad&)) {
    FullLoad& progress = run.progress;
    MemoryContext each =
        AllocSetContextCreate(CurrentMemoryContext, "rolecall batch", ALLOCSET_DEFAULT_SIZES);
    SPITupleTable* before = nullptr;
    HeapTuple left = nullptr;
    TimestampTz until = 0;
    while (true) {
        SPITupleTable* table = fetch(run.d, portal);
        if (run.d.id != progress.id)
            return Step::gone;  // running the view has made this backend read the definition again
        TupleDesc columns = table->tupdesc;
        run.column_type = SPI_gettypeid(columns, 1);
        MemoryContext caller = MemoryContextSwitchTo(each);
        run.batch->count = 0;
        if (left != nullptr)
            add(run, left, columns);
        bool at_end = SPI_processed < batch_size;
        for (std::uint64_t i = 0; i < SPI_processed; ++i)
            at_end |= !add(run, table->vals[i], columns);
        refuse_several_rows(run);
        const int count = run.batch->count;
        install_batch(run, columns, at_end ? count : count - 1);
        MemoryContextSwitchTo(caller);
        left = count > 0 ? run.batch->rows[count - 1].tuple : nullptr;
        MemoryContextReset(each);
        if (before != nullptr)
            SPI_freetuptable(before);
        before = table;

        if (!report(progress))
            return Step::stopped;
        if (at_end)
            return Step::done;
        if (progress.refused_in_a_row >= most_refused)
            return Step::full;
        if (look_at_floor(run) == Step::wait)
            return Step::wait;
        const TimestampTz now = GetCurrentTimestamp();
        if (until == 0)
            until = now + std::max(shortest_step, step_by_start * (now - run.began));
        if (now >= until)
            return Step::go_on;
        CHECK_FOR_INTERRUPTS();
    }
}

}  // namespace

// The checks are in the same order as in load().
Step load_step(FullLoad& progress, bool (*report)(const FullLoad&)) {
    Definition& d = definition_seen(NameStr(progress.projection));
    if (!cache::floor_is_ready() || !pg::is_plain(GetActiveSnapshot()) || !cache::definitions_are_quiet())
        return Step::wait;
    AcceptInvalidationMessages();
    if (!definition_ready(d, true))
        return Step::wait;
    if (d.id != progress.id)
        return Step::gone;
    if (d.problems != NIL && d.ttl == 0)
        return Step::unwatched;
    if (d.runs_text && compiled_before_changes())
        return Step::outdated;
    if (d.runs_text && why_compiled_differs(false) != nullptr)
        return Step::unwatched;
    pg::refresh_xid_reference();
    Run run{.progress = progress,
            .d = d,
            .snapshot = pg::xid_snapshot(GetActiveSnapshot()),
            .began = GetCurrentTimestamp(),
            .column_type = InvalidOid,
            .group_plans = list_copy(d.group_plans),  // running the view may replace the definition
            .batch = nullptr,
            .ambiguous_calls = ambiguous_calls()};
    if (look_at_floor(run) == Step::wait)
        return Step::wait;

    SPI_connect();
    run.batch = static_cast<Batch*>(palloc(sizeof(Batch)));
    Portal portal = open_view(d, progress, document_columns(d));
    progress.expected =
        static_cast<double>(progress.read) + portal->queryDesc->plannedstmt->planTree->plan_rows;
    const Step result = read_view(run, portal, report);
    SPI_cursor_close(portal);
    SPI_finish();
    cache::counters::add(d.counters, cache::Count::load_time,
                         static_cast<std::uint64_t>(GetCurrentTimestamp() - run.began));
    return result;
}

namespace {

bool is_same_key(const Definition& d, Datum a, Datum b) {
    KeyBuffer of_a;
    KeyBuffer of_b;
    return canonical_key(d.key_kind, a, of_a) == canonical_key(d.key_kind, b, of_b);
}

}  // namespace

std::span<const Datum> next_keys(const FullLoad& progress) {
    Definition& d = definition_seen(NameStr(progress.projection));
    definition_ready(d);
    auto* keys = static_cast<Datum*>(palloc(sizeof(Datum) * batch_size));
    MemoryContext caller = CurrentMemoryContext;
    SPI_connect();
    Portal portal = open_view(d, progress, "");
    const SPITupleTable* table = fetch(d, portal);
    const Oid type = SPI_gettypeid(table->tupdesc, 1);
    std::size_t count = 0;
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        const Datum key = SPI_getbinval(table->vals[i], table->tupdesc, 1, &is_null);
        if (is_null)
            break;
        keys[count] = copy_of_key(d, widened_key(type, key), caller);
        if (count == 0 || !is_same_key(d, keys[count - 1], keys[count]))
            ++count;
    }
    SPI_cursor_close(portal);
    SPI_finish();
    return {keys, count};
}

void load_key(FullLoad& progress, Datum key) {
    Definition& d = definition_seen(NameStr(progress.projection));
    remember(progress, d, key);
    progress.read += 1;
    if (load(d, key, true).kept)
        progress.loaded += 1;
}

const char* key_as_text(const FullLoad& progress, Datum key) {
    Oid output = InvalidOid;
    bool is_varlena = false;
    getTypeOutputInfo(key_type_of(definition_seen(NameStr(progress.projection)).key_kind), &output,
                      &is_varlena);
    return OidOutputFunctionCall(output, key);
}

const char* why_unwatched(const FullLoad& progress) {
    const Definition& d = definition_seen(NameStr(progress.projection));
    if (d.problems != NIL)
        return static_cast<const Problem*>(linitial(d.problems))->text;
    const char* why = d.runs_text ? why_compiled_differs(false) : nullptr;
    return why != nullptr ? why : "";
}

}  // namespace rolecall::projection
