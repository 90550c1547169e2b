// Users from which other transactions have kept the workers, in shared memory. A session that wants to sync
// such a user steps aside until a worker has had its turn. Otherwise, with short transactions one after the
// other, a worker could find the user locked at every attempt.
#pragma once

#include "pg/pg.h"

#include <optional>

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// Requests the shared memory; called once, from _PG_init, while preloading.
void overdue_init();

/// Records that a worker was kept from a user, first at `since`, and tries again at `retry_at`; both by
/// steady_now().
void note_overdue(std::int64_t user, TimestampTz since, TimestampTz retry_at);

/// Records that a worker has had its turn, or has no work for the user any more.
void forget_overdue(std::int64_t user);

/// Likewise when this transaction commits, because it synchronized the user.
void forget_overdue_at_commit(std::int64_t user);

/// Returns since when workers, which will soon try again, have been kept from a user; nullopt if they have
/// not.
std::optional<TimestampTz> overdue_since(std::int64_t user);

struct Overdue {
    std::int64_t user;
    TimestampTz since;  ///< by steady_now()
    bool is_shown;      ///< for the caller; false at first
};

/// Returns all such users of this database, in the current memory context.
std::span<Overdue> all_overdue();

/// Throws Error RC105 if a worker has been kept from the user for some seconds.
void refuse_overdue(std::int64_t user);

}  // namespace rolecall::sync
