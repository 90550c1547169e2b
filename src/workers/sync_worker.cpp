#include "workers/sync_worker.h"

#include <cmath>
#include <map>

#include "core/error.h"
#include "http/fetcher.h"
#include "pg/clock.h"
#include "pg/process.h"
#include "pg/settings.h"
#include "pg/testing.h"
#include "pg/version.h"
#include "provider/fetch.h"
#include "provider/home.h"
#include "provider/statistics.h"
#include "sync/attribution.h"
#include "sync/claims.h"
#include "sync/job.h"
#include "sync/log.h"
#include "sync/subscriber.h"
#include "workers/lines.h"
#include "workers/maintenance.h"
#include "workers/registry.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
}

namespace rolecall::workers {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds pause_after_error{5'000};
constexpr milliseconds longest_hold{5};
constexpr TimestampTz lease_margin = 60 * USECS_PER_SEC;  // in addition to the longest time of the requests
constexpr TimestampTz requests_before_done = 3;           // two others may be in line before a user's own
constexpr std::int64_t missing_users_at_once = 10'000;
constexpr std::int64_t corrected_at_once = 10'000;
constexpr TimestampTz longest_turn = 10 * USECS_PER_SEC;  // in the line of the rate limit
constexpr auto clean_up_every = std::chrono::minutes(1);
constexpr auto missing_users_every = std::chrono::minutes(10);

pg::WaitEvent wait_for_work{"RolecallWorkerMain"};

class Worker {
 public:
    explicit Worker(const WorkerSlot& place)
        : place_(place),
          claimer_{.index = place.index, .started = place.started},
          fetcher_(provider::make_transport()) {}

    /// Runs until the worker must leave, or until there is nothing to do in this database.
    void run() {
        while (true) {
            if (pg::reload_if_asked())
                next_claim_ = next_clean_up_ = Clock::now();
            if (pg::told_to_leave() || !may_stay(place_) || place_.index >= settings::sync_workers)
                break;
            if (pg::was_cancelled())
                abandon_round();
            if (Clock::now() >= next_claim_)
                fill_queue();
            if (!wanted_) {
                give_all_back();
                note_exit_reason(ExitReason::nothing_to_do);
                return;
            }
            clean_up();
            go_on_fetching();
            give_back();
            if (is_time_to_settle())
                settle_finished();
            else
                rest();
        }
        give_all_back();
        note_exit_reason(ExitReason::asked);
    }

 private:
    // ---- Claims

    void fill_queue() {
        begin_look(place_);
        std::vector<sync::JobPtr> jobs;
        std::optional<TimestampTz> due;
        bool took = false;
        pgstat_report_activity(STATE_RUNNING, "looking for users to synchronize");
        const std::optional<pg::Failure> failure =
            pg::transact_as_owner([&] { took = take_claims(jobs, due); });
        const bool done = !failure;
        if (!done)
            jobs.clear();
        note_look(failure);
        testing::point("sync-claimed");
        for (sync::JobPtr& job : jobs)
            lines_.of(*job->provider).waiting.push_back(std::move(job));
        next_claim_ = Clock::now() + (!done  ? pause_after_error
                                      : took ? milliseconds(0)
                                             : sync::pause_until(due));
    }

    // While a table is locked, logs this once only.
    void note_look(const std::optional<pg::Failure>& failure) {
        if (failure && !(failure->held_up && is_held_up_))
            pg::call([&] {
                ereport(LOG,
                        (errmsg("could not look for users to synchronize: %s", failure->message.c_str())));
            });
        is_held_up_ = failure && failure->held_up;
    }

    // A database that was restored or copied is left unchanged. This logs once why no provider is called from
    // it.
    void note_calls(std::string why_not) {
        if (why_not != why_not_ && !why_not.empty())
            pg::call([&] {
                ereport(LOG, (errmsg("no provider is called from database \"%s\"",
                                     get_database_name(MyDatabaseId)),
                              errdetail("%s", why_not.c_str()),
                              errhint("Call rolecall.allow_providers() in it if it is to call them.")));
            });
        why_not_ = std::move(why_not);
    }

    // Called inside a transaction. Returns true if users were taken, even if none must be asked for.
    // Otherwise `due` is when to check again.
    bool take_claims(std::vector<sync::JobPtr>& jobs, std::optional<TimestampTz>& due) {
        wanted_ = pg::call([] {
            return settings::worker && OidIsValid(get_extension_oid("rolecall", true)) &&
                   !sync::is_left_to_publisher();
        });
        if (!wanted_)
            return false;
        const TimestampTz time = pg::now();
        const std::optional<std::string> why_not = provider::why_no_calls();
        may_call_ = !why_not;
        note_calls(why_not.value_or(""));
        if (!may_call_)
            return false;
        const bool corrects = Clock::now() >= next_correction_;
        if (corrects)
            next_correction_ = Clock::now() + clean_up_every;
        if (Clock::now() >= next_look_for_missing_) {
            next_look_for_missing_ = Clock::now() + missing_users_every;
            (void)sync::add_missing_users(time, missing_users_at_once);
        }
        sync::take_requests();
        if (sync::has_requests())
            due = DT_NOBEGIN;
        bool took = false;
        const auto look_at = [&](std::optional<TimestampTz> next) {
            if (next)
                due = std::min(*next, due.value_or(*next));
        };
        for (const std::string& name : sync::queued_providers()) {
            go_on_fetching();
            const sync::Configured configured = sync::configuration_of(name);
            std::int64_t room = settings::sync_batch_size;
            TimestampTz lease = lease_margin;
            TimestampTz active_since = DT_NOBEGIN;
            if (configured.provider != nullptr) {
                if (!sync::may_sync_beside_passes(name, milliseconds(0))) {
                    look_at(time + USECS_PER_SEC);
                    continue;
                }
                if (corrects)
                    (void)sync::correct_times(name, time, configured.provider->ttl_seconds,
                                              corrected_at_once);
                const TimestampTz next = provider::may_ask_next(configured.provider->server, time);
                if (next > time) {
                    look_at(next);
                    continue;
                }
                active_since = sync::active_since_of(*configured.provider, time);
                if (!sync::adjust_scope(name, time, active_since)) {
                    took = true;
                    continue;
                }
                testing::point("sync-scope-adjusted");
                Line& line = lines_.of(*configured.provider);
                const auto waiting = static_cast<std::int64_t>(line.waiting.size());
                const std::int64_t depth = line_depth(*configured.provider);
                line.is_full = 2 * waiting >= depth;
                if (line.is_full)
                    continue;  // enough for now; the queue is checked again after some requests are made
                lease +=
                    requests_before_done * std::chrono::microseconds(configured.provider->timeout).count() +
                    longest_turn;
                room = provider::is_to_be_probed(configured.provider->server)
                           ? 1
                           : std::min(room, 2 * depth - waiting);
            }
            std::vector<sync::Claim> claims =
                sync::claim(claimer_, name, time, time + lease, active_since, room);
            if (claims.empty())
                look_at(sync::next_due(name));
            took |= !claims.empty();
            for (sync::Claim& claim : claims) {
                if (!sync::is_worth_asking(claim, configured, time))
                    continue;
                auto job = std::make_unique<sync::Job>();
                job->provider = configured.provider;
                job->subject = provider::in_utf8(claim.user.institutional_id);
                job->claim = std::move(claim);
                jobs.push_back(std::move(job));
            }
        }
        // Check again, because users may have been restored since the first check. A transaction that sees
        // restored users also sees that they were restored.
        if (const auto why = took ? provider::why_no_calls() : std::nullopt)
            throw provider::no_calls_error(*why);
        return took;
    }

    // Returns half the number of users that may wait to be requested: as many as are soon requested, so that
    // no lease expires before that.
    static std::int64_t line_depth(const provider::Provider& provider) {
        const double soon = provider.rate_limit > 0 ? provider.rate_limit * 5 : provider.max_in_flight;
        return std::clamp<std::int64_t>(std::lround(soon), 1, provider.max_in_flight);
    }

    // Does a limited amount of cleaning between other work.
    void clean_up() {
        if (Clock::now() < next_clean_up_)
            return;
        const auto began = Clock::now();
        const bool more = may_call_ && clean(place_.index == 0);
        // However much there is to clean up, a worker spends only a small part of its time on it.
        const auto pause = std::max<Clock::duration>(clean_up_every, 20 * (Clock::now() - began));
        next_clean_up_ = Clock::now() + (more ? Clock::duration(0) : pause);
    }

    // ---- Fetches

    void start_fetches() {
        next_start_ = Clock::time_point::max();
        for (auto& [server, line] : lines_.all())
            start_fetches_of(line);
    }

    void start_fetches_of(Line& line) {
        while (!line.waiting.empty()) {
            const provider::Provider& provider = *line.waiting.front()->provider;
            if (line.asked >= provider.max_in_flight || !lines_.has_room(line))
                return;
            const TimestampTz time = pg::now();
            TimestampTz when = time;
            // Sessions wait in the same line. A worker that only checked whether the line is empty might
            // never get a turn.
            provider::Permission permission = provider::Permission::yes;
            if (line.turn)
                when = std::min(*std::exchange(line.turn, std::nullopt), time + longest_turn);
            else
                permission = provider::ask_in_turn(provider::asking(provider), time, longest_turn, when);
            if (permission == provider::Permission::later ||
                (permission == provider::Permission::yes && when > time)) {
                if (permission == provider::Permission::yes)
                    line.turn = when;
                next_start_ = std::min(next_start_, Clock::now() + std::chrono::microseconds(when - time));
                return;
            }
            sync::JobPtr job = std::move(line.waiting.front());
            line.waiting.pop_front();
            if (line.is_full && 2 * std::ssize(line.waiting) < line_depth(provider)) {
                line.is_full = false;
                next_claim_ = Clock::now();
            }
            if (permission == provider::Permission::yes)
                start(std::move(job));
            else
                refused_.push_back(std::move(job));
        }
    }

    void start(sync::JobPtr job) {
        const provider::Provider& provider = *job->provider;
        sync::log_start(job->claim.user);
        job->asked_at = pg::now();
        job->request_id = sync::new_request_id();
        job->started = Clock::now();
        provider::count_in_flight(provider.server, 1);
        ++lines_.of(provider).asked;
        const http::Validators known =
            job->claim.forced ? http::Validators() : job->claim.user.version.validators;
        try {
            const http::FetchId id =
                fetcher_.start(provider::requests_for(provider, job->subject, known, job->request_id));
            in_flight_[id] = std::move(job);
            return;
        } catch (const Error& error) {
            job->error = error.message();
        } catch (const std::exception& error) {
            job->error = error.what();
        }
        finish(std::move(job));
    }

    void collect() {
        for (http::Fetched& fetched : fetcher_.advance()) {
            sync::JobPtr job = std::move(in_flight_.extract(fetched.id).mapped());
            try {
                provider::judge(*job->provider, fetched, job->claim.user.institutional_id);
            } catch (const Error& error) {
                job->error = error.summary();
            }
            job->answers = provider::answers_of(*job->provider, std::move(fetched));
            finish(std::move(job));
        }
    }

    // Called before each wait, and now and then during writes, because each answer makes room for a request.
    void go_on_fetching() {
        collect();
        start_fetches();
    }

    void finish(sync::JobPtr job) {
        provider::count_in_flight(job->provider->server, -1);
        if (lines_.finished() == 0)
            settle_at_ = Clock::now() + longest_hold;
        lines_.finish(std::move(job));
    }

    void give_back() {
        if (refused_.empty())
            return;
        const std::vector<sync::JobPtr> jobs = std::exchange(refused_, {});
        (void)pg::transact_as_owner([&] {
            for (const sync::JobPtr& job : jobs)
                sync::put_back(job->claim.user.id, provider::may_ask_next(job->provider->server, pg::now()));
        });
    }

    // Puts all users that this worker holds, from claim to settling, back into the queue unchanged.
    void give_all_back() {
        std::vector<std::int64_t> users;
        const auto take = [&](const sync::JobPtr& job) { users.push_back(job->claim.user.id); };
        for (auto& [server, line] : lines_.all()) {
            std::for_each(line.waiting.begin(), line.waiting.end(), take);
            std::for_each(line.finished.begin(), line.finished.end(), take);
        }
        for (auto& [id, job] : in_flight_) {
            fetcher_.cancel(id);
            provider::report_abandoned(job->provider->server, pg::now());
            provider::count_in_flight(job->provider->server, -1);
            take(job);
        }
        std::for_each(refused_.begin(), refused_.end(), take);
        lines_.clear();
        in_flight_.clear();
        refused_.clear();
        if (!users.empty())
            (void)pg::transact_as_owner([&] { sync::put_all_back(claimer_, users); });
    }

    // pg_cancel_backend() cancels the work in progress, not the worker.
    void abandon_round() {
        give_all_back();
        pg::call([] { ereport(LOG, (errmsg("a round of syncs was cancelled"))); });
        next_claim_ = Clock::now() + pause_after_error;
    }

    // Finished jobs wait for others for a while, so that they share the cost of a transaction.
    bool is_time_to_settle() const {
        return lines_.finished() > 0 &&
               (in_flight_.empty() ||
                lines_.finished() >= static_cast<std::size_t>(settings::sync_batch_size) ||
                lines_.finished_bytes() >= bytes_to_settle || Clock::now() >= settle_at_);
    }

    void settle_finished() {
        testing::point("sync-fetched");
        const auto began = Clock::now();
        std::vector<sync::JobPtr> batch =
            lines_.next_batch(static_cast<std::size_t>(settings::sync_batch_size));
        const std::string activity = "synchronizing " + std::to_string(batch.size()) + " users";
        pgstat_report_activity(STATE_RUNNING, activity.c_str());
        if (!sync::settle(batch, [this] { go_on_fetching(); })) {
            std::move(batch.begin(), batch.end(), std::back_inserter(refused_));
            abandon_round();
            return;
        }
        lines_.settled(batch.size(), Clock::now() - began);
        next_claim_ = Clock::now();  // the settled users may be due again before all others
    }

    // ---- Waiting

    void rest() {
        const Clock::time_point settle = lines_.finished() == 0 ? Clock::time_point::max() : settle_at_;
        const Clock::time_point wake = std::min({next_claim_, next_clean_up_, next_start_, settle});
        const auto left = std::chrono::ceil<milliseconds>(wake - Clock::now()).count();
        if (left > 0 && !may_sleep(place_, pg::now() + left * 1000)) {
            next_claim_ = Clock::now();
            return;
        }
        if (!in_flight_.empty()) {
            const std::string activity =
                "waiting for " + std::to_string(in_flight_.size()) + " answers of providers";
            pgstat_report_activity(STATE_RUNNING, activity.c_str());
            const milliseconds until_start = std::chrono::ceil<milliseconds>(
                std::min({next_start_, settle, Clock::now() + sync::longest_sleep}) - Clock::now());
            const milliseconds most = std::clamp(until_start, milliseconds(0), fetcher_.timeout());
            pg::wait_for_latch(static_cast<long>(most.count()), fetcher_.fd(), pg::wait_for_answer);
            return;
        }
        if (left <= 0)
            return;
        pgstat_report_activity(STATE_IDLE, nullptr);
        pg::wait_for_latch(static_cast<long>(left), -1, wait_for_work);
    }

    WorkerSlot place_;
    sync::Claimer claimer_;
    http::Fetcher fetcher_;
    bool wanted_ = true;
    Clock::time_point next_claim_;
    Clock::time_point next_clean_up_;
    Clock::time_point next_start_ = Clock::time_point::max();  // when the rate limit allows the next request
    Clock::time_point next_look_for_missing_;
    Clock::time_point next_correction_;  // of times that were written with a wrong clock
    bool is_held_up_ = false;            // whether the last check of the queue was blocked by a lock
    bool may_call_ = false;              // whether providers may be called and anything changed
    std::string why_not_;

    Lines lines_;
    std::map<http::FetchId, sync::JobPtr> in_flight_;  // requested
    Clock::time_point settle_at_;                      // the latest time to settle, if any job is finished
    std::vector<sync::JobPtr> refused_;                // must not be requested now; to be put back
};

// Returns whether there is work for a worker in this database.
bool is_worth_staying() {
    return pg::call([] {
        StartTransactionCommand();
        bool wanted = settings::worker && OidIsValid(get_extension_oid("rolecall", true));
        if (wanted && sync::is_left_to_publisher()) {
            ereport(DEBUG1, (errmsg("users of database \"%s\" are those of a subscription",
                                    get_database_name(MyDatabaseId))));
            wanted = false;
        }
        if (wanted && !pg::sql_is_current()) {
            pg::warn_of_other_sql("No worker synchronizes its users.");
            wanted = false;
        }
        if (wanted)
            ereport(LOG, (errmsg("rolecall sync worker started in database \"%s\"",
                                 get_database_name(MyDatabaseId))));
        CommitTransactionCommand();
        return wanted;
    });
}

}  // namespace

}  // namespace rolecall::workers

using namespace rolecall;
using namespace rolecall::workers;

void rolecall_worker_main(Datum argument) {
    pg::process_init([] { note_exit_reason(ExitReason::asked); });
    WorkerSlot place{};
    if (!enter(DatumGetInt32(argument), place))
        proc_exit(0);
    BackgroundWorkerInitializeConnectionByOid(place.database, InvalidOid, 0);
    pg::pin_settings();
    pg::guarded([&] {
        (void)pg::reload_if_asked();
        if (!may_stay(place))
            note_exit_reason(ExitReason::asked);
        else if (!is_worth_staying())
            note_exit_reason(ExitReason::nothing_to_do);
        else
            Worker(place).run();
    });
    proc_exit(0);
}
