// The queue of users to synchronize: rolecall.sync_state, with rolecall.sync_requests as its inbox. A worker
// takes users under a lease, so that they are taken again if the worker dies. All functions need SPI; times
// are the clock's (pg/clock.h).
#pragma once

#include "pg/pg.h"

#include <optional>
#include <unordered_set>

#include "sync/apply.h"

namespace rolecall::sync {

/// A user that a worker has taken from the queue.
struct Claim {
    User user;
    bool forced = false;
    bool due = false;  ///< by TTL
    int attempts = 0;  ///< failures so far
};

/// Identifies the worker that claims. Leases of the same index from before `started` are void, because their
/// worker has exited.
struct Claimer {
    int index = 0;
    TimestampTz started = 0;
};

/// Moves the inbox into the queue, skipping users whose state is locked by a running sync.
void take_requests();

/// Makes users due that belong to a provider but are not in its queue, because the triggers were bypassed.
/// Returns how many.
std::int64_t add_missing_users(TimestampTz now, std::int64_t most);

/// Takes users that are due, but have not been active since `active_since`, out of the queue until
/// rolecall.touch_user(). Returns how many.
std::int64_t put_inactive_to_sleep(const std::string& provider, TimestampTz now, TimestampTz active_since,
                                   std::int64_t most);

/// Makes users due that put_inactive_to_sleep() took out.
void wake_up(const std::string& provider, TimestampTz now, std::int64_t most);

/// The longest pause after a failure.
constexpr std::int64_t longest_pause_seconds = 3600;

/// Makes users due within the TTL whose due time is later than possible, because the clock was ahead when
/// they were synchronized. Returns how many.
std::int64_t correct_times(const std::string& provider, TimestampTz now, std::int64_t ttl_seconds,
                           std::int64_t most);

/// Returns the providers that users have, configured or not, except those that are stopped.
std::vector<std::string> queued_providers();

/// Takes up to `most` users of a provider until `lease_until`: forced requests first, then other requests,
/// then users due by TTL that were active since `active_since` (-infinity: all of them), the oldest first.
std::vector<Claim> claim(const Claimer& claimer, const std::string& provider, TimestampTz now,
                         TimestampTz lease_until, TimestampTz active_since, std::int64_t most);

/// Puts a user back unchanged. No worker takes it before `not_before`.
void put_back(std::int64_t user, TimestampTz not_before);

/// Puts back at once those of `users` that the claimer has.
void put_all_back(const Claimer& claimer, std::span<const std::int64_t> users);

/// Returns those of `users` for which no other transaction holds a row that a sync may change. Their rows are
/// locked.
std::unordered_set<std::int64_t> lock_rows(std::span<const std::int64_t> users);

/// Makes the next request for this user ask for the whole answer.
void forget_version(std::int64_t user);

/// Removes a request that found the roles fresh, so that nothing is to be done.
void drop_request(std::int64_t user);

/// Records a failure and the time of the next attempt.
void note_failure(std::int64_t user, const std::string& error, TimestampTz now, TimestampTz retry_at);

/// Returns when the provider's next user will be due or free; nullopt if never, as things are.
std::optional<TimestampTz> next_due(const std::string& provider);

/// Returns whether the inbox still contains requests (for users that are being synchronized).
bool has_requests();

/// Adds a request to the inbox, unless an equal one is there. Returns false if there is no such user.
bool request_sync(std::int64_t user, bool force);

}  // namespace rolecall::sync
