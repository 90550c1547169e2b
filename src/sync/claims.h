// What a worker decides about the users it may take: whose provider is configured, who is worth asking for,
// and when to look again. Inside a transaction, with SPI; times are the clock's (pg/clock.h).
#pragma once

#include "pg/pg.h"

#include <chrono>

#include "provider/provider.h"
#include "sync/queue.h"

namespace rolecall::sync {

/// A worker that has nothing to do looks at its queue at least as often.
constexpr std::chrono::milliseconds longest_sleep{60'000};

struct Configured {
    std::shared_ptr<const provider::Provider> provider;  ///< nullptr: misconfigured
    std::string error;
};

/// A provider as it is now.
Configured configuration_of(const std::string& name);

/// Since when a user must have been active to be due; -infinity: everybody is.
TimestampTz active_since_of(const provider::Provider& provider, TimestampTz time);

/// Keeps inactive users out of the queue where the provider wants that. False: there are more of them.
bool adjust_scope(const std::string& provider, TimestampTz time, TimestampTz active_since);

/// False: a request that finds the roles fresh needs nothing, a user whose provider is misconfigured has
/// failed already, and whom somebody else is synchronizing is for later.
bool is_worth_asking(const Claim& claim, const Configured& configured, TimestampTz time);

/// How long to sleep until `due`; nullopt: nobody will be.
std::chrono::milliseconds pause_until(std::optional<TimestampTz> due);

}  // namespace rolecall::sync
