// The SQL functions of role sync. They act as the extension's owner when they access the directory, and only
// then.
#include "pg/pg.h"

#include "core/error.h"
#include "definition/distributed.h"
#include "pg/clock.h"
#include "pg/function.h"
#include "pg/read_only.h"
#include "pg/security_context.h"
#include "pg/settings.h"
#include "pg/spi.h"
#include "pg/testing.h"
#include "pg/version.h"
#include "provider/fetch.h"
#include "provider/home.h"
#include "provider/mapping.h"
#include "provider/provider.h"
#include "provider/statistics.h"
#include "sync/apply.h"
#include "sync/attribution.h"
#include "sync/locks.h"
#include "sync/log.h"
#include "sync/overdue.h"
#include "sync/queue.h"
#include "sync/rules.h"
#include "sync/subscriber.h"
#include "sync/units.h"
#include "workers/registry.h"

namespace rolecall::sync {

namespace {

pg::Statement touch_statement("SELECT rolecall.touch_user($1)", {INT8OID});

// The columns of role_sync_result, in order.
struct SyncResult {
    std::int64_t user = 0;
    bool skipped = false;
    Outcome outcome;
};

// Runs `f` inside SPI, as the extension's owner. After an exception the abort restores everything.
template <typename F>
auto as_owner(F&& f) {
    const pg::SecurityContext before = pg::call([] { return pg::act_as_owner(); });
    pg::spi_connect();
    auto result = f();
    pg::spi_finish();
    pg::call([&] { pg::restore_security_context(before); });
    return result;
}

// Syncs need the tables of this library version, a database whose users are its own, and write access.
void require_ready() {
    pg::call([] {
        pg::require_writable("synchronize roles");
        pg::require_current_sql();
        projection::require_directory();
        require_own_users();
    });
}

void warn_unknown_user(std::int64_t id) {
    pg::call([&] {
        ereport(WARNING, (errcode(ERRCODE_WARNING), errmsg("user " INT64_FORMAT " does not exist", id)));
    });
}

SyncResult skipped(const User& user) {
    SyncResult result{.user = user.id, .skipped = true, .outcome = {}};
    result.outcome.old_roles = result.outcome.new_roles = provider_grants(user.id);
    return result;
}

SyncResult default_result(std::int64_t id) { return {.user = id, .skipped = false, .outcome = {}}; }

void require_subject(const User& user) {
    if (user.provider.empty() || user.institutional_id.empty())
        throw Error(
            "55000", "user " + std::to_string(user.id) + " has no provider",
            user.provider.empty() ? "Its column provider is NULL." : "Its column institutional_id is NULL.",
            "Set both in rolecall.users, or grant roles locally.");
}

// The provider for which a pass through all users is under way, so that a sync must wait for it; empty if
// there is none.
struct PassUnderWay {
    std::string provider;
    std::chrono::milliseconds lock_wait{0};
};

// Called with the user locked, so that a later pass sees the lock.
PassUnderWay pass_under_way(const provider::Provider& provider) {
    if (provider.name.empty() || may_sync_beside_passes(provider.name, std::chrono::milliseconds(0)))
        return {};
    return {.provider = provider.name, .lock_wait = provider.timeout};
}

// Unlocks the user first, because the pass may be waiting for it. Returns false if there is no pass to wait
// for.
bool wait_for_pass(std::int64_t user, const PassUnderWay& pass) {
    if (pass.provider.empty())
        return false;
    unlock(locktag_of_user(user), ExclusiveLock);
    const auto& [provider, lock_wait] = pass;
    if (!may_sync_beside_passes(provider, lock_wait))
        throw Error(
            "55P03", "a pass through all users of provider \"" + provider + "\" is under way",
            "It was waited for for " + std::to_string(lock_wait.count()) + " ms, the request timeout.",
            "Try again, or leave it to the worker by trigger_role_sync_for_user().");
    return true;
}

// The state of a user that is needed before the provider is asked.
struct Preparation {
    std::optional<User> user;  // nullopt if there is no such user
    provider::Provider provider;
    PassUnderWay pass;  // to wait for before anything else
    bool fresh = false;
    TimestampTz asked_at = pg::now();
    std::string request_id = current_request_id();
    http::Validators known;  // of the answer from which the user's roles are
};

Preparation prepare(std::int64_t id, bool force) {
    Preparation p{.user = find_user(id), .provider = {}, .pass = {}, .fresh = false, .known = {}};
    if (!p.user)
        return p;
    require_subject(*p.user);
    p.provider = provider::read_provider(p.user->provider);
    p.pass = pass_under_way(p.provider);
    p.fresh = !force && is_fresh(*p.user, p.provider.ttl_seconds, pg::now());
    if (p.fresh)
        return p;
    if (p.user->stopped)
        throw stopped_error(p.user->provider);
    if (const auto why = provider::why_no_calls())
        throw provider::no_calls_error(*why);
    if (!force && gives(p.user->version, p.provider, provider_grants(id)))
        p.known = p.user->version.validators;
    return p;
}

// Applies a sync, and wakes the worker so that it returns when the user is due again.
Outcome apply_here(Sync sync, const provider::Provider& provider) {
    const User& user = sync.user;
    if (user.stopped)
        throw stopped_error(user.provider);
    const TimestampTz time = pg::now();
    sync.next = due_after(time, provider.ttl_seconds);
    workers::wake_workers_at_commit(sync.next);
    touch_statement.run({pg::bigint_parameter(user.id)});
    forget_overdue_at_commit(user.id);
    apply({&sync, 1}, provider.rules, LockWait::brief, time);
    if (sync.outcome.obstacle == Obstacle::brake) {
        stop_provider_durably(user.provider, sync.outcome.excess);
        throw stopped_error(user.provider);
    }
    if (sync.outcome.no_unit_known)
        warn_of_unknown_units(user.id);
    return std::move(sync.outcome);
}

// Applies roles that were given by the caller or an event, not fetched.
Outcome apply_given(const User& user, provider::ProviderUser said, const provider::Provider& provider) {
    return apply_here({.user = user, .said = std::move(said), .held = provider_grants(user.id)}, provider);
}

// Reads everything again, because it may have changed during the fetch.
SyncResult apply_answers(const Preparation& before, const provider::Answers& answers) {
    const User& asked = *before.user;
    provider::ProviderUser said = understand(before.provider, asked.institutional_id, answers);
    std::optional<User> user = find_user(asked.id);
    Sync sync{
        .user = user ? *std::move(user) : User(), .said = std::move(said), .held = provider_grants(asked.id)};
    if (!sync.user.has_subject_of(asked) || (sync.said.unchanged && !keep_roles(sync, before.provider)))
        throw Error("40001", "user " + std::to_string(asked.id) + " changed while the provider was asked", {},
                    "Call the function again.");
    if (is_synced_since(sync.user, before.asked_at, pg::now()))
        return skipped(sync.user);  // a pass through all users was faster
    const Attribution attribution(Cause::sync, {}, asked.provider, before.request_id);
    return {.user = asked.id, .skipped = false, .outcome = apply_here(std::move(sync), before.provider)};
}

// Returns how long to wait for another sync of this user: as long as a request to its provider may take.
std::chrono::milliseconds lock_wait_for(std::int64_t id) {
    return as_owner([&] {
        const std::optional<User> user = find_user(id);
        if (user && !user->provider.empty())
            return provider::read_provider(user->provider).timeout;
        return std::chrono::milliseconds(settings::request_timeout);
    });
}

SyncResult sync_from_provider(std::int64_t id, bool force) {
    require_ready();
    std::optional<SyncResult> early;
    Preparation before;
    do {
        step_aside_for_worker(id);
        if (!try_lock_user(id))
            lock_user(id, lock_wait_for(id));
        before = as_owner([&] {
            Preparation p = prepare(id, force);
            if (p.fresh)
                early = skipped(*p.user);
            return p;
        });
    } while (!before.fresh && wait_for_pass(id, before.pass));
    if (!before.user) {
        warn_unknown_user(id);
        return default_result(id);
    }
    if (early) {
        provider::count_sync(before.provider.server, provider::SyncCount::skipped);
        return *early;
    }
    log_start(*before.user);
    testing::point("session-sync-begin");
    provider::Stopwatch watch(before.provider.server);
    const provider::Answers answers =
        provider::fetch(before.provider, before.user->institutional_id, before.known, before.request_id);
    testing::point("session-sync-fetched");
    SyncResult result = as_owner([&] { return apply_answers(before, answers); });
    testing::point("session-sync-applied");
    watch.done(result.outcome.changed());
    return result;
}

// For users without a provider, no rule applies.
provider::Provider no_provider() {
    provider::Provider none;
    none.ttl_seconds = provider::Provider::default_ttl_seconds();
    return none;
}

SyncResult sync_from_argument(std::int64_t id, const Jsonb* said, bool force) {
    require_ready();
    provider::ProviderUser provider_user = provider::read_provider_user(said);
    PassUnderWay pass;
    const auto apply_it = [&]() -> std::optional<SyncResult> {
        const std::optional<User> user = find_user(id);
        if (!user)
            return std::nullopt;
        if (provider_user.code && !user->institutional_id.empty() &&
            *provider_user.code != user->institutional_id)
            throw Error("22023", "invalid provider user",
                        "It is about subject \"" + *provider_user.code + "\", not \"" +
                            user->institutional_id + "\".");
        const provider::Provider provider =
            user->provider.empty() ? no_provider() : provider::read_provider(user->provider);
        if (!force && is_fresh(*user, provider.ttl_seconds, pg::now()))
            return skipped(*user);
        pass = pass_under_way(provider);
        if (!pass.provider.empty())
            return std::nullopt;
        check_roles(provider.name, provider.rules, provider_user);
        const Attribution attribution(Cause::given, {}, user->provider, settings::request_id);
        return SyncResult{
            .user = id, .skipped = false, .outcome = apply_given(*user, std::move(provider_user), provider)};
    };
    std::optional<SyncResult> result;
    do {
        pass = {};
        lock_user(id, std::chrono::milliseconds(settings::request_timeout));
        result = as_owner(apply_it);
    } while (wait_for_pass(id, pass));
    if (!result) {
        warn_unknown_user(id);
        return default_result(id);
    }
    return *result;
}

// Applies an event that names the roles or says that the user is gone. For any other event, has the worker
// ask the provider. Returns nullopt if the event is about a user that does not exist here.
std::optional<SyncResult> apply_event(const std::string& server, const Jsonb* event) {
    provider::Provider provider;
    provider::ProviderUser said;
    bool has_roles = false;
    const std::optional<std::int64_t> id = as_owner([&]() -> std::optional<std::int64_t> {
        provider = provider::read_provider(server);
        said = provider::map_event(provider, event, has_roles);
        return find_subject(server, *said.code);
    });
    if (!id)
        return std::nullopt;
    PassUnderWay pass;
    const auto apply_it = [&]() -> std::optional<SyncResult> {
        const std::optional<User> user = find_user(*id);
        if (!user || user->provider != server || user->institutional_id != *said.code)
            return std::nullopt;
        const bool keeps = said.gone && provider.rules.on_not_found == provider::Rules::OnNotFound::keep;
        if (keeps || (!said.gone && !has_roles)) {
            (void)request_sync(*id, true);
            workers::wake_workers_at_commit();
            SyncResult result = skipped(*user);
            result.skipped = false;
            return result;
        }
        pass = pass_under_way(provider);
        if (!pass.provider.empty())
            return std::nullopt;
        check_roles(server, provider.rules, said);
        const Attribution attribution(Cause::event, {}, server, settings::request_id);
        return SyncResult{
            .user = *id, .skipped = false, .outcome = apply_given(*user, std::move(said), provider)};
    };
    std::optional<SyncResult> result;
    do {
        pass = {};
        lock_user(*id, std::chrono::milliseconds(settings::request_timeout));
        result = as_owner(apply_it);
    } while (wait_for_pass(*id, pass));
    return result;
}

Datum to_record(FunctionCallInfo fcinfo, const SyncResult& result) {
    const Outcome& o = result.outcome;
    Jsonb* old_roles = provider::roles_to_jsonb(o.old_roles);
    Jsonb* new_roles = provider::roles_to_jsonb(o.new_roles);
    if (!result.skipped)
        log_outcome(result.user, o);
    return pg::call([&] {
        TupleDesc columns =
            pg::result_row(fcinfo, INT8OID, BOOLOID, BOOLOID, BOOLOID, BOOLOID, JSONBOID, JSONBOID);
        Datum values[] = {Int64GetDatum(result.user),    BoolGetDatum(o.changed()),
                          BoolGetDatum(o.roles_changed), BoolGetDatum(o.units_changed),
                          BoolGetDatum(result.skipped),  JsonbPGetDatum(old_roles),
                          JsonbPGetDatum(new_roles)};
        bool nulls[std::size(values)] = {};
        return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
    });
}

}  // namespace

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {

ROLECALL_FUNCTION(rolecall_sync_user_roles, pg::takes(RECORDOID, INT8OID)) {
    return pg::guarded([&] { return to_record(fcinfo, sync_from_provider(PG_GETARG_INT64(0), false)); });
}

ROLECALL_FUNCTION(rolecall_force_sync_user_roles, pg::takes(RECORDOID, INT8OID)) {
    return pg::guarded([&] { return to_record(fcinfo, sync_from_provider(PG_GETARG_INT64(0), true)); });
}

// sync_user_roles(uid, provider_user jsonb, force boolean)
ROLECALL_FUNCTION(rolecall_apply_user_roles, pg::takes(RECORDOID, INT8OID, JSONBOID, BOOLOID)) {
    return pg::guarded([&] {
        const Jsonb* said = pg::call([&] { return PG_GETARG_JSONB_P(1); });
        return to_record(fcinfo, sync_from_argument(PG_GETARG_INT64(0), said, PG_GETARG_BOOL(2)));
    });
}

// sync_user_units(uid, roles jsonb) returns false if there is no such user.
ROLECALL_FUNCTION(rolecall_sync_user_units, pg::takes(BOOLOID, INT8OID, JSONBOID)) {
    return pg::guarded([&]() -> Datum {
        require_ready();
        const Jsonb* given = pg::call([&] { return PG_GETARG_JSONB_P(1); });
        const auto roles = provider::read_roles(given);
        const std::int64_t id = PG_GETARG_INT64(0);
        lock_user(id, std::chrono::milliseconds(settings::request_timeout));
        PG_RETURN_BOOL(as_owner([&] {
            const std::optional<User> user = find_user(id);
            if (!user)
                return false;
            const Linking linking{.user = id, .roles = roles};
            if (link_units(user->provider, {&linking, 1})[id].none_known)
                warn_of_unknown_units(id);
            return true;
        }));
    });
}

// trigger_role_sync_for_user(uid bigint, force boolean)
ROLECALL_FUNCTION(rolecall_trigger_role_sync, pg::takes(VOIDOID, INT8OID, BOOLOID)) {
    return pg::guarded([&]() -> Datum {
        pg::call([] { pg::require_writable("request a role sync"); });
        const std::int64_t id = PG_GETARG_INT64(0);
        const bool force = PG_GETARG_BOOL(1);
        pg::call([] {
            projection::require_directory();
            require_own_users();
        });
        if (as_owner([&] { return request_sync(id, force); }))
            workers::wake_workers_at_commit();
        else
            warn_unknown_user(id);
        PG_RETURN_VOID();
    });
}

// apply_provider_event(server text, event jsonb)
ROLECALL_FUNCTION(rolecall_apply_provider_event, pg::takes(RECORDOID, TEXTOID, JSONBOID)) {
    return pg::guarded([&]() -> Datum {
        require_ready();
        const char* server = pg::call([&] { return text_to_cstring(PG_GETARG_TEXT_PP(0)); });
        const Jsonb* event = pg::call([&] { return PG_GETARG_JSONB_P(1); });
        const auto result = apply_event(server, event);
        if (!result)
            PG_RETURN_NULL();
        return to_record(fcinfo, *result);
    });
}

ROLECALL_FUNCTION(rolecall_wake_worker, pg::takes(VOIDOID)) {
    pg::require_writable("wake the worker");
    workers::wake_workers_at_commit();
    PG_RETURN_VOID();
}

}  // extern "C"
