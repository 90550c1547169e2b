// Background workers of ours.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "postmaster/bgworker.h"
}

namespace rolecall::pg {

/// A worker that may connect to a database, starts when recovery has ended, and is not started again. `type`
/// is what pg_stat_activity shows.
inline BackgroundWorker background_worker(const char* function, const char* type) {
    BackgroundWorker worker;
    memset(&worker, 0, sizeof worker);
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    strlcpy(worker.bgw_library_name, "rolecall", BGW_MAXLEN);
    strlcpy(worker.bgw_function_name, function, BGW_MAXLEN);
    strlcpy(worker.bgw_type, type, BGW_MAXLEN);
    strlcpy(worker.bgw_name, type, BGW_MAXLEN);
    return worker;
}

}  // namespace rolecall::pg
