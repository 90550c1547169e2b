// What the launcher and the workers share: signals, waiting, and transactions that may fail without ending
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

/// Installs the signal handlers and unblocks signals. Call it first. The SIGTERM handler calls `at_sigterm`
/// unless it is nullptr.
void process_init(void (*at_sigterm)() = nullptr);

/// Overrides what is set for the database or for a role. Call it after connecting.
using pg::pin_settings;

/// Returns whether this process is a launcher or a worker, rather than a session.
bool is_background();

/// Returns whether SIGTERM arrived. Inside a transaction, SIGTERM ends the process by itself, even in a lock
/// wait.
bool told_to_leave();

/// Rereads the configuration if SIGHUP arrived. Returns whether it did.
bool reload_if_asked();

/// Returns whether pg_cancel_backend() was called outside a transaction since the last call of this function.
/// (Inside a transaction, it cancels the statement.)
bool was_cancelled();

/// Waits for the latch, for `milliseconds` (-1: without limit) and, unless it is -1, for `fd` to become
/// readable. In a session, a cancel request ends the wait with an error; background processes call
/// was_cancelled().
void wait_for_latch(long milliseconds, int fd, pg::WaitEvent& event);

inline pg::WaitEvent wait_for_rate_limit{"RolecallRateLimit"};
inline pg::WaitEvent wait_for_answer{"RolecallProviderAnswer"};

struct Failure {
    bool cancelled = false;  ///< by pg_cancel_backend() or statement_timeout
    bool held_up = false;    ///< a lock wait took too long or was part of a deadlock
    std::string message{};   ///< includes the detail
};

/// How long a transaction of a background process waits for a lock. Work on a locked object is done later.
constexpr int usual_lock_wait = 1000;  // milliseconds
constexpr int brief_lock_wait = 100;   // where each of many jobs waits on its own

/// Runs `f` in a transaction with a snapshot. If it fails, rolls it back and returns why.
std::optional<Failure> transact(const std::function<void()>& f);

/// Runs `f` in a transaction as the extension's owner, between pg::spi_connect() and pg::spi_finish(). Lock
/// waits are limited to `most_wait` milliseconds. SIGTERM ends the process. If `f` fails, rolls it back and
/// returns why.
std::optional<Failure> transact_as_owner(const std::function<void()>& f, int most_wait = usual_lock_wait);

/// Like transact_as_owner(); returns false and sets `error` on failure.
bool run_in_transaction(const std::function<void()>& f, std::string& error);

/// Runs `f` in a subtransaction; if it throws, rolls it back, returns false and sets `error`. Use this for
/// `f` that only reads: the subtransaction then takes no transaction id.
bool run_in_subtransaction(const std::function<void()>& f, std::string& error);

}  // namespace rolecall::pg
