// A user that a worker processes: claimed, then requested from the provider, then settled.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <functional>

#include "provider/fetch.h"
#include "provider/provider.h"
#include "sync/queue.h"

namespace rolecall::sync {

struct Job {
    Claim claim;
    std::shared_ptr<const provider::Provider> provider;
    std::string subject;                            ///< in_utf8()
    TimestampTz asked_at = 0;                       ///< by the clock of syncs
    std::chrono::steady_clock::time_point started;  ///< to measure the duration
    std::string request_id;
    provider::Answers answers;
    std::string error;  ///< why there is nothing to apply; empty if there is something

    /// Returns the size of the provider's answers, which bounds a batch.
    std::size_t bytes() const;
};

using JobPtr = std::unique_ptr<Job>;

/// Records for a user that its sync failed, and when to try again. Needs SPI.
void note_failed(const Claim& claim, const std::string& error, TimestampTz time);

/// Returns when to retry a user that another transaction holds. The longer it is held, the later.
TimestampTz after_hold(std::int64_t user, TimestampTz time);

/// Likewise for a user that another sync has locked. Further sessions that want to sync the user step aside
/// (sync/overdue.h).
TimestampTz after_other_sync(std::int64_t user, TimestampTz time);

/// Ends jobs in one transaction: applies the providers' answers, records failures, and puts users back. If
/// that fails, tries again without the users of which another transaction holds a row, and then each user
/// separately, so that one cannot block the others. Calls `meanwhile`, which must not wait, now and then.
/// Returns false if it was cancelled; the caller must put back what was not settled.
bool settle(const std::vector<JobPtr>& jobs, const std::function<void()>& meanwhile);

}  // namespace rolecall::sync
