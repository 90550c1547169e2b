#include "sync/job.h"

#include "core/backoff.h"
#include "pg/testing.h"
#include "sync/apply.h"
#include "sync/attribution.h"
#include "sync/clock.h"
#include "sync/log.h"
#include "sync/mapping.h"
#include "sync/process.h"
#include "sync/rules.h"
#include "sync/statistics.h"

namespace rolecall::sync {

namespace {

constexpr core::Backoff user_backoff{.first = 5 * USECS_PER_SEC, .most = 3600 * USECS_PER_SEC};
constexpr TimestampTz busy_pause = USECS_PER_SEC;  // a session is at this user

enum class End { applied, failed, given_back, stopped };

struct Settled {
    End end = End::given_back;
    Outcome outcome;
};

// What could not be applied is for later.
End hold_back(const Job& job, const Outcome& outcome, TimestampTz time) {
    const bool busy = outcome.hindrance == Hindrance::busy;
    put_back(job.claim.user.id, busy ? time + busy_pause : time);
    return !busy && stop_provider(job.provider->name, outcome.excess) ? End::stopped : End::given_back;
}

// Inside the transaction of settle().
Settled settle_job(Job& job) {
    const User& asked = job.claim.user;
    const TimestampTz time = now();
    ProviderUser said;
    if (job.error.empty())
        (void)run_in_subtransaction(
            [&] { said = understand(*job.provider, asked.institutional_id, job.answers); }, job.error);
    if (!job.error.empty()) {
        note_failed(job.claim, job.error, time);
        return {.end = End::failed, .outcome = {}};
    }
    if (!try_lock_user(asked.id) || !lock_provider(asked.provider, Sharing::with_others, Patience::none)) {
        put_back(asked.id, time + busy_pause);
        return {};
    }
    const std::optional<User> user = find_user(asked.id);
    if (!user)
        return {};
    // Somebody else's answer may be newer than ours, or the user be somebody else for the provider now.
    if (user->stopped || (user->last_sync && *user->last_sync > job.asked_at) ||
        !user->has_subject_of(asked)) {
        put_back(asked.id, time);
        return {};
    }
    if (said.unchanged && !keep_roles(*user, *job.provider, said)) {
        forget_version(asked.id);
        put_back(asked.id, time);
        return {};
    }
    const Attribution attribution(Cause::sync, "rolecall sync worker", user->provider, job.request_id);
    Settled settled{.end = End::applied,
                    .outcome = apply(*user, said, job.provider->rules, Patience::none, time,
                                     due_after(time, job.provider->ttl_seconds))};
    if (settled.outcome.no_unit_known)
        warn_of_unknown_units(user->id);
    if (settled.outcome.hindrance != Hindrance::none)
        settled.end = hold_back(job, settled.outcome, time);
    return settled;
}

void report(const Job& job, const Settled& settled) {
    if (settled.end == End::failed) {
        count_failure(job.provider->server, job.error);
        log_failure(job.claim.user, job.error, job.claim.attempts + 1);
    } else if (settled.end == End::applied) {
        count_sync(job.provider->server, settled.outcome.changed(),
                   std::chrono::steady_clock::now() - job.started);
        log_outcome(job.claim.user.id, settled.outcome);
    } else if (settled.end == End::stopped) {
        log_stop(job.provider->name, settled.outcome.excess);
    }
}

bool settle_together(std::span<const JobPtr> jobs, const std::function<void()>& meanwhile,
                     std::string& error) {
    std::vector<Settled> settled(jobs.size());
    const bool done = run_in_transaction(
        [&] {
            for (std::size_t i = 0; i < jobs.size(); ++i) {
                settled[i] = settle_job(*jobs[i]);
                meanwhile();
            }
            testing::point("sync-before-commit");
        },
        error);
    testing::point("sync-after-commit");
    for (std::size_t i = 0; done && i < jobs.size(); ++i)
        report(*jobs[i], settled[i]);
    return done;
}

// When not even the job's own transaction goes through, its failure is noted in another.
void settle_alone(const JobPtr& job) {
    if (settle_together(
            {&job, 1}, [] {}, job->error))
        return;
    std::string error;
    if (run_in_transaction([&] { note_failed(job->claim, job->error, now()); }, error))
        report(*job, {.end = End::failed, .outcome = {}});
    else
        log_failure(job->claim.user, error, job->claim.attempts + 1);
}

}  // namespace

void note_failed(const Claim& claim, const std::string& error, TimestampTz time) {
    note_failure(claim.user.id, error, time, time + user_backoff.full_jitter(claim.attempts + 1, chance()));
}

void settle(std::vector<JobPtr> jobs, const std::function<void()>& meanwhile) {
    std::string error;
    if (jobs.size() > 1 && settle_together(jobs, meanwhile, error))
        return;
    for (const JobPtr& job : jobs)
        settle_alone(job);
}

}  // namespace rolecall::sync
