// Users of whom other transactions have kept the workers, in shared memory: whoever asks for a sync of one
// steps aside until a worker has had its turn. Where transactions that are short come one after the other, a
// worker would find the user locked whenever it looks.
#pragma once

#include "pg/pg.h"

#include <optional>

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::sync {

/// Requests the shared memory; called once, from _PG_init, while preloading.
void overdue_init();

/// A worker was kept from a user, first at `since`, and tries again at `retry_at`; both by steady_now().
void note_overdue(std::int64_t user, TimestampTz since, TimestampTz retry_at);

/// A worker has had its turn, or has nothing to do for the user any more.
void forget_overdue(std::int64_t user);

/// Likewise when this transaction commits: the user was synchronized in it.
void forget_overdue_at_commit(std::int64_t user);

/// Since when workers have been kept from a user whom they try again soon; nullopt: they have not.
std::optional<TimestampTz> overdue_since(std::int64_t user);

struct Overdue {
    std::int64_t user;
    TimestampTz since;  ///< by steady_now()
    bool is_shown;      ///< the caller's; false
};

/// All of this database, in the current memory context.
std::span<Overdue> all_overdue();

/// Throws Error RC105 if a worker has been kept from the user for some seconds.
void refuse_overdue(std::int64_t user);

}  // namespace rolecall::sync
