#include "provider/statistics.h"

#include <map>

#include "core/breaker.h"
#include "core/hash.h"
#include "core/rate_limit.h"
#include "pg/clock.h"
#include "pg/function.h"
#include "pg/process.h"
#include "pg/shmem.h"
#include "pg/slots.h"

extern "C" {
#include "mb/pg_wchar.h"
#include "storage/ipc.h"
#include "utils/array.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
}

namespace rolecall::provider {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int provider_count = 256;  // in all databases together
constexpr std::size_t error_bytes = 256;
constexpr TimestampTz claim_after_turn = 2 * USECS_PER_SEC;  // a worker keeps half of the rate so long
constexpr TimestampTz longest_claim = 60 * USECS_PER_SEC;    // in case a time was recorded with a wrong clock

// Upper bounds in seconds, the defaults of Prometheus; the last bucket has no bound.
constexpr double bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
constexpr int bucket_count = std::size(bounds) + 1;

struct ProviderStatus {
    Oid database;  // InvalidOid: free
    Oid server;
    std::int64_t counts[static_cast<int>(SyncCount::counts)];
    std::int64_t buckets[bucket_count];
    double seconds;
    std::int64_t in_flight;
    TimestampTz last_success_at;
    TimestampTz last_error_at;
    char last_error[error_bytes];
    core::Breaker breaker;
    core::RateLimit rate;
    core::RateLimit sessions;       // the line of sessions, which comes before `rate`
    TimestampTz worker_asks_until;  // until then a worker has users to ask for
    TimestampTz used_at;            // by steady_now()
};

struct ProviderTable {
    LWLock* lock;
    pg::SlotCounts slots;
    ProviderStatus providers[provider_count];
};

ProviderTable* shared = nullptr;
std::map<Oid, std::int64_t> under_way;        // this process's share of in_flight
std::map<Oid, ProviderStatus> without_place;  // of this process only; of all if there is no shared memory

std::span<ProviderStatus> places() {
    return {shared->providers, static_cast<std::size_t>(testing::slots(provider_count))};
}

bool is_idle(ProviderStatus& p, TimestampTz time) {
    return p.in_flight <= 0 && p.breaker.is_idle(time) && p.rate.is_idle(time) && p.sessions.is_idle(time);
}

void attach(void* memory, bool is_new, LWLockPadded* locks) {
    auto* area = static_cast<ProviderTable*>(memory);
    if (is_new)
        for (ProviderStatus& provider : area->providers)
            provider.breaker = {};
    area->lock = &locks->lock;
    shared = area;
    pg::add_slots({.name = "providers", .count = [] {
                       const Oid free = InvalidOid;
                       pg::SlotCounts counts = shared->slots;
                       counts.slots = testing::slots(provider_count);
                       const pg::HeldLock held(shared->lock, LW_SHARED);
                       counts.used = std::ranges::count_if(
                           places(), [=](const ProviderStatus& p) { return p.database != free; });
                       return counts;
                   }});
}

// Called under the lock. Returns nullptr if there is no free place and no provider may be forgotten.
ProviderStatus* find_or_make(Oid server, TimestampTz time) {
    ProviderStatus* room = nullptr;  // a free place, or the one unused for longest
    for (ProviderStatus& provider : places()) {
        if (provider.database == MyDatabaseId && provider.server == server)
            return &provider;
        const bool is_free = !OidIsValid(provider.database);
        if ((is_free || is_idle(provider, time)) && (room == nullptr || provider.used_at < room->used_at))
            room = &provider;
    }
    if (room != nullptr) {
        if (OidIsValid(room->database))
            ++shared->slots.evicted;
        *room = {};
        room->database = MyDatabaseId;
        room->server = server;
    }
    return room;
}

// Runs `f` on a provider's status, under the lock if it is shared.
template <typename F>
auto with_status(Oid server, F&& f) {
    if (shared == nullptr)
        return f(without_place[server]);
    const TimestampTz time = pg::now();
    bool is_first = false;
    {
        const pg::HeldLock held(shared->lock);
        if (ProviderStatus* provider = find_or_make(server, time)) {
            provider->used_at = pg::steady_now();
            return f(*provider);
        }
        is_first = shared->slots.refused++ == 0;
    }
    if (is_first)
        pg::call([] {
            pg::log_full("providers", testing::slots(provider_count),
                         "Until one is free, each process has a breaker and a rate limit of its own for it.");
        });
    return f(without_place[server]);
}

template <typename F>
void update_status(Oid server, F&& f) {
    (void)with_status(server, [&](ProviderStatus& provider) {
        f(provider);
        return true;
    });
}

core::Breaker::Asker asker() {
    return pg::is_background() ? core::Breaker::Asker::worker : core::Breaker::Asker::session;
}

Datum float_array(const double* values, int count) {
    auto* elements = static_cast<Datum*>(palloc(sizeof(Datum) * count));
    for (int i = 0; i < count; ++i)
        elements[i] = Float8GetDatum(values[i]);
    return PointerGetDatum(
        construct_array(elements, count, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum bigint_array(const std::int64_t* values, int count) {
    auto* elements = static_cast<Datum*>(palloc(sizeof(Datum) * count));
    for (int i = 0; i < count; ++i)
        elements[i] = Int64GetDatum(values[i]);
    return PointerGetDatum(
        construct_array(elements, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

const char* to_string(core::BreakerState state) {
    switch (state) {
        case core::BreakerState::closed:
            return "closed";
        case core::BreakerState::open:
            return "open";
        case core::BreakerState::half_open:
            break;
    }
    return "half-open";
}

}  // namespace

void statistics_init() {
    pg::add_shared_area({.name = "rolecall_providers",
                         .bytes = [] { return sizeof(ProviderTable); },
                         .locks = [] { return 1; },
                         .attach = attach});
}

void count_sync(Oid server, SyncCount what) {
    update_status(server, [&](ProviderStatus& p) { ++p.counts[static_cast<int>(what)]; });
}

void count_sync(Oid server, bool changed, Clock::duration took) {
    const double seconds = std::chrono::duration<double>(took).count();
    const auto bucket = std::lower_bound(std::begin(bounds), std::end(bounds), seconds) - std::begin(bounds);
    update_status(server, [&](ProviderStatus& p) {
        ++p.counts[static_cast<int>(changed ? SyncCount::changed : SyncCount::unchanged)];
        ++p.buckets[bucket];
        p.seconds += seconds;
        p.last_success_at = pg::now();
    });
}

void count_failure(Oid server, const std::string& error) {
    update_status(server, [&](ProviderStatus& p) {
        ++p.counts[static_cast<int>(SyncCount::failed)];
        p.last_error_at = pg::now();
        const int length = pg_mbcliplen(error.data(), static_cast<int>(error.size()), error_bytes - 1);
        memcpy(p.last_error, error.data(), static_cast<std::size_t>(length));
        p.last_error[length] = '\0';
    });
}

void count_in_flight(Oid server, int change) {
    static const bool registered = [] {
        before_shmem_exit(
            [](int, Datum) {
                for (const auto& entry : under_way)
                    update_status(entry.first, [&](ProviderStatus& p) { p.in_flight -= entry.second; });
            },
            0);
        return true;
    }();
    (void)registered;
    under_way[server] += change;
    update_status(server, [&](ProviderStatus& p) { p.in_flight += change; });
}

void keep_statistics_of(const Oid* databases, int count) {
    const pg::HeldLock held(shared->lock);
    for (ProviderStatus& provider : shared->providers)
        if (std::find(databases, databases + count, provider.database) == databases + count)
            provider = {};
}

void forget_dropped_providers() {
    if (shared == nullptr)
        return;
    Oid servers[provider_count];
    int count = 0;
    {
        const pg::HeldLock held(shared->lock, LW_SHARED);
        for (const ProviderStatus& provider : places())
            if (provider.database == MyDatabaseId)
                servers[count++] = provider.server;
    }
    // Catalogs must not be read under the lock.
    Oid* const end = pg::call([&] {
        return std::remove_if(servers, servers + count, [](Oid server) {
            return SearchSysCacheExists1(FOREIGNSERVEROID, ObjectIdGetDatum(server));
        });
    });
    const pg::HeldLock held(shared->lock);
    for (ProviderStatus& provider : places())
        if (provider.database == MyDatabaseId && std::find(servers, end, provider.server) != end)
            provider = {};
}

Stopwatch::Stopwatch(Oid server) : server_(server), started_(Clock::now()) { count_in_flight(server, 1); }

// It does not throw, but the analysis cannot see that for functions of the server.
// NOLINTNEXTLINE(bugprone-exception-escape)
Stopwatch::~Stopwatch() {
    count_in_flight(server_, -1);
    if (!done_)
        count_sync(server_, SyncCount::failed);
}

void Stopwatch::done(bool changed) {
    done_ = true;
    count_sync(server_, changed, Clock::now() - started_);
}

Permission line_up(const Asking& asking, TimestampTz time, TimestampTz most_wait, Place& place) {
    return with_status(asking.server, [&](ProviderStatus& p) {
        place.when = p.breaker.next(time, asker());
        if (place.when > time)
            return Permission::no;
        const TimestampTz busy = p.worker_asks_until - time;
        const bool shares = busy > 0 && busy <= longest_claim;
        place.per_second = shares ? asking.per_second / 2 : asking.per_second;
        place.when = p.sessions.next(time, place.per_second);
        if (place.when > time + most_wait)
            return Permission::later;
        p.sessions.take(time, place.per_second, asking.requests);
        return Permission::yes;
    });
}

void leave_line(const Asking& asking, const Place& place) {
    update_status(asking.server,
                  [&](ProviderStatus& p) { p.sessions.give_back(place.per_second, asking.requests); });
}

Permission ask_in_turn(const Asking& asking, TimestampTz time, TimestampTz most_wait, TimestampTz& when) {
    when = time;
    return with_status(asking.server, [&](ProviderStatus& p) {
        if (asker() == core::Breaker::Asker::worker)
            p.worker_asks_until = std::max(time, p.rate.next(time, asking.per_second)) + claim_after_turn;
        when = p.breaker.next(time, asker());
        if (when > time)
            return Permission::no;
        when = p.rate.next(time, asking.per_second);
        if (when > time + most_wait)
            return Permission::later;
        if (!p.breaker.allow(time, asker()))
            return Permission::no;
        p.rate.take(time, asking.per_second, asking.requests);
        return Permission::yes;
    });
}

Permission may_ask(const Asking& asking, TimestampTz time, TimestampTz& when) {
    return ask_in_turn(asking, time, 0, when);
}

void report_requests(const Asking& more, TimestampTz time) {
    update_status(more.server, [&](ProviderStatus& p) {
        p.rate.take(time, more.per_second, more.requests);
        if (asker() == core::Breaker::Asker::session)
            p.sessions.take(time, more.per_second, more.requests);
    });
}

void give_turn_back(const Asking& asking) {
    update_status(asking.server,
                  [&](ProviderStatus& p) { p.rate.give_back(asking.per_second, asking.requests); });
}

bool is_to_be_probed(Oid server) {
    return with_status(server,
                       [](ProviderStatus& p) { return p.breaker.state() != core::BreakerState::closed; });
}

TimestampTz may_ask_next(Oid server, TimestampTz time) {
    return with_status(server, [&](ProviderStatus& p) -> TimestampTz { return p.breaker.next(time); });
}

void report_answer(Oid server) {
    update_status(server, [](ProviderStatus& p) { p.breaker.succeeded(); });
}

void report_trouble(Oid server, std::string_view subject, TimestampTz time) {
    const std::uint64_t hash = subject.empty() ? 0 : core::hash(1, 0, 0, subject) | 1;
    update_status(server, [&](ProviderStatus& p) { p.breaker.failed(time, pg::chance(), hash); });
}

void report_abandoned(Oid server, TimestampTz time) {
    update_status(server, [&](ProviderStatus& p) { p.breaker.abandoned(time); });
}

void report_wait(Oid server, TimestampTz until) {
    update_status(server, [&](ProviderStatus& p) { p.breaker.wait_until(until); });
}

}  // namespace rolecall::provider

using namespace rolecall::provider;
namespace pg = rolecall::pg;

extern "C" {

// Returns a row for each provider of this database for which something was counted; columns as in
// statistics.sql.
ROLECALL_FUNCTION(rolecall_provider_statistics, rolecall::pg::gives_rows()) {
    const ReturnSetInfo& result = rolecall::pg::result_set(
        fcinfo, OIDOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID,
        TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, FLOAT8OID, FLOAT8ARRAYOID, INT8ARRAYOID);
    if (shared == nullptr)
        PG_RETURN_NULL();
    // Copy first, because nothing that may raise an error may run under the lock.
    auto* copies = static_cast<ProviderStatus*>(palloc(sizeof(ProviderStatus) * provider_count));
    int count = 0;
    {
        const pg::HeldLock held(shared->lock, LW_SHARED);
        for (const ProviderStatus& provider : places())
            if (provider.database == MyDatabaseId)
                copies[count++] = provider;
    }

    const auto time = pg::now();
    for (int i = 0; i < count; ++i) {
        ProviderStatus& p = copies[i];
        const TimestampTz next = p.breaker.next(time);
        Datum values[] = {
            ObjectIdGetDatum(p.server),
            Int64GetDatum(p.counts[static_cast<int>(SyncCount::changed)]),
            Int64GetDatum(p.counts[static_cast<int>(SyncCount::unchanged)]),
            Int64GetDatum(p.counts[static_cast<int>(SyncCount::skipped)]),
            Int64GetDatum(p.counts[static_cast<int>(SyncCount::failed)]),
            Int64GetDatum(p.in_flight),
            CStringGetTextDatum(to_string(p.breaker.state())),
            Int32GetDatum(p.breaker.failures()),
            TimestampTzGetDatum(next),
            TimestampTzGetDatum(p.last_success_at),
            TimestampTzGetDatum(p.last_error_at),
            CStringGetTextDatum(p.last_error),
            Float8GetDatum(p.seconds),
            float_array(bounds, std::size(bounds)),
            bigint_array(p.buckets, bucket_count),
        };
        bool nulls[std::size(values)] = {};
        nulls[8] = next <= time;
        nulls[9] = p.last_success_at == 0;
        nulls[10] = nulls[11] = p.last_error_at == 0;
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    PG_RETURN_NULL();
}

}  // extern "C"
