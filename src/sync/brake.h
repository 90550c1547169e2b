// The brake: when a provider's syncs would take away more in one window than its rules allow, they stop, and
// wait for resume_provider(). The counting is in SQL (sql/extension/safety.sql), in the transaction that
// takes away: it survives what that survives. All of it needs SPI.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/error.h"
#include "sync/provider.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// Does a transaction wait for another that is at the same thing?
enum class Patience { wait, none };

/// Syncs of single users go on beside each other; a pass through all users is alone.
enum class Sharing { with_others, alone };

/// Makes passes and syncs of single users wait for each other until the transaction ends, so that each sees
/// what the other applied. False, without patience: the other is at it.
bool lock_provider(const std::string& provider, Sharing sharing, Patience patience);

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

/// Only one transaction at a time takes something away by a provider: nobody's counting is unseen. Held to
/// the end of the transaction; false, without patience: another has it.
bool lock_revocations(const std::string& provider, Patience patience);

/// Counts a loss, to be caused at `time`; with the lock. Otherwise than nullopt: it must not happen.
std::optional<Excess> count_revocation(const std::string& provider, const Rules& rules, std::int64_t user,
                                       const Loss& loss, TimestampTz time);

/// Stops a provider's syncs when this transaction commits. False: they were stopped already.
bool stop_provider(const std::string& provider, const Excess& excess);

/// The same now, whatever becomes of this transaction.
void stop_provider_durably(const std::string& provider, const Excess& excess);

void log_stop(const std::string& provider, const Excess& excess);

/// The error of whoever wants to sync nevertheless, RC106.
Error stopped_error(const std::string& provider);

}  // namespace rolecall::sync
