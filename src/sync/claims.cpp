#include "sync/claims.h"

#include "pg/clock.h"
#include "pg/process.h"
#include "pg/settings.h"
#include "provider/statistics.h"
#include "sync/job.h"
#include "sync/overdue.h"

namespace rolecall::sync {

namespace {

using std::chrono::milliseconds;

constexpr std::int64_t inactive_at_once = 10'000;

// The lock is not kept after this transaction. It is taken again when there is something to apply.
bool is_free(std::int64_t user, TimestampTz time) {
    if (try_lock_user(user))
        return true;
    put_back(user, after_other_sync(user, time));
    return false;
}

}  // namespace

Configured configuration_of(const std::string& name) {
    Configured configured;
    (void)pg::run_in_subtransaction(
        [&] {
            configured.provider = std::make_shared<const provider::Provider>(provider::read_provider(name));
        },
        configured.error);
    return configured;
}

TimestampTz active_since_of(const provider::Provider& provider, TimestampTz time) {
    return provider.active_seconds == 0 ? DT_NOBEGIN : pg::after_seconds(time, -provider.active_seconds);
}

bool adjust_scope(const std::string& provider, TimestampTz time, TimestampTz active_since) {
    if (active_since == DT_NOBEGIN) {
        wake_up(provider, time, inactive_at_once);
        return true;
    }
    return put_inactive_to_sleep(provider, time, active_since, inactive_at_once) < inactive_at_once;
}

bool is_worth_asking(const Claim& claim, const Configured& configured, TimestampTz time) {
    if (configured.provider == nullptr) {
        note_failed(claim, configured.error, time);
        return false;
    }
    if (claim.forced || claim.due || !is_fresh(claim.user, configured.provider->ttl_seconds, time))
        return is_free(claim.user.id, time);
    drop_request(claim.user.id);
    forget_overdue(claim.user.id);
    provider::count_sync(configured.provider->server, provider::SyncCount::skipped);
    return false;
}

milliseconds pause_until(std::optional<TimestampTz> due) {
    const milliseconds nap(settings::sync_naptime);
    const TimestampTz time = pg::now();
    if (due && *due <= time)  // for example -infinity
        return nap;
    if (!due || *due > time + longest_sleep.count() * 1000)
        return std::max(nap, longest_sleep);
    return std::max(nap, milliseconds((*due - time) / 1000 + 1));
}

}  // namespace rolecall::sync
