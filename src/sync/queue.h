// The queue of users to synchronize: rolecall.sync_state, with rolecall.sync_requests as its inbox. Users are
// taken under a lease, so that what dies with a worker is taken up again. All of it needs SPI; times are the
// clock's (pg/clock.h).
#pragma once

#include "pg/pg.h"

#include <optional>
#include <unordered_set>

#include "sync/apply.h"

namespace rolecall::sync {

/// A user that a worker has taken.
struct Claim {
    User user;
    bool forced = false;
    bool due = false;  ///< by TTL
    int attempts = 0;  ///< failures before
};

/// Who claims. Leases of the same index from before `started` are void: whoever held them is gone.
struct Claimer {
    int index = 0;
    TimestampTz started = 0;
};

/// Moves the inbox into the queue, skipping users whose state is locked by a sync under way.
void take_requests();

/// Makes users due who belong to a provider and are not in its queue (they came past the triggers). Returns
/// how many.
std::int64_t add_missing_users(TimestampTz now, std::int64_t most);

/// Takes users who are due, and were not active since, out of the queue until rolecall.touch_user(). Returns
/// how many.
std::int64_t put_inactive_to_sleep(const std::string& provider, TimestampTz now, TimestampTz active_since,
                                   std::int64_t most);

/// Makes those due who were put to sleep.
void wake_up(const std::string& provider, TimestampTz now, std::int64_t most);

/// Nobody waits longer after a failure.
constexpr std::int64_t longest_pause_seconds = 3600;

/// Makes users due within the TTL who would be due later than anybody can be: the clock was ahead when they
/// were synchronized. Returns how many.
std::int64_t correct_times(const std::string& provider, TimestampTz now, std::int64_t ttl_seconds,
                           std::int64_t most);

/// The providers that users have, configured or not, but for those that are stopped.
std::vector<std::string> queued_providers();

/// Takes at most `most` users of a provider until `lease_until`: forced requests first, then requests, then
/// those due by TTL who were active since (-infinity: all of them), the oldest first.
std::vector<Claim> claim(const Claimer& claimer, const std::string& provider, TimestampTz now,
                         TimestampTz lease_until, TimestampTz active_since, std::int64_t most);

/// Gives a user back untouched; nobody takes it before `not_before`.
void put_back(std::int64_t user, TimestampTz not_before);

/// Gives back at once those of these users that the claimer has.
void put_all_back(const Claimer& claimer, std::span<const std::int64_t> users);

/// Those of these users of whom nobody else holds a row that a sync may change. Their rows are locked.
std::unordered_set<std::int64_t> lock_rows(std::span<const std::int64_t> users);

/// The next request for this user asks for the whole answer.
void forget_version(std::int64_t user);

/// A request that found the roles fresh: nothing to do for it.
void drop_request(std::int64_t user);

/// Notes a failure, and when to try again.
void note_failure(std::int64_t user, const std::string& error, TimestampTz now, TimestampTz retry_at);

/// When the provider's next user will be due or free; nullopt: never, as things are.
std::optional<TimestampTz> next_due(const std::string& provider);

/// Is anything left in the inbox (of users who are being synchronized)?
bool has_requests();

/// Puts a request into the inbox, unless an equal one is there already. False: no such user.
bool request_sync(std::int64_t user, bool force);

}  // namespace rolecall::sync
