#include "workers/launcher.h"

#include "cache/counters.h"
#include "cache/shared.h"
#include "pg/background.h"
#include "pg/process.h"
#include "pg/settings.h"
#include "projection/load_requests.h"
#include "provider/statistics.h"
#include "workers/registry.h"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

namespace rolecall::workers {

namespace {

constexpr int restart_seconds = 5;

pg::WaitEvent wait_for_work{"RolecallLauncherMain"};

// Returns the databases that allow connections and are not templates, in the current memory context.
List* list_databases() {
    List* databases = NIL;
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    MemoryContext caller = CurrentMemoryContext;
    Relation relation = table_open(DatabaseRelationId, AccessShareLock);
    TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
    while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
        const auto* database = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
        if (!database->datallowconn || database->datistemplate)
            continue;
        MemoryContextSwitchTo(TopMemoryContext);
        databases = lappend_oid(databases, database->oid);
        MemoryContextSwitchTo(caller);
    }
    table_endscan(scan);
    table_close(relation, AccessShareLock);
    PopActiveSnapshot();
    CommitTransactionCommand();
    return databases;
}

void update_registry() {
    List* databases = list_databases();
    const int count = list_length(databases);
    auto* oids = static_cast<Oid*>(palloc(sizeof(Oid) * std::max(count, 1)));
    for (int i = 0; i < count; ++i)
        oids[i] = list_nth_oid(databases, i);
    set_databases(oids, count, settings::worker ? settings::sync_workers : 0);
    provider::keep_statistics_of(oids, count);
    projection::keep_loads_of({oids, static_cast<std::size_t>(count)});
    cache::counters::keep_of({oids, static_cast<std::size_t>(count)});
    list_free(databases);
    pfree(oids);
}

void narrow_floor() {
    StartTransactionCommand();
    cache::narrow_floor();
    CommitTransactionCommand();
}

void launch_workers() {
    for (int slot = next_to_launch(); slot >= 0; slot = next_to_launch()) {
        const bool loads = is_for_loader(slot);
        const char* type = loads ? "rolecall loader" : "rolecall sync worker";
        BackgroundWorker worker =
            pg::background_worker(loads ? "rolecall_loader_main" : "rolecall_worker_main", type);
        worker.bgw_main_arg = Int32GetDatum(slot);
        static bool is_told = false;
        if (!RegisterDynamicBackgroundWorker(&worker, nullptr)) {
            if (!is_told)
                ereport(LOG, (errmsg("could not start a %s", type), errhint("Raise max_worker_processes.")));
            is_told = true;
            take_back_launch(slot);
            return;
        }
        is_told = false;
    }
}

}  // namespace

void launcher_init() {
    if (IsBinaryUpgrade)
        return;  // only pg_upgrade writes
    BackgroundWorker launcher = pg::background_worker("rolecall_launcher_main", "rolecall launcher");
    launcher.bgw_restart_time = restart_seconds;
    RegisterBackgroundWorker(&launcher);
}

}  // namespace rolecall::workers

using namespace rolecall;
using namespace rolecall::workers;

void rolecall_launcher_main(Datum) {
    pg::process_init();
    (void)pqsignal(SIGINT, SIG_IGN);  // there is nothing to cancel
    BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
    pg::pin_settings();
    enter_launcher();
    narrow_floor();
    while (!pg::told_to_leave()) {
        if (pg::reload_if_asked())
            reconsider();
        long wait = until_next_launch();
        if (wait == 0) {
            pgstat_report_activity(STATE_RUNNING, "looking for databases with rolecall");
            update_registry();
            launch_workers();
            pgstat_report_activity(STATE_IDLE, nullptr);
            wait = until_next_launch();
        }
        pg::wait_for_latch(wait, -1, wait_for_work);
    }
    proc_exit(1);  // the postmaster restarts it, unless the server shuts down
}
