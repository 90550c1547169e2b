#include "sync/job.h"

#include <map>
#include <unordered_set>

#include "core/backoff.h"
#include "pg/clock.h"
#include "pg/process.h"
#include "pg/testing.h"
#include "provider/mapping.h"
#include "provider/statistics.h"
#include "sync/apply.h"
#include "sync/attribution.h"
#include "sync/log.h"
#include "sync/overdue.h"
#include "sync/rules.h"
#include "sync/units.h"

extern "C" {
#include "utils/memutils.h"
}

namespace rolecall::sync {

namespace {

constexpr core::Backoff user_backoff{.first = 5 * USECS_PER_SEC,
                                     .most = longest_pause_seconds * USECS_PER_SEC};
constexpr std::size_t answers_between = 8;         // between two checks of the network
constexpr TimestampTz busy_pause = USECS_PER_SEC;  // a session is synchronizing this user
constexpr TimestampTz longest_hold_pause = 60 * USECS_PER_SEC;
constexpr TimestampTz hold_to_log = 10 * USECS_PER_SEC;
constexpr std::size_t most_held = 10'000;  // the maximum size of `holds`
constexpr TimestampTz careful_time = 60 * USECS_PER_SEC;

// How long another transaction has held a user; by steady_now().
struct Hold {
    TimestampTz since = 0;
    TimestampTz seen = 0;  // last time
    bool is_logged = false;
};

std::unordered_map<std::int64_t, Hold> holds;  // by user
TimestampTz careful_until = 0;                 // by steady_now(): set when another transaction held something

// How a batch treats what another transaction may hold.
struct Care {
    bool locks_first = false;             // locks rows first, and leaves out users that it cannot lock
    bool only_takes_away = false;         // what is to be granted is blocked by another transaction
    int lock_wait = pg::usual_lock_wait;  // milliseconds
};

enum class End { applied, failed, given_back, stopped };

struct Settled {
    End end = End::given_back;
    Outcome outcome;
};

// What could not be applied is put back for later.
End hold_back(const Job& job, const Outcome& outcome, TimestampTz time) {
    const bool busy = outcome.obstacle == Obstacle::busy;
    put_back(job.claim.user.id, busy ? after_hold(job.claim.user.id, time) : time);
    return !busy && stop_provider(job.provider->name, outcome.excess) ? End::stopped : End::given_back;
}

// Stores each answer, mapped, in `said`. A job whose answer cannot be used gets an error.
void understand_all(std::span<const JobPtr> jobs, std::span<provider::ProviderUser> said,
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
        if (!pg::run_in_subtransaction(understand_next, error))
            jobs[next++]->error = error;
    }
    pg::call([&] { MemoryContextDelete(scratch); });
}

// The jobs of one provider in a batch, and their results.
class Group {
 public:
    void add(Job& job, provider::ProviderUser& said, Settled& settled) {
        members_.push_back({.job = &job, .said = &said, .settled = &settled});
    }

    // Called inside the transaction of settle().
    void settle(const Care& care, const std::function<void()>& meanwhile) {
        time_ = pg::now();
        care_ = care;
        keep_if([&](BatchMember& member) { return is_understood(member); });
        std::unordered_set<std::int64_t> locked;
        keep_if([&](BatchMember& member) { return lock(member, locked); });
        if (members_.empty())
            return;
        std::vector<std::int64_t> ids(locked.begin(), locked.end());
        if (care.locks_first) {
            const std::unordered_set<std::int64_t> free = lock_rows(ids);
            keep_if([&](BatchMember& member) { return free.contains(id_of(member)) || give_back(member); });
        }
        auto users = find_users(ids);
        auto held = provider_grants(ids);
        std::vector<Sync> syncs;
        std::unordered_map<std::int64_t, std::string> request_ids;
        keep_if([&](BatchMember& member) {
            Job& job = *member.job;
            const auto user = users.find(job.claim.user.id);
            if (user == users.end())
                return false;
            Sync sync{.user = std::move(user->second),
                      .said = std::move(*member.said),
                      .held = std::move(held[job.claim.user.id]),
                      .next = due_after(time_, job.provider->ttl_seconds),
                      .only_takes_away = care.only_takes_away};
            if (!may_apply(job, sync))
                return false;
            syncs.push_back(std::move(sync));
            request_ids.emplace(job.claim.user.id, job.request_id);
            return true;
        });
        if (members_.empty())
            return;
        const provider::Provider& provider = *members_.front().job->provider;
        const Attribution attribution(Cause::sync, "rolecall sync worker", provider.name,
                                      std::move(request_ids));
        meanwhile();
        apply(syncs, provider.rules, LockWait::none, time_, meanwhile);
        meanwhile();
        for (std::size_t i = 0; i < members_.size(); ++i)
            note(members_[i], std::move(syncs[i].outcome));
    }

 private:
    struct BatchMember {
        Job* job;
        provider::ProviderUser* said;
        Settled* settled;
    };

    template <typename Predicate>
    void keep_if(Predicate&& stays) {
        std::erase_if(members_, [&](BatchMember& member) { return !stays(member); });
    }

    bool is_understood(BatchMember& member) const {
        if (member.job->error.empty())
            return true;
        forget_overdue(id_of(member));
        note_failed(member.job->claim, member.job->error, time_);
        member.settled->end = End::failed;
        return false;
    }

    bool lock(BatchMember& member, std::unordered_set<std::int64_t>& locked) const {
        const User& user = member.job->claim.user;
        if (!try_lock_user(user.id)) {
            put_back(user.id, after_other_sync(user.id, time_));
            return false;
        }
        forget_overdue(user.id);
        if (may_sync_beside_passes(user.provider, std::chrono::milliseconds(0)) &&
            locked.insert(user.id).second)
            return true;
        return give_back(member);
    }

    static std::int64_t id_of(const BatchMember& member) { return member.job->claim.user.id; }

    // Puts back a user that another transaction holds. Returns false: the user is no longer in the group.
    bool give_back(const BatchMember& member) const {
        put_back(id_of(member), after_hold(id_of(member), time_));
        return false;
    }

    bool may_apply(const Job& job, Sync& sync) const {
        const User& user = sync.user;
        // Another sync may have applied a newer answer, or the user may now have another subject or provider.
        const bool outdated = user.stopped || is_synced_since(user, job.asked_at, time_) ||
                              !user.has_subject_of(job.claim.user);
        if (!outdated && (!sync.said.unchanged || keep_roles(sync, *job.provider)))
            return true;
        if (!outdated)
            forget_version(user.id);
        put_back(user.id, time_);
        return false;
    }

    void note(BatchMember& member, Outcome outcome) const {
        Settled& settled = *member.settled;
        settled.end = End::applied;
        if (outcome.no_unit_known)
            warn_of_unknown_units(member.job->claim.user.id);
        if (outcome.obstacle != Obstacle::none)
            settled.end = hold_back(*member.job, outcome, time_);
        else if (care_.only_takes_away)
            give_back(member);
        else
            holds.erase(id_of(member));
        settled.outcome = std::move(outcome);
    }

    std::vector<BatchMember> members_;
    TimestampTz time_ = 0;
    Care care_;
};

void report(const Job& job, const Settled& settled) {
    if (settled.end == End::failed) {
        provider::count_failure(job.provider->server, job.error);
        log_failure(job.claim.user, job.error, job.claim.attempts + 1);
    } else if (settled.end == End::applied) {
        provider::count_sync(job.provider->server, settled.outcome.changed(),
                             std::chrono::steady_clock::now() - job.started);
        log_outcome(job.claim.user.id, settled.outcome);
    } else if (settled.end == End::stopped) {
        log_stop(job.provider->name, settled.outcome.excess);
    }
}

std::optional<pg::Failure> settle_together(std::span<const JobPtr> jobs, const Care& care,
                                           const std::function<void()>& meanwhile) {
    std::vector<Settled> settled(jobs.size());
    std::vector<provider::ProviderUser> said(jobs.size());
    std::optional<pg::Failure> failure = pg::transact_as_owner(
        [&] {
            understand_all(jobs, said, meanwhile);
            std::map<const provider::Provider*, Group> groups;
            for (std::size_t i = 0; i < jobs.size(); ++i)
                groups[jobs[i]->provider.get()].add(*jobs[i], said[i], settled[i]);
            for (auto& entry : groups)
                entry.second.settle(care, meanwhile);
            testing::point("sync-before-commit");
        },
        care.lock_wait);
    testing::point("sync-after-commit");
    for (std::size_t i = 0; !failure && i < jobs.size(); ++i)
        report(*jobs[i], settled[i]);
    return failure;
}

// Granting may have to wait for a role that another transaction is adding. Revoking must not wait for that.
std::optional<pg::Failure> settle_held(const JobPtr& job) {
    if (job->error.empty()) {
        const Care care{.locks_first = true, .only_takes_away = true, .lock_wait = pg::brief_lock_wait};
        std::optional<pg::Failure> again = settle_together({&job, 1}, care, [] {});
        if (!again || again->cancelled)
            return again;
    }
    const std::int64_t user = job->claim.user.id;
    return pg::transact_as_owner([&] { put_back(user, after_hold(user, pg::now())); }, pg::brief_lock_wait);
}

// If even the job's own transaction fails, the failure is recorded in another one. Returns false if
// cancelled.
bool settle_alone(const JobPtr& job) {
    std::optional<pg::Failure> failure =
        settle_together({&job, 1}, {.locks_first = true, .lock_wait = pg::brief_lock_wait}, [] {});
    if (failure && failure->held_up)
        failure = settle_held(job);
    if (!failure || failure->held_up)
        return true;
    if (failure->cancelled)
        return false;
    job->error = failure->message;
    failure =
        pg::transact_as_owner([&] { note_failed(job->claim, job->error, pg::now()); }, pg::brief_lock_wait);
    if (!failure)
        report(*job, {.end = End::failed, .outcome = {}});
    else
        log_failure(job->claim.user, failure->message, job->claim.attempts + 1);
    return !failure || !failure->cancelled;
}

}  // namespace

void note_failed(const Claim& claim, const std::string& error, TimestampTz time) {
    note_failure(claim.user.id, error, time,
                 time + user_backoff.full_jitter(claim.attempts + 1, pg::chance()));
}

std::size_t Job::bytes() const { return error.size() + answers.bytes; }

TimestampTz after_hold(std::int64_t user, TimestampTz time) {
    const TimestampTz now = pg::steady_now();
    if (holds.size() >= most_held)
        holds.clear();
    Hold& hold = holds[user];
    if (now - hold.seen > 2 * longest_hold_pause)
        hold = {.since = now};
    hold.seen = now;
    if (now - hold.since >= hold_to_log && !hold.is_logged) {
        hold.is_logged = true;
        log_held(user, (now - hold.since) / USECS_PER_SEC);
    }
    return time + std::clamp((now - hold.since) / 2, busy_pause, longest_hold_pause);
}

TimestampTz after_other_sync(std::int64_t user, TimestampTz time) {
    const TimestampTz retry_at = after_hold(user, time);
    note_overdue(user, holds[user].since, pg::steady_now() + retry_at - time);
    return retry_at;
}

bool settle(const std::vector<JobPtr>& jobs, const std::function<void()>& meanwhile) {
    if (jobs.size() > 1) {
        const bool careful = pg::steady_now() < careful_until;
        std::optional<pg::Failure> failure = settle_together(jobs, {.locks_first = careful}, meanwhile);
        if (failure && failure->held_up && !careful) {
            careful_until = pg::steady_now() + careful_time;
            failure = settle_together(jobs, {.locks_first = true}, meanwhile);
        }
        if (!failure)
            return true;
        if (failure->cancelled)
            return false;
    }
    return std::all_of(jobs.begin(), jobs.end(), settle_alone);
}

}  // namespace rolecall::sync
