// The brake: when a provider's syncs would take away more in one window than its rules allow, they stop, and
// wait for resume_provider(). The counting is in SQL (sql/install/code/safety.sql), in the transaction that
// takes away: it survives what that survives. All of it needs SPI.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <optional>

#include "core/error.h"
#include "provider/provider.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// Does a transaction wait for another that is at the same thing?
enum class LockWait {
    wait,
    none,
    brief,  ///< it does, and keeps nobody waiting in turn: it may stay open for long
};

/// Keeps syncs of single users, and other passes, out until the transaction ends. Those that are under way
/// hold their users (sync/locks.h).
void lock_provider(const std::string& provider);

/// Is no pass through all users of the provider under way? For syncs of single users, which have locked the
/// user before: of a pass that comes later they are seen. Waits at most so long for one.
bool may_sync_beside_passes(const std::string& provider, std::chrono::milliseconds patience);

/// Do the provider's syncs wait for resume_provider()?
bool is_stopped(const std::string& provider);

/// What a window would have come to.
struct Excess {
    std::int64_t users_affected;
    std::int64_t grants_revoked;
    std::int64_t grants;
    std::int64_t users_deactivated;
    std::int64_t users;
};

/// What a sync is about to take away from one user.
struct Loss {
    std::int64_t grants = 0;
    bool deactivated = false;
};

/// Only one transaction at a time counts what is taken away by a provider. Held to the end of the
/// transaction; false, without patience: another has it.
bool lock_revocations(const std::string& provider, LockWait patience);

/// With LockWait::brief: another transaction may count before this one ends, and sees what it has counted.
void unlock_revocations(const std::string& provider);

/// Counts a loss, to be caused at `time`; with the lock. Otherwise than nullopt: it must not happen.
std::optional<Excess> count_revocation(const std::string& provider, const provider::Rules& rules,
                                       std::int64_t user, const Loss& loss, LockWait patience,
                                       TimestampTz time);

/// Stops a provider's syncs when this transaction commits. False: they were stopped already.
bool stop_provider(const std::string& provider, const Excess& excess);

/// The same now, whatever becomes of this transaction.
void stop_provider_durably(const std::string& provider, const Excess& excess);

void log_stop(const std::string& provider, const Excess& excess);

/// The error of whoever wants to sync nevertheless, RC106.
Error stopped_error(const std::string& provider);

}  // namespace rolecall::sync
