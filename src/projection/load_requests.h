// Requests for full loads, and their progress: a record in shared memory for each projection. Sessions make
// requests, one process of each database loads (workers/loader.h), and any process may read the progress.
#pragma once

#include "pg/pg.h"

#include "projection/full_load.h"

namespace rolecall::projection {

enum class LoadPhase : int {
    requested,
    loading,
    waiting,  ///< for definitions that are being changed
    done,
    full,       ///< the cache became full before every document was loaded
    unwatched,  ///< documents of this projection are not cached
    cancelled,
    failed,
};

/// Requests the shared memory; called once, from _PG_init, while preloading.
void loads_init();

/// Called when loads were requested in a database, with no lock held.
extern void (*on_load_requested)(Oid database);

/// Requests a load of a projection of this database. A load under way begins again.
void request_load(std::uint64_t projection);

/// Does the same when this transaction commits.
void request_load_at_commit(std::uint64_t projection);

/// Returns whether a request in this database has not been taken.
bool is_load_requested(Oid database);

/// Takes the oldest request of this database for this process. Returns the projection's id, or 0 if there is
/// no request. If the process exits before end_load(), the load counts as failed, or as requested again if
/// `begin_again()` returns true.
std::uint64_t take_load(bool (*begin_again)());

/// Reports the progress of the load that was taken. Returns false if the load must stop.
bool report_load(LoadPhase phase, const FullLoad& progress);

/// Ends the load that was taken. `message` says why it is not complete, or is empty.
void end_load(LoadPhase phase, const char* message);

/// Cancels the load of a projection of this database, or its request; of all projections if `projection` is
/// 0. Returns false if there is none.
bool cancel_load(std::uint64_t projection);

/// Removes the requests of databases other than these.
void keep_loads_of(std::span<const Oid> databases);

}  // namespace rolecall::projection
