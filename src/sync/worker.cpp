#include "sync/worker.h"

#include <cmath>
#include <deque>
#include <map>

#include "core/error.h"
#include "pg/settings.h"
#include "pg/testing.h"
#include "pg/version.h"
#include "provider/fetcher.h"
#include "sync/attribution.h"
#include "sync/cleaning.h"
#include "sync/clock.h"
#include "sync/fetch.h"
#include "sync/job.h"
#include "sync/log.h"
#include "sync/process.h"
#include "sync/roster.h"
#include "sync/statistics.h"
#include "sync/subscriber.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
}

namespace rolecall::sync {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds longest_sleep{60'000};
constexpr milliseconds pause_after_error{5'000};
constexpr milliseconds longest_hold{5};
constexpr std::size_t batch_bytes = std::size_t{1} << 20;  // of answers that are applied in one transaction
constexpr std::size_t most_bytes = 16 * batch_bytes;  // of those that wait for it, before more is asked for
constexpr TimestampTz lease_margin = 60 * USECS_PER_SEC;  // beyond the time that requests may take
constexpr TimestampTz requests_before_done = 3;           // two may be in line before a user's own
constexpr std::int64_t missing_users_at_once = 10'000;
constexpr std::int64_t inactive_at_once = 10'000;
constexpr auto clean_up_every = std::chrono::minutes(1);
constexpr auto missing_users_every = std::chrono::minutes(10);

pg::WaitEvent wait_for_work{"RolecallWorkerMain"};

class Worker {
 public:
    explicit Worker(const Place& place)
        : place_(place),
          claimer_{.index = place.index, .started = place.started},
          fetcher_(make_transport()) {}

    /// Until somebody tells it to leave, or there is nothing here to do.
    void run() {
        while (true) {
            if (reload_if_asked())
                next_claim_ = next_clean_up_ = Clock::now();
            if (told_to_leave() || !may_stay(place_) || place_.index >= settings::sync_workers)
                break;
            if (Clock::now() >= next_claim_)
                fill_queue();
            if (!wanted_) {
                note_leaving(Leaving::nothing_to_do);
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
        note_leaving(Leaving::asked);
    }

 private:
    // ---- Claims
    // --------------------------------------------------------------------------------------------

    void fill_queue() {
        begin_look(place_);
        std::vector<JobPtr> jobs;
        std::optional<TimestampTz> due;
        bool took = false;
        std::string error;
        pgstat_report_activity(STATE_RUNNING, "looking for users to synchronize");
        const bool done = run_in_transaction([&] { took = take_claims(jobs, due); }, error);
        if (!done) {
            jobs.clear();
            pg::call([&] {
                ereport(LOG, (errmsg("could not look for users to synchronize: %s", error.c_str())));
            });
        }
        testing::point("sync-claimed");
        for (JobPtr& job : jobs)
            lines_[job->provider->server].waiting.push_back(std::move(job));
        next_claim_ = Clock::now() + (!done ? pause_after_error : took ? milliseconds(0) : pause_until(due));
    }

    struct Configured {
        std::shared_ptr<const Provider> provider;  // nullptr: misconfigured
        std::string error;
    };

    // Inside a transaction. True: users were taken, whatever came of it; otherwise `due` says when to look
    // again.
    bool take_claims(std::vector<JobPtr>& jobs, std::optional<TimestampTz>& due) {
        wanted_ = pg::call([] {
            return settings::worker && OidIsValid(get_extension_oid("rolecall", true)) &&
                   !is_left_to_publisher();
        });
        if (!wanted_)
            return false;
        const TimestampTz time = now();
        if (Clock::now() >= next_look_for_missing_) {
            next_look_for_missing_ = Clock::now() + missing_users_every;
            (void)add_missing_users(time, missing_users_at_once);
        }
        take_requests();
        if (has_requests())
            due = DT_NOBEGIN;
        bool took = false;
        const auto look_at = [&](std::optional<TimestampTz> next) {
            if (next)
                due = std::min(*next, due.value_or(*next));
        };
        for (const std::string& name : queued_providers()) {
            go_on_fetching();
            const Configured configured = configuration_of(name);
            std::int64_t room = settings::sync_batch_size;
            TimestampTz lease = lease_margin;
            TimestampTz active_since = DT_NOBEGIN;
            if (configured.provider != nullptr) {
                const TimestampTz next = may_ask_next(configured.provider->server, time);
                if (next > time) {
                    look_at(next);
                    continue;
                }
                active_since = active_since_of(*configured.provider, time);
                if (!adjust_scope(name, time, active_since)) {
                    took = true;
                    continue;
                }
                testing::point("sync-scope-adjusted");
                Line& line = line_of(*configured.provider);
                const auto waiting = static_cast<std::int64_t>(line.waiting.size());
                const std::int64_t depth = line_depth(*configured.provider);
                line.is_full = 2 * waiting >= depth;
                if (line.is_full)
                    continue;  // enough for now; when some are asked for we look again
                lease +=
                    requests_before_done * std::chrono::microseconds(configured.provider->timeout).count();
                room = is_to_be_probed(configured.provider->server) ? 1 : std::min(room, 2 * depth - waiting);
            }
            std::vector<Claim> claims = claim(claimer_, name, time, time + lease, active_since, room);
            if (claims.empty())
                look_at(next_due(name));
            took |= !claims.empty();
            for (Claim& claim : claims) {
                if (!is_worth_asking(claim, configured, time))
                    continue;
                auto job = std::make_unique<Job>();
                job->provider = configured.provider;
                job->subject = in_utf8(claim.user.institutional_id);
                job->claim = std::move(claim);
                jobs.push_back(std::move(job));
            }
        }
        return took;
    }

    // Keeps inactive users out of the queue where the provider wants that. False: there are more of them.
    static bool adjust_scope(const std::string& provider, TimestampTz time, TimestampTz active_since) {
        if (active_since == DT_NOBEGIN) {
            wake_up(provider, time, inactive_at_once);
            return true;
        }
        return put_inactive_to_sleep(provider, time, active_since, inactive_at_once) < inactive_at_once;
    }

    // -infinity: everybody.
    static TimestampTz active_since_of(const Provider& provider, TimestampTz time) {
        return provider.active_seconds == 0 ? DT_NOBEGIN : time - provider.active_seconds * USECS_PER_SEC;
    }

    // How many may wait to be asked for, half of it: what is soon under way, so that no lease runs out
    // before.
    static std::int64_t line_depth(const Provider& provider) {
        const double soon = provider.rate_limit > 0 ? provider.rate_limit * 5 : provider.max_in_flight;
        return std::clamp<std::int64_t>(std::lround(soon), 1, provider.max_in_flight);
    }

    // A request that finds the roles fresh needs nothing; a user whose provider is misconfigured has failed
    // already.
    static bool is_worth_asking(const Claim& claim, const Configured& configured, TimestampTz time) {
        if (configured.provider == nullptr) {
            note_failed(claim, configured.error, time);
            return false;
        }
        if (claim.forced || claim.due || !is_fresh(claim.user, configured.provider->ttl_seconds, time))
            return true;
        drop_request(claim.user.id);
        count_sync(configured.provider->server, SyncCount::skipped);
        return false;
    }

    // As it is in this round.
    static Configured configuration_of(const std::string& name) {
        Configured configured;
        (void)run_in_subtransaction(
            [&] { configured.provider = std::make_shared<const Provider>(read_provider(name)); },
            configured.error);
        return configured;
    }

    static milliseconds pause_until(std::optional<TimestampTz> due) {
        const milliseconds nap(settings::sync_naptime);
        const TimestampTz time = now();
        if (due && *due <= time)  // -infinity, for one
            return nap;
        if (!due || *due > time + longest_sleep.count() * 1000)
            return std::max(nap, longest_sleep);
        return std::max(nap, milliseconds((*due - time) / 1000 + 1));
    }

    // Between other work, some at a time.
    void clean_up() {
        if (Clock::now() < next_clean_up_)
            return;
        const auto began = Clock::now();
        const bool more = clean(place_.index == 0);
        // However much there is to look through, it is not what a worker spends its time on.
        const auto pause = std::max<Clock::duration>(clean_up_every, 20 * (Clock::now() - began));
        next_clean_up_ = Clock::now() + (more ? Clock::duration(0) : pause);
    }

    // ---- Fetches
    // -------------------------------------------------------------------------------------------

    // Users of one provider, who wait for nobody else's.
    struct Line {
        std::deque<JobPtr> waiting;  // claimed, not yet asked for
        bool is_full = false;        // there may be more to claim
        int asked = 0;               // requests under way
    };

    Line& line_of(const Provider& provider) { return lines_[provider.server]; }

    void start_fetches() {
        next_start_ = Clock::time_point::max();
        for (auto& [server, line] : lines_)
            start_fetches_of(line);
    }

    void start_fetches_of(Line& line) {
        while (!line.waiting.empty()) {
            const Provider& provider = *line.waiting.front()->provider;
            if (line.asked >= provider.max_in_flight || bytes_ >= most_bytes)
                return;
            const TimestampTz time = now();
            TimestampTz when = time;
            const Answer answer = may_ask(asking(provider), time, when);
            if (answer == Answer::later) {
                next_start_ = std::min(next_start_, Clock::now() + std::chrono::microseconds(when - time));
                return;
            }
            JobPtr job = std::move(line.waiting.front());
            line.waiting.pop_front();
            if (line.is_full && 2 * std::ssize(line.waiting) < line_depth(provider)) {
                line.is_full = false;
                next_claim_ = Clock::now();
            }
            if (answer == Answer::yes)
                start(std::move(job));
            else
                refused_.push_back(std::move(job));
        }
    }

    void start(JobPtr job) {
        const Provider& provider = *job->provider;
        log_start(job->claim.user);
        job->asked_at = now();
        job->request_id = new_request_id();
        job->started = Clock::now();
        count_in_flight(provider.server, 1);
        ++line_of(provider).asked;
        const provider::Validators known =
            job->claim.forced ? provider::Validators() : job->claim.user.version.validators;
        try {
            const provider::FetchId id =
                fetcher_.start(requests_for(provider, job->subject, known, job->request_id));
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
        for (provider::Fetched& fetched : fetcher_.advance()) {
            JobPtr job = std::move(in_flight_.extract(fetched.id).mapped());
            try {
                judge(*job->provider, fetched);
            } catch (const Error& error) {
                job->error = error.summary();
            }
            job->answers = answers_of(*job->provider, std::move(fetched));
            finish(std::move(job));
        }
    }

    // Before each wait, and now and then while we write: answers make room for requests.
    void go_on_fetching() {
        collect();
        start_fetches();
    }

    void finish(JobPtr job) {
        count_in_flight(job->provider->server, -1);
        --line_of(*job->provider).asked;
        if (finished_.empty())
            settle_at_ = Clock::now() + longest_hold;
        bytes_ += job->answers.bytes;
        finished_.push_back(std::move(job));
    }

    void give_back() {
        if (refused_.empty())
            return;
        const std::vector<JobPtr> jobs = std::exchange(refused_, {});
        std::string error;
        (void)run_in_transaction(
            [&] {
                for (const JobPtr& job : jobs)
                    put_back(job->claim.user.id, may_ask_next(job->provider->server, now()));
            },
            error);
    }

    // Some wait for others to be settled with: what a transaction costs, they share.
    bool is_time_to_settle() const {
        return !finished_.empty() &&
               (in_flight_.empty() ||
                finished_.size() >= static_cast<std::size_t>(settings::sync_batch_size) ||
                bytes_ >= batch_bytes || Clock::now() >= settle_at_);
    }

    void settle_finished() {
        testing::point("sync-fetched");
        const std::size_t most =
            std::min(finished_.size(), static_cast<std::size_t>(settings::sync_batch_size));
        std::size_t count = 0;
        for (std::size_t bytes = 0; count < most && (count == 0 || bytes < batch_bytes); ++count) {
            bytes += finished_[count]->answers.bytes;
            bytes_ -= finished_[count]->answers.bytes;
        }
        const auto end = finished_.begin() + static_cast<std::ptrdiff_t>(count);
        std::vector<JobPtr> batch(std::make_move_iterator(finished_.begin()), std::make_move_iterator(end));
        finished_.erase(finished_.begin(), end);
        const std::string activity = "synchronizing " + std::to_string(batch.size()) + " users";
        pgstat_report_activity(STATE_RUNNING, activity.c_str());
        settle(std::move(batch), [this] { go_on_fetching(); });
        next_claim_ = Clock::now();  // they may be due again before everybody else
    }

    // ---- Waiting
    // -------------------------------------------------------------------------------------------

    void rest() {
        const Clock::time_point settle = finished_.empty() ? Clock::time_point::max() : settle_at_;
        const Clock::time_point wake = std::min({next_claim_, next_clean_up_, next_start_, settle});
        const auto left = std::chrono::ceil<milliseconds>(wake - Clock::now()).count();
        if (left > 0 && !may_sleep(place_, now() + left * 1000)) {
            next_claim_ = Clock::now();
            return;
        }
        if (!in_flight_.empty()) {
            const std::string activity =
                "waiting for " + std::to_string(in_flight_.size()) + " answers of providers";
            pgstat_report_activity(STATE_RUNNING, activity.c_str());
            const milliseconds until_start = std::chrono::ceil<milliseconds>(
                std::min({next_start_, settle, Clock::now() + longest_sleep}) - Clock::now());
            const milliseconds most = std::clamp(until_start, milliseconds(0), fetcher_.timeout());
            wait_for_latch(static_cast<long>(most.count()), fetcher_.fd(), wait_for_answer);
            return;
        }
        if (left <= 0)
            return;
        pgstat_report_activity(STATE_IDLE, nullptr);
        wait_for_latch(static_cast<long>(left), -1, wait_for_work);
    }

    Place place_;
    Claimer claimer_;
    provider::Fetcher fetcher_;
    bool wanted_ = true;
    Clock::time_point next_claim_;
    Clock::time_point next_clean_up_;
    Clock::time_point next_start_ = Clock::time_point::max();  // when a rate limit allows the next request
    Clock::time_point next_look_for_missing_;

    std::map<Oid, Line> lines_;                      // by server
    std::map<provider::FetchId, JobPtr> in_flight_;  // asked for
    std::vector<JobPtr> finished_;                   // answered, or failed; to be settled
    std::size_t bytes_ = 0;                          // of their answers
    Clock::time_point settle_at_;                    // if any is finished: at the latest
    std::vector<JobPtr> refused_;                    // not to be asked now; to be given back
};

// Is there anything for a worker in this database?
bool is_worth_staying() {
    return pg::call([] {
        StartTransactionCommand();
        bool wanted = settings::worker && OidIsValid(get_extension_oid("rolecall", true));
        if (wanted && is_left_to_publisher()) {
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

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

void rolecall_worker_main(Datum argument) {
    process_init();
    Place place{};
    if (!enter(DatumGetInt32(argument), place))
        proc_exit(0);
    BackgroundWorkerInitializeConnectionByOid(place.database, InvalidOid, 0);
    pg::guarded([&] {
        (void)reload_if_asked();
        if (!may_stay(place))
            note_leaving(Leaving::asked);
        else if (!is_worth_staying())
            note_leaving(Leaving::nothing_to_do);
        else
            Worker(place).run();
    });
    proc_exit(0);
}
