// The brake: if a provider's syncs would take away more in one window than its rules allow, they stop until
// resume_provider() is called. The counting is done in SQL (sql/install/code/safety.sql), in the transaction
// that takes away, so both commit or roll back together. All functions need SPI.
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

/// Whether a transaction waits for another one that does the same.
enum class LockWait {
    wait,
    none,
    brief,  ///< it waits, but does not block others in turn, because it may stay open for long
};

/// Keeps syncs of single users and other passes out until the transaction ends. Syncs under way hold their
/// users (sync/locks.h).
void lock_provider(const std::string& provider);

/// Returns whether no pass through all users of the provider is under way. For syncs of single users that
/// already hold the user's lock: a later pass sees that lock. Waits at most `lock_wait` for a pass to end.
bool may_sync_beside_passes(const std::string& provider, std::chrono::milliseconds lock_wait);

/// Returns whether the provider's syncs are stopped until resume_provider().
bool is_stopped(const std::string& provider);

/// The totals that a window would have reached.
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

/// Takes the lock under which one transaction at a time counts what a provider's syncs take away. It is held
/// until the end of the transaction. Returns false, for LockWait::none, if another transaction has it.
bool lock_revocations(const std::string& provider, LockWait lock_wait);

/// With LockWait::brief: another transaction may count before this one ends, and sees what this one has
/// counted.
void unlock_revocations(const std::string& provider);

/// Counts a loss, which will be caused at `time`, under the lock. If the result is not nullopt, the loss must
/// not happen.
std::optional<Excess> count_revocation(const std::string& provider, const provider::Rules& rules,
                                       std::int64_t user, const Loss& loss, LockWait lock_wait,
                                       TimestampTz time);

/// Stops a provider's syncs when this transaction commits. Returns false if they were already stopped.
bool stop_provider(const std::string& provider, const Excess& excess);

/// Likewise, but at once, even if this transaction is rolled back.
void stop_provider_durably(const std::string& provider, const Excess& excess);

void log_stop(const std::string& provider, const Excess& excess);

/// Returns Error RC106, for a caller that wants to sync while the provider is stopped.
Error stopped_error(const std::string& provider);

}  // namespace rolecall::sync
