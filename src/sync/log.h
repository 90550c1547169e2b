// What syncs leave in the server's log, in sessions and in the worker alike: users and providers by name,
// never what a provider said.
#pragma once

#include "sync/apply.h"

namespace rolecall::sync {

/// At DEBUG1: a provider is about to be asked.
void log_start(const User& user);

/// At LOG when something changed, else at DEBUG1.
void log_outcome(std::int64_t user, const Outcome& outcome);

/// At LOG: an error of the worker's, where there is no session to be told.
void log_failure(const User& user, const std::string& error, int attempt);

/// At LOG: a user whose sync waits for a transaction that does not end.
void log_held(std::int64_t user, std::int64_t seconds);

}  // namespace rolecall::sync
