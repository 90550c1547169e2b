// Statistics of syncs per provider of each database since the server started, and the providers' circuit
// breakers and rate limits, which workers and sessions share. All are in shared memory. When it is full, a
// new provider replaces the one that has gone unused for longest. If every provider there is in trouble or
// has requests under way, this process counts by itself, so that no provider is without breaker and rate
// limit.
#pragma once

#include "pg/pg.h"

#include <chrono>

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::provider {

/// Requests the shared memory; called once, from _PG_init, while preloading.
void statistics_init();

enum class SyncCount : int { changed, unchanged, skipped, failed, counts };

void count_sync(Oid server, SyncCount what);

/// Counts a sync that succeeded; `took` is the time from its request to its end.
void count_sync(Oid server, bool changed, std::chrono::steady_clock::duration took);

/// Counts a sync that failed; `error` is shown to administrators.
void count_failure(Oid server, const std::string& error);

/// Changes the number of requests under way. Requests that a process leaves under way when it exits are
/// subtracted.
void count_in_flight(Oid server, int change);

/// Forgets the providers of all other databases.
void keep_statistics_of(const Oid* databases, int count);

/// Forgets the providers of this database that no longer exist. In a transaction.
void forget_dropped_providers();

/// Times a sync in a session; counts a failure unless done() was called.
class Stopwatch {
 public:
    explicit Stopwatch(Oid server);
    ~Stopwatch();  // NOLINT(bugprone-exception-escape): see its definition
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    void done(bool changed);

 private:
    Oid server_;
    bool done_ = false;
    std::chrono::steady_clock::time_point started_;
};

// ---- The breaker and the rate limit; times are the clock's

/// The parameters of a request for permission.
struct Asking {
    Oid server;
    double per_second;  ///< the provider's rate_limit; 0: none
    int requests;       ///< to be made
};

enum class Permission {
    yes,    ///< ask now, and report the result
    later,  ///< the rate limit is reached: ask at `when`
    no,     ///< the breaker is open: do not ask before `when`
};

/// Returns whether a provider may be asked, and takes what the breaker and the rate limit allow.
Permission may_ask(const Asking& asking, TimestampTz time, TimestampTz& when);

/// Likewise for a caller that can wait: takes a place in the line, up to `most_wait` microseconds ahead.
/// After Permission::yes, ask at `when`.
Permission ask_in_turn(const Asking& asking, TimestampTz time, TimestampTz most_wait, TimestampTz& when);

/// A place in the line of sessions.
struct Place {
    TimestampTz when = 0;
    double per_second = 0;  ///< the rate of the line at that time
};

/// Takes a place in the line of sessions, in which they wait before ask_in_turn(). The line moves at the
/// provider's rate, or at half of it while a worker has users to ask for: the other half is the worker's.
Permission line_up(const Asking& asking, TimestampTz time, TimestampTz most_wait, Place& place);

/// Gives back a place of line_up() that was not used.
void leave_line(const Asking& asking, const Place& place);

/// Gives back a turn of ask_in_turn() that was not used.
void give_turn_back(const Asking& asking);

/// Returns whether the provider may be asked by one request only, as a probe.
bool is_to_be_probed(Oid server);

/// Returns when the breaker may next allow a request.
TimestampTz may_ask_next(Oid server, TimestampTz time);

/// Reports that more requests were made than may_ask() was told, for further pages.
void report_requests(const Asking& more, TimestampTz time);

/// Report that the provider answered, whatever the answer says of the subject, or that it failed or refused.
void report_answer(Oid server);
void report_trouble(Oid server, std::string_view subject, TimestampTz time);

/// Reports that nothing was learned about the provider: the caller gave up, or had set a short timeout
/// itself.
void report_abandoned(Oid server, TimestampTz time);

/// Reports that the provider demanded not to be asked before `until`.
void report_wait(Oid server, TimestampTz until);

}  // namespace rolecall::provider
