// What syncs did, per provider of each database, in shared memory since the server started; and the
// providers' circuit breakers and rate limits, which workers and sessions share. A provider that finds no
// room there takes the place of one that has been asked for nothing for longest; where all are in trouble or
// being asked, this process counts by itself: no provider is without breaker and rate limit.
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

/// A sync that went through, and how long it took from its request to its end.
void count_sync(Oid server, bool changed, std::chrono::steady_clock::duration took);

/// A sync that failed; `error` is shown to administrators.
void count_failure(Oid server, const std::string& error);

/// Requests under way; what a process leaves under way when it exits is taken off.
void count_in_flight(Oid server, int change);

/// Forgets the providers of all other databases.
void keep_statistics_of(const Oid* databases, int count);

/// Forgets the providers of this database that are none any more. In a transaction.
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

/// What somebody wants to ask.
struct Asking {
    Oid server;
    double per_second;  ///< the provider's rate_limit; 0: none
    int requests;       ///< that are made
};

enum class Permission {
    yes,    ///< now; report what comes of it
    later,  ///< the rate limit is reached: at `when`
    no,     ///< the provider is left alone: until `when`, at least
};

/// May a provider be asked? Takes what it allows.
Permission may_ask(const Asking& asking, TimestampTz time, TimestampTz& when);

/// The same for who can wait: takes a place in the line, up to `most_wait` microseconds ahead. After yes, ask
/// at `when`.
Permission ask_in_turn(const Asking& asking, TimestampTz time, TimestampTz most_wait, TimestampTz& when);

/// A place in the line of sessions.
struct Place {
    TimestampTz when = 0;
    double per_second = 0;  ///< as the line went then
};

/// Sessions wait in a line of their own before they ask_in_turn(). It goes at the provider's rate, and at
/// half of it while a worker has somebody to ask for: the other half is the worker's.
Permission line_up(const Asking& asking, TimestampTz time, TimestampTz most_wait, Place& place);

/// Whoever took a place in it did not ask.
void leave_line(const Asking& asking, const Place& place);

/// Whoever took a place did not ask.
void give_turn_back(const Asking& asking);

/// Is the provider to be asked by one request only, to see how it is?
bool is_to_be_probed(Oid server);

/// When the breaker may next say yes.
TimestampTz may_ask_next(Oid server, TimestampTz time);

/// More requests were made than may_ask() was told: further pages.
void report_requests(const Asking& more, TimestampTz time);

/// The provider answered, whatever it said of the subject; or it could not, or would not.
void report_answer(Oid server);
void report_trouble(Oid server, std::string_view subject, TimestampTz time);

/// Nothing is known of the provider: whoever asked gave up, or was impatient by settings of its own.
void report_abandoned(Oid server, TimestampTz time);

/// The provider asks to be asked no earlier.
void report_wait(Oid server, TimestampTz until);

}  // namespace rolecall::provider
