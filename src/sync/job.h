// A user under way in a worker: claimed, then asked for, then settled.
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
    std::chrono::steady_clock::time_point started;  ///< to measure how long it takes
    std::string request_id;
    provider::Answers answers;
    std::string error;  ///< why there is nothing to apply; empty: there is

    /// Of what the provider said: what bounds a batch.
    std::size_t bytes() const;
};

using JobPtr = std::unique_ptr<Job>;

/// Notes for a user that nothing came of it, and when to try again. Needs SPI.
void note_failed(const Claim& claim, const std::string& error, TimestampTz time);

/// When a user whom somebody holds is tried again: the longer that lasts, the later.
TimestampTz after_hold(std::int64_t user, TimestampTz time);

/// Likewise of a user whom another sync has: whoever asks for more of them steps aside (sync/overdue.h).
TimestampTz after_other_sync(std::int64_t user, TimestampTz time);

/// Ends jobs in one transaction: applies what the providers said, notes failures, gives users back. If that
/// fails, once more without those of whom somebody holds a row, and then for each by itself, so that one
/// cannot keep the others from it. Calls `meanwhile`, which must not wait, now and then. False: it was
/// cancelled; what was not settled is the caller's to give back.
bool settle(const std::vector<JobPtr>& jobs, const std::function<void()>& meanwhile);

}  // namespace rolecall::sync
