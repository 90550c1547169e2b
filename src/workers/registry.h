// The registry, in shared memory: which sync workers and loaders should run, and their state. The launcher
// fills it. Workers and loaders enter and leave it. Sessions wake them, and send them out of databases that
// are about to be dropped, renamed, moved or copied.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::workers {

/// Requests the shared memory; called once, from _PG_init, while preloading. `is_loader_wanted` returns
/// whether a loader has work in a database.
void registry_init(bool (*is_loader_wanted)(Oid database));

// ---- For sessions

/// When this transaction commits, wakes those workers of this database that would sleep beyond `due`, so that
/// they check their queue. If none runs, the launcher checks whether one should. Does nothing if the library
/// is not preloaded.
void wake_workers_at_commit(TimestampTz due = DT_NOBEGIN);

/// When this transaction commits, restarts the workers of a database. InvalidOid cancels an earlier call.
void restart_workers_at_commit(Oid database);

/// Keeps workers out of a database until this transaction ends and tells those inside to leave. Returns how
/// many are still inside.
int keep_out_until_end(Oid database);

/// Ends the effect of keep_out_until_end() early.
void let_workers_in();

/// Requests a loader in a database, to be launched at once.
void launch_loader(Oid database);

// ---- For workers

/// The index of a database's loader (workers/loader.h). The loader has a slot while there is work for it.
constexpr int loader_index = -1;

/// A worker's or loader's own copy of its registration.
struct WorkerSlot {
    int slot;
    Oid database;
    int index;            ///< among the database's workers, from 0; or loader_index
    bool first_visit;     ///< for a loader: it was launched because the server started
    TimestampTz started;  ///< by the clock of syncs: earlier leases of this index are void
};

/// Registers this process as the worker that was launched for slot `number`, and unregisters it when the
/// process exits. Includes begin_look(). Returns false if the worker should not run (any more).
bool enter(int number, WorkerSlot& place);

/// Returns whether the worker may continue to run.
bool may_stay(const WorkerSlot& place);

/// Called before the worker checks its queue. Every wake after this call counts.
void begin_look(const WorkerSlot& place);

/// Called before the worker sleeps. Returns false if it was woken since begin_look(). (The latch alone is not
/// enough, because a wait in a transaction may have reset it.)
bool may_sleep(const WorkerSlot& place, TimestampTz until);

enum class ExitReason {
    failed,  ///< the default
    asked,
    nothing_to_do,  ///< no extension in the database, or rolecall.worker = off
};

/// The loader has finished its work after server start.
void note_visited(const WorkerSlot& place);

/// Sets the exit reason, which decides when the launcher tries again. A signal handler may call this.
void note_exit_reason(ExitReason why);

// ---- For the launcher

/// Makes this process the one that wake-ups go to.
void enter_launcher();

/// Updates the registry to `workers` workers in each of these databases and none in others. On the first call
/// since the server started, each database also gets a loader.
void set_databases(const Oid* databases, int count, int workers);

/// Called when settings have changed: databases without work are tried again.
void reconsider();

/// Returns a slot whose worker should be launched now and marks it as launched, or returns -1.
int next_to_launch();

bool is_for_loader(int number);

/// Takes back next_to_launch() when the launch failed.
void take_back_launch(int number);

/// Returns the milliseconds until the launcher should next call set_databases() and next_to_launch(), at most
/// a minute, or 0 if it should do so now. Clears the request that made it 0.
long until_next_launch();

}  // namespace rolecall::workers
