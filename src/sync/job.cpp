#include "sync/job.h"

#include <map>
#include <unordered_set>

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
#include "sync/units.h"

extern "C" {
#include "utils/memutils.h"
}

namespace rolecall::sync {

namespace {

constexpr core::Backoff user_backoff{.first = 5 * USECS_PER_SEC, .most = 3600 * USECS_PER_SEC};
constexpr std::size_t answers_between = 8;         // one look at the network and the next
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

// What the providers said, each in `said`. A job whose answer cannot be understood gets its error.
void understand_all(std::span<const JobPtr> jobs, std::span<ProviderUser> said,
                    const std::function<void()>& meanwhile) {
    MemoryContext caller = CurrentMemoryContext;
    MemoryContext scratch = pg::call([&] {
        return AllocSetContextCreate(caller, "rolecall answer of a provider", ALLOCSET_DEFAULT_SIZES);
    });
    std::size_t next = 0;
    const auto understand_next = [&] {
        for (; next < jobs.size(); ++next) {
            Job& job = *jobs[next];
            if (!job.error.empty())
                continue;
            pg::call([&] { MemoryContextReset(scratch); });
            MemoryContextSwitchTo(scratch);
            said[next] = understand(*job.provider, job.claim.user.institutional_id, job.answers);
            MemoryContextSwitchTo(caller);
            if (next % answers_between == 0)
                meanwhile();
        }
    };
    while (next < jobs.size()) {
        std::string error;
        if (!run_in_subtransaction(understand_next, error))
            jobs[next++]->error = error;
    }
    pg::call([&] { MemoryContextDelete(scratch); });
}

// The jobs of one batch that are one provider's, and what comes of each.
class Group {
 public:
    void add(Job& job, ProviderUser& said, Settled& settled) {
        members_.push_back({.job = &job, .said = &said, .settled = &settled});
    }

    // Inside the transaction of settle().
    void settle(const std::function<void()>& meanwhile) {
        time_ = now();
        keep_if([&](Member& member) { return is_understood(member); });
        std::unordered_set<std::int64_t> locked;
        keep_if([&](Member& member) { return lock(member, locked); });
        if (members_.empty())
            return;
        std::vector<std::int64_t> ids(locked.begin(), locked.end());
        auto users = find_users(ids);
        auto held = provider_grants(ids);
        std::vector<Sync> syncs;
        std::unordered_map<std::int64_t, std::string> request_ids;
        keep_if([&](Member& member) {
            Job& job = *member.job;
            const auto user = users.find(job.claim.user.id);
            if (user == users.end())
                return false;
            Sync sync{.user = std::move(user->second),
                      .said = std::move(*member.said),
                      .held = std::move(held[job.claim.user.id]),
                      .next = due_after(time_, job.provider->ttl_seconds)};
            if (!may_apply(job, sync))
                return false;
            syncs.push_back(std::move(sync));
            request_ids.emplace(job.claim.user.id, job.request_id);
            return true;
        });
        if (members_.empty())
            return;
        const Provider& provider = *members_.front().job->provider;
        const Attribution attribution(Cause::sync, "rolecall sync worker", provider.name,
                                      std::move(request_ids));
        meanwhile();
        apply(syncs, provider.rules, Patience::none, time_, meanwhile);
        meanwhile();
        for (std::size_t i = 0; i < members_.size(); ++i)
            note(members_[i], std::move(syncs[i].outcome));
    }

 private:
    struct Member {
        Job* job;
        ProviderUser* said;
        Settled* settled;
    };

    template <typename Predicate>
    void keep_if(Predicate&& stays) {
        std::erase_if(members_, [&](Member& member) { return !stays(member); });
    }

    bool is_understood(Member& member) const {
        if (member.job->error.empty())
            return true;
        note_failed(member.job->claim, member.job->error, time_);
        member.settled->end = End::failed;
        return false;
    }

    bool lock(Member& member, std::unordered_set<std::int64_t>& locked) const {
        const User& user = member.job->claim.user;
        if (try_lock_user(user.id) && lock_provider(user.provider, Sharing::with_others, Patience::none) &&
            locked.insert(user.id).second)
            return true;
        put_back(user.id, time_ + busy_pause);
        return false;
    }

    bool may_apply(const Job& job, Sync& sync) const {
        const User& user = sync.user;
        // Somebody else's answer may be newer than ours, or the user be somebody else for the provider now.
        const bool outdated = user.stopped || (user.last_sync && *user.last_sync > job.asked_at) ||
                              !user.has_subject_of(job.claim.user);
        if (!outdated && (!sync.said.unchanged || keep_roles(sync, *job.provider)))
            return true;
        if (!outdated)
            forget_version(user.id);
        put_back(user.id, time_);
        return false;
    }

    void note(Member& member, Outcome outcome) const {
        Settled& settled = *member.settled;
        settled.end = End::applied;
        if (outcome.no_unit_known)
            warn_of_unknown_units(member.job->claim.user.id);
        if (outcome.hindrance != Hindrance::none)
            settled.end = hold_back(*member.job, outcome, time_);
        settled.outcome = std::move(outcome);
    }

    std::vector<Member> members_;
    TimestampTz time_ = 0;
};

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
    std::vector<ProviderUser> said(jobs.size());
    const bool done = run_in_transaction(
        [&] {
            understand_all(jobs, said, meanwhile);
            std::map<const Provider*, Group> groups;
            for (std::size_t i = 0; i < jobs.size(); ++i)
                groups[jobs[i]->provider.get()].add(*jobs[i], said[i], settled[i]);
            for (auto& entry : groups)
                entry.second.settle(meanwhile);
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
