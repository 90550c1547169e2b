// The advisory locks of syncs, of classes that SQL cannot take. Who asks for a sync holds one on that user to
// the end of the transaction, and no other: what is held up is that user.
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
    user = 0x7263,         ///< a sync of this user
    revocations = 0x7264,  ///< counting what a provider's syncs take away
    provider = 0x7265,     ///< a pass through all users of a provider
};

LOCKTAG locktag_of_user(std::int64_t user);
LOCKTAG locktag_of_provider(LockClass lock_class, const std::string& provider);

/// Until the end of the transaction. False: somebody else has it.
bool try_lock(const LOCKTAG& tag, LOCKMODE mode);

/// Waits at most so long, or as long as the session's lock_timeout lets it, which raises PostgreSQL's error.
bool lock_within(const LOCKTAG& tag, LOCKMODE mode, std::chrono::milliseconds most_wait);

/// Likewise, and does not keep it.
bool wait_until_free(const LOCKTAG& tag, LOCKMODE mode, std::chrono::milliseconds most_wait);

void unlock(const LOCKTAG& tag, LOCKMODE mode);

/// Locks a table and its indexes as reading it does, until the end of the transaction, and waits for nobody.
/// False: one of them is locked, or somebody waits to lock it, or there is no such table; then nothing is
/// locked. Raises PostgreSQL's errors.
bool try_read_lock(Oid table);

/// Those of these users that another transaction is synchronizing, or has synchronized and not ended; after
/// waiting for them at most so long, all together.
std::unordered_set<std::int64_t> users_locked_by_others(const std::unordered_set<std::int64_t>& users,
                                                        std::chrono::milliseconds most_wait);

/// Throws Error RC105 if a worker has been kept from the user for some seconds (sync/overdue.h), unless this
/// transaction holds the user already.
void step_aside_for_worker(std::int64_t user);

}  // namespace rolecall::sync
