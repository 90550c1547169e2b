// The advisory locks of syncs, of classes that SQL cannot take. A session that syncs a user holds a lock on
// that user until its transaction ends, and no other, so that it blocks only syncs of that user.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <unordered_set>

#include "pg/guard.h"

extern "C" {
#include "storage/lock.h"
}

namespace rolecall::sync {

enum class LockClass : std::uint16_t {
    user = 0x7263,         ///< held by a sync of this user
    revocations = 0x7264,  ///< held while counting what a provider's syncs take away
    provider = 0x7265,     ///< held by a pass through all users of a provider
};

LOCKTAG locktag_of_user(std::int64_t user);
LOCKTAG locktag_of_provider(LockClass lock_class, const std::string& provider);

/// Takes the lock until the end of the transaction. Returns false if another session has it.
bool try_lock(const LOCKTAG& tag, LOCKMODE mode);

/// Waits at most `most_wait`, or the session's lock_timeout if that is shorter; the latter raises
/// PostgreSQL's error. Returns false if the lock was not obtained in time.
bool lock_within(const LOCKTAG& tag, LOCKMODE mode, std::chrono::milliseconds most_wait);

/// Likewise, but releases the lock at once.
bool wait_until_free(const LOCKTAG& tag, LOCKMODE mode, std::chrono::milliseconds most_wait);

void unlock(const LOCKTAG& tag, LOCKMODE mode);

/// Locks a table and its indexes as reading does, until the end of the transaction, without waiting. Returns
/// false, and locks nothing, if one of them is locked, if another session waits to lock one, or if there is
/// no such table. Raises PostgreSQL's errors.
bool try_read_lock(Oid table);

/// Returns those of `users` that another open transaction is synchronizing or has synchronized, after waiting
/// for them at most `most_wait` in total.
std::unordered_set<std::int64_t> users_locked_by_others(const std::unordered_set<std::int64_t>& users,
                                                        std::chrono::milliseconds most_wait);

/// Throws Error RC105 if a worker has been kept from the user for some seconds (sync/overdue.h), unless this
/// transaction already holds the user.
void step_aside_for_worker(std::int64_t user);

}  // namespace rolecall::sync
