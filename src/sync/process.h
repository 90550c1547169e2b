// What launcher and workers have in common: signals, waiting, and transactions that may fail without ending
// the process.
#pragma once

#include "pg/guard.h"

#include <functional>
#include <optional>

extern "C" {
#include "access/xact.h"
}

namespace rolecall::sync {

/// Installs the signal handlers and unblocks signals. Call first.
void process_init();

/// SIGTERM came. Within a transaction it ends the process by itself, lock waits included.
bool told_to_leave();

/// Rereads the configuration after SIGHUP; true when it did.
bool reload_if_asked();

/// Waits for the latch, for `milliseconds` (-1: without end) and, unless it is -1, for `fd` to become
/// readable.
void wait_for_latch(long milliseconds, int fd, pg::WaitEvent& event);

inline pg::WaitEvent wait_for_rate_limit{"RolecallRateLimit"};
inline pg::WaitEvent wait_for_answer{"RolecallProviderAnswer"};

struct Failure {
    bool cancelled;       // by pg_cancel_backend(), or statement_timeout
    std::string message;  // and its detail
};

/// Runs `f` in a transaction with a snapshot. Returns why it failed and was rolled back, if it did.
std::optional<Failure> transact(const std::function<void()>& f);

/// Likewise, acting as the extension's owner, between pg::spi_connect() and pg::spi_finish(). False: it
/// failed, for what `error` says. SIGTERM ends the process meanwhile.
bool run_in_transaction(const std::function<void()>& f, std::string& error);

/// Runs `f` in a subtransaction, which is rolled back when it throws; likewise. For what only reads: it takes
/// no transaction id then.
bool run_in_subtransaction(const std::function<void()>& f, std::string& error);

}  // namespace rolecall::sync
