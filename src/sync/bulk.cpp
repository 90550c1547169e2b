#include "sync/bulk.h"

#include <map>
#include <set>
#include <unordered_set>

#include "definition/distributed.h"
#include "pg/clock.h"
#include "pg/function.h"
#include "pg/read_only.h"
#include "pg/security_context.h"
#include "pg/spi.h"
#include "pg/version.h"
#include "provider/fetch.h"
#include "provider/home.h"
#include "provider/mapping.h"
#include "provider/statistics.h"
#include "sync/apply.h"
#include "sync/attribution.h"
#include "sync/locks.h"
#include "sync/rules.h"
#include "sync/subscriber.h"
#include "workers/registry.h"

namespace rolecall::sync {

namespace {

constexpr std::size_t at_once = 1000;

// The listed users that exist here, with their grants from the provider: one row per grant, or one if there
// is none.
pg::Statement known_statement(
    "SELECT u.id, u.institutional_id, u.roles_synced, u.is_active, g.role, g.scope_kind, g.scope_id,"
    "       s.last_roles_sync_at"
    " FROM rolecall.users u LEFT JOIN rolecall.sync_state s ON s.user_id = u.id LEFT JOIN "
    "rolecall.user_roles g ON g.user_id = u.id AND g.source = 'provider'"
    " WHERE u.provider = $1 AND u.institutional_id = ANY ($2) ORDER BY u.id",
    {TEXTOID, TEXTARRAYOID});

// Users whose grants name a known unit of which they are not yet members.
pg::Statement unlinked_statement(
    "SELECT DISTINCT g.user_id FROM rolecall.user_roles g"
    " JOIN rolecall.units n ON n.institutional_id = g.scope_id AND (n.provider IS NULL OR n.provider = $1)"
    " WHERE g.user_id = ANY ($2) AND g.source = 'provider' AND g.scope_kind = 'institutional'"
    " AND NOT EXISTS (SELECT FROM rolecall.user_units m WHERE m.user_id = g.user_id AND m.unit_id = n.id)",
    {TEXTOID, INT8ARRAYOID});

// $1 users, $2 when each was synchronized at the time of the comparison, $3 now, $4 TTL in seconds. If a user
// was synchronized since, the comparison is void and the user is due at once. Users that were put to sleep
// stay asleep.
pg::Statement confirm_statement(
    "WITH compared AS (SELECT DISTINCT * FROM unnest($1, $2) c(id, synced_at)"
    "), confirmed AS ("
    "    INSERT INTO rolecall.sync_state AS s (user_id, provider, last_roles_sync_at, next_sync_at)"
    "    SELECT u.id, u.provider, $3, $3 + make_interval(secs => $4 * (0.8 + 0.2 * random()))"
    "    FROM compared c JOIN rolecall.users u ON u.id = c.id LEFT JOIN rolecall.sync_state w ON w.user_id = "
    "c.id"
    "    WHERE w.last_roles_sync_at IS NOT DISTINCT FROM c.synced_at"
    "    ON CONFLICT (user_id) DO UPDATE SET last_roles_sync_at = excluded.last_roles_sync_at,"
    "        next_sync_at = CASE WHEN s.next_sync_at = 'infinity' THEN s.next_sync_at ELSE "
    "excluded.next_sync_at END,"
    "        requested_at = NULL, force = false, attempts = 0, last_error = NULL, last_error_at = NULL,"
    "        leased_by = NULL, leased_at = NULL, leased_until = NULL"
    "    RETURNING user_id"
    "), others AS ("
    "    UPDATE rolecall.sync_state s SET next_sync_at = least(s.next_sync_at, $3) FROM compared c"
    "    WHERE s.user_id = c.id AND s.last_roles_sync_at IS DISTINCT FROM c.synced_at"
    "), fresh AS ("
    "    UPDATE rolecall.users SET roles_stale = false WHERE roles_stale AND id IN (SELECT user_id FROM "
    "confirmed)"
    ") SELECT count(*) FROM confirmed",
    {INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, FLOAT8OID});

// Users that were not seen, existed before the fetch of the list began, and were not confirmed since.
pg::Statement missing_statement(
    "SELECT u.id FROM rolecall.users u LEFT JOIN rolecall.sync_state s ON s.user_id = u.id"
    " WHERE u.provider = $1 AND u.institutional_id IS NOT NULL AND u.created_at < $4"
    " AND (s.last_roles_sync_at > $3) IS NOT TRUE"
    " AND NOT EXISTS (SELECT FROM unnest($2) seen(id) WHERE seen.id = u.id) ORDER BY u.id",
    {TEXTOID, INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID});

// A listed user as stored in this database.
struct Known {
    std::int64_t id = 0;
    bool roles_synced = false;
    bool is_active = false;
    std::optional<TimestampTz> synced_at;
    std::vector<core::OwnedGrant> held;
};

std::map<std::string, Known> known_users(const provider::Provider& provider,
                                         const std::vector<provider::ProviderUser>& listed) {
    std::vector<std::string> subjects;
    subjects.reserve(listed.size());
    for (const provider::ProviderUser& user : listed)
        subjects.push_back(user.code.value_or(""));
    const pg::Rows rows =
        known_statement.run({pg::text_parameter(provider.name), pg::text_array_parameter(subjects)});
    std::map<std::string, Known> known;
    for (std::uint64_t row = 0; row < rows.size(); ++row) {
        Known& user = known[rows.string(row, 2).value_or("")];
        user.id = rows.bigint(row, 1);
        user.roles_synced = rows.boolean(row, 3);
        user.is_active = rows.boolean(row, 4);
        if (!rows.is_null(row, 8))
            user.synced_at = rows.time(row, 8);
        if (!rows.is_null(row, 5))
            user.held.push_back({rows.string(row, 5).value_or(""), rows.string(row, 6).value_or(""),
                                 rows.string(row, 7).value_or("")});
    }
    for (auto& entry : known)
        core::normalize(entry.second.held);
    return known;
}

class FullPassRun {
 public:
    explicit FullPassRun(std::string name) : name_(std::move(name)) {}

    FullPass run() {
        as_owner([&] { prepare(); });
        http::Pager pager(provider::list_request(provider_, request_id_), provider_.list_paging);
        for (bool more = true; more;) {
            const http::Completion page = provider::fetch_page(provider_, pager.request());
            more = pager.advance(page);
            as_owner([&] { take_page(page.body); });
        }
        as_owner([&] { apply_all(); });
        return pass_;
    }

 private:
    // Users and entries of the list that cannot be trusted.
    struct Doubts {
        std::int64_t count = 0;
        std::string named;  // the first few, with reasons

        void add(const std::string& name, const std::string& why) {
            constexpr std::int64_t most_named = 5;
            if (count++ < most_named)
                named += (named.empty() ? "" : " ") + name + ": " + why;
        }
    };

    // Users that hold exactly what the list names, and when they were last synchronized.
    struct Compared {
        std::vector<std::int64_t> ids;
        std::vector<std::optional<TimestampTz>> synced_at;

        void add(std::int64_t id, std::optional<TimestampTz> time) {
            ids.push_back(id);
            synced_at.push_back(time);
        }
    };

    struct Pending {
        std::int64_t id;
        provider::ProviderUser said;
    };

    template <typename F>
    static void as_owner(F&& f) {
        const pg::SecurityContext before = pg::call([] { return pg::act_as_owner(); });
        pg::spi_connect();
        f();
        pg::spi_finish();
        pg::call([&] { pg::restore_security_context(before); });
    }

    void prepare() {
        provider_ = provider::read_provider(name_);
        if (provider_.list_request_path.empty())
            throw Error("55000", "provider \"" + name_ + "\" has no list of users", {},
                        "Set the option list_request_path of the server.");
        if (is_stopped(name_))
            throw stopped_error(name_);
        if (const auto why = provider::why_no_calls())
            throw provider::no_calls_error(*why);
    }

    // ---- The list

    void take_page(const std::string& body) {
        provider::ListPage page = provider::map_list_page(provider_, body);
        if (page.total)
            total_ = page.total;
        for (const provider::OddUser& odd : page.odd)
            odd_.add(odd.name, odd.why);
        pass_.listed += static_cast<std::int64_t>(page.odd.size());
        const std::map<std::string, Known> known = known_users(provider_, page.users);
        Compared equal;
        for (provider::ProviderUser& said : page.users) {
            ++pass_.listed;
            const auto user = known.find(said.code.value_or(""));
            if (user == known.end()) {
                ++pass_.unknown;
                continue;
            }
            if (!seen_.insert(user->second.id).second)
                twice_.insert(user->second.id);  // the duplicate may have replaced another user
            else if (may_be_granted(said))
                sort_out(user->second, std::move(said), equal);
        }
        sort_out_unlinked(equal);
        check_size();
    }

    // Returns false if the roles of one user are not valid. The other users are not affected.
    bool may_be_granted(provider::ProviderUser& said) {
        try {
            check_roles(provider_.name, provider_.rules, said);
            return true;
        } catch (const Error& error) {
            odd_.add("\"" + said.code.value_or("") + "\"", error.detail());
            return false;
        }
    }

    // Limits the memory for what is kept of the list until it is applied.
    void check_size() {
        constexpr std::size_t seen = 48, compared = sizeof(std::int64_t) + sizeof(std::optional<TimestampTz>);
        for (; measured_ < changed_.size(); ++measured_) {
            size_ += sizeof(Pending);
            for (const core::OwnedGrant& grant : changed_[measured_].said.roles)
                size_ +=
                    sizeof grant + grant.role.capacity() + grant.kind.capacity() + grant.scope.capacity();
        }
        if (size_ + seen_.size() * seen + unchanged_.ids.size() * compared > provider_.max_list_size)
            throw Error("54000", "the list of provider \"" + name_ + "\" is too large",
                        "What is kept of its first " + std::to_string(pass_.listed) +
                            " users takes more than max_list_size, " +
                            std::to_string(provider_.max_list_size / 1024) + " kB.",
                        "Raise that option of the server.");
    }

    void sort_out(const Known& user, provider::ProviderUser said, Compared& equal) {
        if (said.silent && !user.held.empty())
            return;  // a missing roles member never removes a role
        const bool deactivates = said.gone && user.is_active &&
                                 provider_.rules.on_not_found == provider::Rules::OnNotFound::deactivate;
        if (said.gone && provider_.rules.on_not_found == provider::Rules::OnNotFound::keep)
            ++pass_.missing;
        else if (user.roles_synced && !deactivates && user.held == said.roles)
            equal.add(user.id, user.synced_at);
        else
            changed_.push_back({.id = user.id, .said = std::move(said)});
    }

    // Units are updated even if the roles are equal.
    void sort_out_unlinked(const Compared& equal) {
        const pg::Rows rows = unlinked_statement.run(
            {pg::text_parameter(provider_.name), pg::bigint_array_parameter(equal.ids)});
        std::unordered_set<std::int64_t> unlinked;
        for (std::uint64_t row = 0; row < rows.size(); ++row)
            unlinked.insert(rows.bigint(row, 1));
        for (std::size_t i = 0; i < equal.ids.size(); ++i) {
            const std::int64_t id = equal.ids[i];
            if (!unlinked.contains(id)) {
                unchanged_.add(id, equal.synced_at[i]);
                continue;
            }
            provider::ProviderUser said;
            said.roles = provider_grants(id);
            changed_.push_back({.id = id, .said = std::move(said)});
        }
    }

    // An empty list, or one that contradicts its own total, does not prove that a user is missing.
    bool is_complete() const {
        return twice_.empty() && odd_.count == 0 && pass_.listed > 0 && (!total_ || *total_ == pass_.listed);
    }

    // ---- Applying the list

    void apply_all() {
        lock_provider(name_);
        leave_out_held(provider_.timeout);
        const Attribution attribution(Cause::bulk, {}, name_, request_id_);
        leave_alone_who_is_on_it_twice();
        apply_changed();
        confirm();
        if (without_unit_ > 0)
            warn_of_unknown_units();
        pass_.complete = is_complete();
        if (pass_.complete)
            treat_missing();
        else
            warn_of_incomplete_list();
        workers::wake_workers_at_commit(due_after(pg::now(), provider_.ttl_seconds));
    }

    // It is not known which of the two entries is right.
    void leave_alone_who_is_on_it_twice() {
        if (twice_.empty())
            return;
        std::erase_if(changed_, [&](const Pending& pending) { return twice_.contains(pending.id); });
        Compared others;
        for (std::size_t i = 0; i < unchanged_.ids.size(); ++i)
            if (!twice_.contains(unchanged_.ids[i]))
                others.add(unchanged_.ids[i], unchanged_.synced_at[i]);
        unchanged_ = std::move(others);
    }

    // Leaves out users whose sync was begun by another transaction that does not end. The next pass or sync
    // updates them.
    void leave_out_held(std::chrono::milliseconds lock_wait) {
        std::unordered_set<std::int64_t> here(unchanged_.ids.begin(), unchanged_.ids.end());
        for (const Pending& pending : changed_)
            here.insert(pending.id);
        held_ = users_locked_by_others(here, lock_wait);
        if (held_.empty())
            return;
        std::erase_if(changed_, [&](const Pending& pending) { return held_.contains(pending.id); });
        const Compared all = std::exchange(unchanged_, {});
        for (std::size_t i = 0; i < all.ids.size(); ++i)
            if (!held_.contains(all.ids[i]))
                unchanged_.add(all.ids[i], all.synced_at[i]);
        pg::call([&] {
            ereport(WARNING,
                    (errcode(ERRCODE_WARNING),
                     errmsg("%zu users of provider \"%s\" are left out", held_.size(), name_.c_str()),
                     errdetail("Other transactions have synchronized them, and not ended."),
                     errhint("rolecall.stat_provider shows which.")));
        });
    }

    void apply_changed() {
        std::unordered_map<std::int64_t, provider::ProviderUser> said;
        for (Pending& pending : changed_) {
            if (said.size() == at_once || said.contains(pending.id))
                apply_some(said);
            said.emplace(pending.id, std::move(pending.said));
        }
        apply_some(said);
        changed_.clear();
    }

    // Applies the entries of `said`, and leaves it empty.
    void apply_some(std::unordered_map<std::int64_t, provider::ProviderUser>& said) {
        std::vector<std::int64_t> ids;
        ids.reserve(said.size());
        for (const auto& entry : said)
            ids.push_back(entry.first);
        const auto users = find_users(ids);
        auto held = provider_grants(ids);
        const TimestampTz time = pg::now();
        std::vector<Sync> syncs;
        for (const auto& [id, user] : users) {
            provider::ProviderUser& theirs = said[id];
            // Another sync may have applied a newer answer, or subject or provider may have changed.
            if (user.provider != name_ || (theirs.code && *theirs.code != user.institutional_id) ||
                is_synced_since(user, began_, time))
                continue;
            if (user.stopped)
                throw stopped_error(name_);
            syncs.push_back({.user = user,
                             .said = std::move(theirs),
                             .held = std::move(held[id]),
                             .next = due_after(time, provider_.ttl_seconds)});
        }
        said.clear();
        apply(syncs, provider_.rules, LockWait::wait, time);
        for (const Sync& sync : syncs)
            take_outcome(sync.outcome);
    }

    void take_outcome(const Outcome& outcome) {
        if (outcome.obstacle == Obstacle::brake) {
            stop_provider_durably(name_, outcome.excess);
            throw stopped_error(name_);
        }
        without_unit_ += outcome.no_unit_known ? 1 : 0;
        ++(outcome.changed() ? pass_.changed : pass_.unchanged);
        provider::count_sync(provider_.server, outcome.changed() ? provider::SyncCount::changed
                                                                 : provider::SyncCount::unchanged);
    }

    void confirm() {
        const std::span<const std::int64_t> ids(unchanged_.ids);
        const std::span<const std::optional<TimestampTz>> times(unchanged_.synced_at);
        for (std::size_t i = 0; i < ids.size(); i += at_once) {
            const std::size_t count = std::min(at_once, ids.size() - i);
            pass_.unchanged +=
                confirm_statement
                    .run(
                        {pg::bigint_array_parameter(ids.subspan(i, count)),
                         pg::time_array_parameter(times.subspan(i, count)), pg::time_parameter(pg::now()),
                         Float8GetDatum(static_cast<double>(
                                            pg::after_seconds(pg::now(), provider_.ttl_seconds) - pg::now()) /
                                        USECS_PER_SEC)})
                    .bigint(0, 1);
        }
        unchanged_ = {};
    }

    void treat_missing() {
        const std::vector<std::int64_t> seen(seen_.begin(), seen_.end());
        const pg::Rows rows =
            missing_statement.run({pg::text_parameter(name_), pg::bigint_array_parameter(seen),
                                   pg::time_parameter(began_), pg::time_parameter(began_by_wall_clock_)});
        pass_.missing += static_cast<std::int64_t>(rows.size());
        if (provider_.rules.on_not_found == provider::Rules::OnNotFound::keep)
            return;
        provider::ProviderUser said;
        said.gone = "It is not on the provider's list.";
        for (std::uint64_t row = 0; row < rows.size(); ++row)
            changed_.push_back({.id = rows.bigint(row, 1), .said = said});
        leave_out_held(std::chrono::milliseconds(1));  // others may wait for our lock on counting
        apply_changed();
    }

    void warn_of_unknown_units() const {
        pg::call([&] {
            ereport(WARNING,
                    (errcode(ERRCODE_WARNING),
                     errmsg("of the units that the roles of " INT64_FORMAT " users name none is known",
                            without_unit_),
                     errhint("Add them to rolecall.units; the next sync links the users.")));
        });
    }

    void warn_of_incomplete_list() const {
        const std::string total = total_ ? std::to_string(*total_) : "some";
        std::string detail = "It has " + std::to_string(pass_.listed) + " of " + total + " users.";
        if (odd_.count > 0)
            detail = std::to_string(odd_.count) + " of its users cannot be understood. " + odd_.named;
        else if (!twice_.empty())
            detail = "Somebody is on it twice: " + twice_users() + ".";
        pg::call([&] {
            ereport(WARNING, (errcode(ERRCODE_WARNING),
                              errmsg("the list of provider \"%s\" is not complete", name_.c_str()),
                              errdetail("%s Nobody counts as missing.", detail.c_str())));
        });
    }

    std::string twice_users() const {
        constexpr std::size_t most = 5;
        std::set<std::int64_t> ids(twice_.begin(), twice_.end());
        std::string text = ids.size() == 1 ? "user" : "users";
        std::size_t named = 0;
        for (const std::int64_t id : ids)
            if (named++ < most)
                text += (named > 1 ? ", " : " ") + std::to_string(id);
        return text + (named > most ? " and others" : "");
    }

    std::string name_;
    provider::Provider provider_;
    std::string request_id_ = current_request_id();
    TimestampTz began_ = pg::now();
    TimestampTz began_by_wall_clock_ = GetCurrentTimestamp();
    FullPass pass_;
    std::int64_t without_unit_ = 0;
    std::optional<std::int64_t> total_;
    Doubts odd_;
    std::unordered_set<std::int64_t> seen_;
    std::unordered_set<std::int64_t> twice_;  // left unchanged
    std::size_t size_ = 0;                    // of changed_
    std::size_t measured_ = 0;                // how many of changed_ are counted in size_
    std::unordered_set<std::int64_t> held_;   // by other transactions
    Compared unchanged_;
    std::vector<Pending> changed_;
};

}  // namespace

FullPass sync_provider(const std::string& name) { return FullPassRun(name).run(); }

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {

// sync_provider(name text) -> provider_sync_result
ROLECALL_FUNCTION(rolecall_sync_provider, pg::takes(RECORDOID, TEXTOID)) {
    return pg::guarded([&]() -> Datum {
        pg::call([] {
            pg::require_writable("synchronize roles");
            pg::require_current_sql();
            projection::require_directory();
            require_own_users();
        });
        const char* name = pg::call([&] { return text_to_cstring(PG_GETARG_TEXT_PP(0)); });
        const FullPass pass = sync_provider(name);
        return pg::call([&] {
            TupleDesc columns = pg::result_row(fcinfo, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID);
            Datum values[] = {Int64GetDatum(pass.listed),  Int64GetDatum(pass.unknown),
                              Int64GetDatum(pass.changed), Int64GetDatum(pass.unchanged),
                              Int64GetDatum(pass.missing), BoolGetDatum(pass.complete)};
            bool nulls[std::size(values)] = {};
            return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
        });
    });
}

}  // extern "C"
