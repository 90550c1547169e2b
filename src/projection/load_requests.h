// Who asked for all documents of a projection to be loaded, and how far that is: in shared memory, a record
// for each projection. Sessions ask, one process for each database loads (workers/loader.h), everybody may
// look.
#pragma once

#include "pg/pg.h"

#include "projection/full_load.h"

namespace rolecall::projection {

enum class LoadPhase : int {
    requested,
    loading,
    waiting,  ///< for definitions that are being changed
    done,
    full,       ///< the cache was, before every document was loaded
    unwatched,  ///< nothing of this projection is cached
    cancelled,
    failed,
};

/// Requests the shared memory; called once, from _PG_init, while preloading.
void loads_init();

/// Called when loads were asked for in a database, outside of any lock.
extern void (*on_load_requested)(Oid database);

/// Asks for a load of a projection of this database; where one is under way it begins anew.
void request_load(std::uint64_t projection);

/// The same when this transaction commits.
void request_load_at_commit(std::uint64_t projection);

/// Is there a request in this database that nobody has taken?
bool is_load_requested(Oid database);

/// Takes the oldest request of this database, for this process; 0: there is none. Should the process end
/// before end_load(), the load has failed, or is requested again where `begin_again()` says so.
std::uint64_t take_load(bool (*begin_again)());

/// How far the load is that was taken. False: it is to be stopped.
bool report_load(LoadPhase phase, const FullLoad& pass);

/// The load that was taken is over. `message`: why it is not complete, or empty.
void end_load(LoadPhase phase, const char* message);

/// Ends the load of a projection of this database, or takes back the request; of all projections where it is
/// 0. False: there is none.
bool cancel_load(std::uint64_t projection);

/// Forgets what was asked for in other databases than these.
void keep_loads_of(std::span<const Oid> databases);

}  // namespace rolecall::projection
