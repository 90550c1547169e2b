#include "workers/loader.h"

#include "definition/compiled.h"
#include "pg/process.h"
#include "pg/security_context.h"
#include "pg/settings.h"
#include "pg/spi.h"
#include "pg/version.h"
#include "projection/load_requests.h"
#include "workers/registry.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
}

namespace rolecall::workers {

namespace {

using projection::LoadPhase;
using projection::Step;

constexpr long pause = 200;                  // milliseconds: while definitions change
constexpr std::uint64_t most_failed = 1000;  // documents of one load that raise errors
constexpr std::uint64_t most_told = 10;      // number of them that are logged

pg::WaitEvent wait_for_definitions{"RolecallLoaderDefinitions"};
WorkerSlot place;

bool is_outdated = false;  // the next loader begins with what this one leaves

bool must_leave() { return is_outdated || !may_stay(place); }

bool is_usable() { return OidIsValid(get_extension_oid("rolecall", true)) && pg::sql_is_current(); }

// Implements rolecall.warm_on_start.
void request_everything() {
    if (!settings::warm_on_start || !is_usable())
        return;
    const pg::SecurityContext before = pg::act_as_owner();
    SPI_connect();
    if (SPI_execute("SELECT DISTINCT ON (name) id FROM rolecall.projections ORDER BY name, builtin", true,
                    0) != SPI_OK_SELECT)
        elog(ERROR, "could not read the projections");
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        projection::request_load(static_cast<std::uint64_t>(
            DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null))));
    }
    SPI_finish();
    pg::restore_security_context(before);
}

// Finds the name of a projection. Returns false if no projection has this id.
bool find_name(std::uint64_t id, NameData& name) {
    if (!is_usable())
        return false;
    // The owner of the database can set the search_path of its sessions, so run as the extension's owner with
    // a fixed one.
    const pg::SecurityContext before = pg::act_as_owner();
    SPI_connect();
    Oid type = INT8OID;
    Datum value = Int64GetDatum(static_cast<int64>(id));
    if (SPI_execute_with_args("SELECT name FROM rolecall.projections WHERE id = $1", 1, &type, &value,
                              nullptr, true, 1) != SPI_OK_SELECT)
        elog(ERROR, "could not read the projections");
    const bool found = SPI_processed > 0;
    bool is_null = false;
    if (found)
        name = *DatumGetName(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
    SPI_finish();
    pg::restore_security_context(before);
    return found;
}

bool report(const projection::FullLoad& progress) {
    return projection::report_load(LoadPhase::loading, progress) && may_stay(place);
}

void wait_for_definitions_of(const projection::FullLoad& progress) {
    (void)projection::report_load(LoadPhase::waiting, progress);
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause,
                    wait_for_definitions.id());
    ResetLatch(MyLatch);
}

void end(const projection::FullLoad& progress, LoadPhase phase, const std::string& message) {
    projection::end_load(phase, message.c_str());
    pg::call([&] {
        const char* name = NameStr(progress.projection);
        switch (phase) {
            case LoadPhase::done:
                ereport(LOG, (errmsg("loaded " UINT64_FORMAT " of " UINT64_FORMAT
                                     " documents of projection \"%s\"",
                                     progress.loaded, progress.read, name)));
                break;
            case LoadPhase::full:
                ereport(LOG, (errmsg("the cache is full after " UINT64_FORMAT
                                     " documents of projection \"%s\" were loaded",
                                     progress.loaded, name),
                              errhint("Raise rolecall.cache_size.")));
                break;
            case LoadPhase::cancelled:
                ereport(LOG, (errmsg("the load of projection \"%s\" was cancelled", name)));
                break;
            default:
                ereport(LOG, (errmsg("could not load projection \"%s\": %s", name, message.c_str())));
                break;
        }
    });
}

Step load_some(projection::FullLoad& progress) {
    return pg::call([&] {
        if (!find_name(progress.id, progress.projection))
            return Step::gone;
        pgstat_report_activity(STATE_RUNNING,
                               psprintf("loading projection %s", NameStr(progress.projection)));
        return projection::load_step(progress, report);
    });
}

// ---- Documents that cannot be loaded

void note_failed(projection::FullLoad& progress, Datum key, const std::string& error) {
    progress.failed += 1;
    if (progress.failed <= most_told)
        pg::call([&] {
            ereport(LOG, (errmsg("could not load a document of projection \"%s\": %s",
                                 NameStr(progress.projection), error.c_str()),
                          errdetail("The key is %s.", projection::key_as_text(progress, key))));
        });
}

// Loads one document and logs an error of the view. Returns true if the load was cancelled.
bool load_alone(projection::FullLoad& progress, Datum key) {
    bool cancelled = false;
    std::string error;
    const bool done = pg::run_in_subtransaction(
        [&] {
            try {
                pg::call([&] { projection::load_key(progress, key); });
            } catch (const pg::PgError& raised) {
                cancelled = raised.report()->sqlerrcode == ERRCODE_QUERY_CANCELED;
                throw;
            }
        },
        error);
    if (!done && !cancelled)
        note_failed(progress, key, error);
    return cancelled || !report(progress);
}

// Loads the next documents one by one after the view has raised an error for one of them, and skips those
// that raise an error again. Returns why the load cannot go on: an error of the transaction, or `failure` if
// no keys are left or too many documents failed.
std::optional<pg::Failure> load_singly(projection::FullLoad& progress, const pg::Failure& failure) {
    bool any = false;
    bool stopped = false;
    const std::optional<pg::Failure> lasting = pg::transact([&] {
        for (const Datum key : pg::call([&] { return projection::next_keys(progress); })) {
            any = true;
            stopped = load_alone(progress, key);
            if (stopped)
                break;
        }
    });
    if (stopped)
        return pg::Failure{.cancelled = true, .message = {}};
    return lasting || (any && progress.failed < most_failed) ? lasting : failure;
}

// Runs one load. If this process must exit before the load ends, the request is put back on exit.
void load(std::uint64_t id) {
    projection::FullLoad progress{};
    progress.id = id;
    progress.context = pg::call(
        [] { return AllocSetContextCreate(TopMemoryContext, "rolecall load", ALLOCSET_SMALL_SIZES); });
    while (!must_leave()) {
        auto result = Step::gone;
        std::optional<pg::Failure> failure = pg::transact([&] { result = load_some(progress); });
        if (failure && !failure->cancelled) {
            failure = load_singly(progress, *failure);
            result = Step::go_on;
        }
        if (failure)
            return end(progress, failure->cancelled ? LoadPhase::cancelled : LoadPhase::failed,
                       failure->message);
        switch (result) {
            case Step::go_on:
                break;
            case Step::wait:
                wait_for_definitions_of(progress);
                break;
            case Step::done:
                return end(progress, LoadPhase::done, {});
            case Step::full:
                return end(progress, LoadPhase::full, "the cache is full");
            case Step::unwatched:
                return end(progress, LoadPhase::unwatched,
                           pg::call([&] { return projection::why_unwatched(progress); }));
            case Step::gone:
                return end(progress, LoadPhase::failed, "the projection was dropped");
            case Step::outdated:
                is_outdated = true;
                break;
            case Step::stopped:
                if (!must_leave())
                    return end(progress, LoadPhase::cancelled, {});
                break;
        }
    }
}

void run() {
    (void)pg::transact([] { pg::call([] { projection::compiled_nothing_yet(); }); });
    if (place.first_visit) {
        if (const std::optional<pg::Failure> failure =
                pg::transact([] { pg::call([] { request_everything(); }); }))
            pg::call([&] {
                ereport(LOG,
                        (errmsg("could not look for projections to load: %s", failure->message.c_str())));
            });
        note_visited(place);
    }
    while (!must_leave()) {
        const std::uint64_t id = projection::take_load(must_leave);
        if (id == 0)
            break;
        load(id);
    }
    note_exit_reason(ExitReason::asked);
}

}  // namespace

}  // namespace rolecall::workers

using namespace rolecall;
using namespace rolecall::workers;

void rolecall_loader_main(Datum argument) {
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    if (!enter(DatumGetInt32(argument), place))
        proc_exit(0);
    BackgroundWorkerInitializeConnectionByOid(place.database, InvalidOid, 0);
    pg::pin_settings();
    SetConfigOption("default_transaction_read_only", "on", PGC_SUSET, PGC_S_OVERRIDE);
    pg::guarded(run);
    proc_exit(0);
}
