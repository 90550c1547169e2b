// What launcher and workers have in common: signals, waiting, and transactions that may fail without ending
// the process.
#pragma once

#include "pg/background.h"
#include "pg/guard.h"

#include <functional>
#include <optional>

extern "C" {
#include "access/xact.h"
}

namespace rolecall::pg {

/// Installs the signal handlers and unblocks signals. Call first. `at_sigterm` is called by the handler of
/// SIGTERM; nullptr: nothing is.
void process_init(void (*at_sigterm)() = nullptr);

/// Takes away what somebody set for the database or for a role. When connected.
using pg::pin_settings;

/// Is this a launcher or a worker, rather than a session?
bool is_background();

/// SIGTERM came. Within a transaction it ends the process by itself, lock waits included.
bool told_to_leave();

/// Rereads the configuration after SIGHUP; true when it did.
bool reload_if_asked();

/// pg_cancel_backend() was called since this was asked last, outside a transaction. (Within one it ends what
/// runs there.)
bool was_cancelled();

/// Waits for the latch, for `milliseconds` (-1: without end) and, unless it is -1, for `fd` to become
/// readable. In a session a cancel ends it; a process of ours asks was_cancelled().
void wait_for_latch(long milliseconds, int fd, pg::WaitEvent& event);

inline pg::WaitEvent wait_for_rate_limit{"RolecallRateLimit"};
inline pg::WaitEvent wait_for_answer{"RolecallProviderAnswer"};

struct Failure {
    bool cancelled = false;  ///< by pg_cancel_backend(), or statement_timeout
    bool held_up = false;    ///< a lock was waited for too long, or was part of a deadlock
    std::string message{};   ///< and its detail
};

/// So long a transaction of a process of ours waits for a lock. What somebody holds is for later.
constexpr int usual_lock_wait = 1000;  // milliseconds
constexpr int brief_lock_wait = 100;   // where each of many waits for himself

/// Runs `f` in a transaction with a snapshot. Returns why it failed and was rolled back, if it did.
std::optional<Failure> transact(const std::function<void()>& f);

/// Likewise, acting as the extension's owner, between pg::spi_connect() and pg::spi_finish(), and waiting for
/// no lock longer than `most_wait` milliseconds. SIGTERM ends the process meanwhile.
std::optional<Failure> transact_as_owner(const std::function<void()>& f, int most_wait = usual_lock_wait);

/// The same. False: it failed, for what `error` says.
bool run_in_transaction(const std::function<void()>& f, std::string& error);

/// Runs `f` in a subtransaction, which is rolled back when it throws; likewise. For what only reads: it takes
/// no transaction id then.
bool run_in_subtransaction(const std::function<void()>& f, std::string& error);

}  // namespace rolecall::pg
