// The registry: which sync workers and loaders should run and do, in shared memory. The launcher fills it,
// they enter and leave, sessions wake them and send them out of databases that are about to be dropped,
// renamed, moved or copied.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::workers {

/// Requests the shared memory; called once, from _PG_init, while preloading. `is_loader_wanted`: is there
/// something for a loader to do in a database?
void registry_init(bool (*is_loader_wanted)(Oid database));

// ---- For sessions
// ------------------------------------------------------------------------------------------

/// When this transaction commits, those workers of this database that would sleep beyond `due` look at their
/// queue; where none runs, the launcher looks whether one should. Nothing where the library is not preloaded.
void wake_workers_at_commit(TimestampTz due = DT_NOBEGIN);

/// When this transaction commits, the workers of a database start anew; InvalidOid: they go on after all.
void restart_workers_at_commit(Oid database);

/// Keeps workers out of a database until this transaction ends, and tells those inside to leave. Returns how
/// many are still inside.
int keep_out_until_end(Oid database);

/// Ends that early.
void let_workers_in();

/// A loader is to be launched in a database, at once.
void launch_loader(Oid database);

// ---- For workers
// -------------------------------------------------------------------------------------------

/// The index of a database's loader (workers/loader.h), which has a slot while there is something for it to
/// do.
constexpr int loader_index = -1;

/// What a worker, or a loader, knows of itself.
struct WorkerSlot {
    int slot;
    Oid database;
    int index;            ///< among the database's workers, from 0; or loader_index
    bool first_visit;     ///< a loader's: it comes because the server started
    TimestampTz started;  ///< by the clock of syncs: leases of this index from before are void
};

/// Enters a worker that was launched for slot `number`, as begin_look() does too, and sees to it that it is
/// struck off when the process exits. False: it should not run (any more).
bool enter(int number, WorkerSlot& place);

/// Is the worker still welcome?
bool may_stay(const WorkerSlot& place);

/// The worker is about to look at its queue: from here on every wake counts.
void begin_look(const WorkerSlot& place);

/// The worker is about to sleep. False: somebody woke it since begin_look(). (The latch alone would not do: a
/// wait in a transaction may have reset it.)
bool may_sleep(const WorkerSlot& place, TimestampTz until);

enum class ExitReason {
    failed,  ///< unless noted otherwise
    asked,
    nothing_to_do,  ///< no extension there, or rolecall.worker = off
};

/// The loader has done what is done once after the server's start.
void note_visited(const WorkerSlot& place);

/// Why the worker will leave: decides when the launcher tries again. May be called by a signal handler.
void note_exit_reason(ExitReason why);

// ---- For the launcher
// --------------------------------------------------------------------------------------

/// Makes this process the one that is woken.
void enter_launcher();

/// Brings the registry up to date: `workers` for each of these databases, none for others. The first time
/// since the server started each also gets a loader.
void set_databases(const Oid* databases, int count, int workers);

/// Settings changed: databases where there was nothing to do are tried again.
void reconsider();

/// A slot whose worker should be launched now, or -1; it counts as launched from here on.
int next_to_launch();

bool is_for_loader(int number);

/// The launch did not work out.
void take_back_launch(int number);

/// Milliseconds until the launcher should look at databases and next_to_launch(), at most a minute; 0: now,
/// and what somebody asked for is forgotten.
long until_next_launch();

}  // namespace rolecall::workers
