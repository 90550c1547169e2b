// A worker's decisions about the users that it may take: which providers are configured, which users are
// worth asking for, and when to check the queue again. Inside a transaction, with SPI; times are the clock's
// (pg/clock.h).
#pragma once

#include "pg/pg.h"

#include <chrono>

#include "provider/provider.h"
#include "sync/queue.h"

namespace rolecall::sync {

/// A worker that has nothing to do checks its queue at least this often.
constexpr std::chrono::milliseconds longest_sleep{60'000};

struct Configured {
    std::shared_ptr<const provider::Provider> provider;  ///< nullptr if it is misconfigured
    std::string error;
};

/// Returns the current configuration of a provider.
Configured configuration_of(const std::string& name);

/// Returns since when a user must have been active to be due; -infinity means that every user is due.
TimestampTz active_since_of(const provider::Provider& provider, TimestampTz time);

/// Keeps inactive users out of the queue if the provider is configured so. Returns false if more of them are
/// left.
bool adjust_scope(const std::string& provider, TimestampTz time, TimestampTz active_since);

/// Returns whether the provider must be asked for a user. Returns false if a request finds the roles fresh,
/// if the provider is misconfigured (the sync has failed then), or if another transaction synchronizes the
/// user (it is tried again later).
bool is_worth_asking(const Claim& claim, const Configured& configured, TimestampTz time);

/// Returns how long to sleep until `due`; nullopt means that no user will be due.
std::chrono::milliseconds pause_until(std::optional<TimestampTz> due);

}  // namespace rolecall::sync
