// What syncs log, in sessions and in the worker alike: users and providers by name, never the text of a
// provider's answer.
#pragma once

#include "sync/apply.h"

namespace rolecall::sync {

/// At DEBUG1: a provider is about to be asked.
void log_start(const User& user);

/// At LOG if something changed, otherwise at DEBUG1.
void log_outcome(std::int64_t user, const Outcome& outcome);

/// At LOG: an error in the worker, which has no session to report to.
void log_failure(const User& user, const std::string& error, int attempt);

/// At LOG: a user whose sync waits for a transaction that does not end.
void log_held(std::int64_t user, std::int64_t seconds);

}  // namespace rolecall::sync
