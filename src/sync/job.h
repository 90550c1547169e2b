// A user under way in a worker: claimed, then asked for, then settled.
#pragma once

#include "pg/pg.h"

#include <chrono>
#include <functional>

#include "sync/fetch.h"
#include "sync/provider.h"
#include "sync/queue.h"

namespace rolecall::sync {

struct Job {
    Claim claim;
    std::shared_ptr<const Provider> provider;
    std::string subject;                            ///< in_utf8()
    TimestampTz asked_at = 0;                       ///< by the clock of syncs
    std::chrono::steady_clock::time_point started;  ///< to measure how long it takes
    std::string request_id;
    Answers answers;
    std::string error;  ///< why there is nothing to apply; empty: there is
};

using JobPtr = std::unique_ptr<Job>;

/// Notes for a user that nothing came of it, and when to try again. Needs SPI.
void note_failed(const Claim& claim, const std::string& error, TimestampTz time);

/// Ends jobs in one transaction: applies what the providers said, notes failures, gives users back. If that
/// fails, once more for each by itself, so that one cannot keep the others from it. Calls `meanwhile`, which
/// must not wait, now and then.
void settle(std::vector<JobPtr> jobs, const std::function<void()>& meanwhile);

}  // namespace rolecall::sync
