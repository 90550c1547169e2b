// The extension's background workers.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
}

namespace rolecall::pg {

/// Returns a worker that may connect to a database, starts when recovery has ended, and is not restarted.
/// `type` is what pg_stat_activity shows.
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

/// Runs a function of the library in a background worker with a copy of `message` (at most BGW_EXTRALEN
/// bytes) and waits until the worker ends. Returns false if no worker could be started.
inline bool run_in_background(const char* function, const char* type, const void* message, std::size_t size) {
    BackgroundWorker worker = background_worker(function, type);
    worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
    worker.bgw_notify_pid = MyProcPid;
    memcpy(worker.bgw_extra, message, size);
    BackgroundWorkerHandle* handle = nullptr;
    if (!RegisterDynamicBackgroundWorker(&worker, &handle))
        return false;
    (void)WaitForBackgroundWorkerShutdown(handle);
    return true;
}

/// Returns whether this process is a background worker that runs a function of the library. It is false in
/// sessions and their parallel workers. It may be called from the start of the process.
inline bool is_background_worker_of_ours() {
    return MyBgworkerEntry != nullptr && strcmp(MyBgworkerEntry->bgw_library_name, "rolecall") == 0;
}

/// Gives settings fixed values, so that a background process of the extension does not depend on values set
/// for its database, for the role it connects as, or for the server. It must be called after connecting.
void pin_settings();

/// Limits lock waits until the end of the transaction. An ordinary SET lock_timeout could not override what
/// pin_settings() sets, so this function must be used after it.
void set_lock_timeout(int milliseconds);

/// Must be called first in a worker that run_in_background() starts. Connects to the caller's database and
/// returns the message.
template <typename Message>
Message enter_background(Oid database) {
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
    pin_settings();
    Message message;
    memcpy(&message, MyBgworkerEntry->bgw_extra, sizeof message);
    return message;
}

}  // namespace rolecall::pg
