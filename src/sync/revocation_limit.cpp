#include "sync/revocation_limit.h"

#include "pg/background.h"
#include "pg/security_context.h"
#include "pg/spi.h"
#include "sync/locks.h"

extern "C" {
#include "utils/snapmgr.h"
}

namespace rolecall::sync {

namespace {

pg::Statement count_statement(
    "SELECT c.exceeds, (c.so_far).users_affected, (c.so_far).grants_revoked, (c.so_far).grants,"
    "       (c.so_far).users_deactivated, (c.so_far).users"
    " FROM rolecall.count_revocation($1, $2, $3, $4, $5, $6, make_interval(secs => $7), $8, $9) c",
    {TEXTOID, INT8OID, INT8OID, INT8OID, FLOAT8OID, INT8OID, FLOAT8OID, TIMESTAMPTZOID, BOOLOID});

pg::Statement stopped_statement(
    "SELECT EXISTS (SELECT FROM rolecall.stopped_providers s WHERE s.provider = $1)", {TEXTOID});

pg::Statement stop_statement("SELECT rolecall.stop_provider($1, $2, $3, $4, $5, $6)",
                             {TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID});

// The argument of the process that stops a provider durably.
struct Message {
    char provider[NAMEDATALEN];
    Excess excess;
};
static_assert(sizeof(Message) <= BGW_EXTRALEN);

// Longer than any account has existed.
constexpr std::int64_t longest_window = std::int64_t{100} * 366 * 24 * 3600;

}  // namespace

bool lock_revocations(const std::string& provider, LockWait lock_wait) {
    const LOCKTAG tag = locktag_of_provider(LockClass::revocations, provider);
    if (lock_wait == LockWait::none)
        return try_lock(tag, ExclusiveLock);
    return pg::call([&] { return LockAcquire(&tag, ExclusiveLock, false, false) != LOCKACQUIRE_NOT_AVAIL; });
}

void unlock_revocations(const std::string& provider) {
    unlock(locktag_of_provider(LockClass::revocations, provider), ExclusiveLock);
}

void lock_provider(const std::string& provider) {
    const LOCKTAG tag = locktag_of_provider(LockClass::provider, provider);
    pg::call([&] { (void)LockAcquire(&tag, ExclusiveLock, false, false); });
}

bool may_sync_beside_passes(const std::string& provider, std::chrono::milliseconds lock_wait) {
    const LOCKTAG tag = locktag_of_provider(LockClass::provider, provider);
    const bool none =
        lock_wait.count() == 0 ? try_lock(tag, ShareLock) : lock_within(tag, ShareLock, lock_wait);
    if (none)
        unlock(tag, ShareLock);
    return none;
}

bool is_stopped(const std::string& provider) {
    return stopped_statement.run({pg::text_parameter(provider)}).boolean(0, 1);
}

std::optional<Excess> count_revocation(const std::string& provider, const provider::Rules& rules,
                                       std::int64_t user, const Loss& loss, LockWait lock_wait,
                                       TimestampTz time) {
    const std::int64_t window = std::min(rules.revocation_window_seconds, longest_window);
    const pg::Rows rows = count_statement.run(
        {pg::text_parameter(provider), pg::bigint_parameter(user), pg::bigint_parameter(loss.grants),
         pg::bigint_parameter(loss.deactivated ? 1 : 0), Float8GetDatum(rules.max_revocation),
         pg::bigint_parameter(rules.max_revocation_users), Float8GetDatum(static_cast<double>(window)),
         pg::time_parameter(time), pg::bool_parameter(lock_wait == LockWait::brief)});
    if (!rows.boolean(0, 1))
        return std::nullopt;
    return Excess{.users_affected = rows.bigint(0, 2),
                  .grants_revoked = rows.bigint(0, 3),
                  .grants = rows.bigint(0, 4),
                  .users_deactivated = rows.bigint(0, 5),
                  .users = rows.bigint(0, 6)};
}

bool stop_provider(const std::string& provider, const Excess& excess) {
    return stop_statement
        .run({pg::text_parameter(provider), pg::bigint_parameter(excess.users_affected),
              pg::bigint_parameter(excess.grants_revoked), pg::bigint_parameter(excess.grants),
              pg::bigint_parameter(excess.users_deactivated), pg::bigint_parameter(excess.users)})
        .boolean(0, 1);
}

void stop_provider_durably(const std::string& provider, const Excess& excess) {
    Message message{.provider = {}, .excess = excess};
    strlcpy(message.provider, provider.c_str(), sizeof message.provider);
    pg::call([&] {
        if (!pg::run_in_background("rolecall_stopper_main", "rolecall provider stopper", &message,
                                   sizeof message))
            ereport(
                WARNING,
                (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                 errmsg("could not start the worker that stops provider \"%s\"", message.provider),
                 errdetail("This sync is refused nevertheless."), errhint("Raise max_worker_processes.")));
    });
}

void log_stop(const std::string& provider, const Excess& e) {
    pg::call([&] {
        ereport(LOG, (errmsg("syncs of provider \"%s\" are stopped", provider.c_str()),
                      errdetail(INT64_FORMAT " users would have lost " INT64_FORMAT " of " INT64_FORMAT
                                             " grants; " INT64_FORMAT " of " INT64_FORMAT
                                             " users would have been deactivated.",
                                e.users_affected, e.grants_revoked, e.grants, e.users_deactivated, e.users),
                      errhint("If that is right, call rolecall.resume_provider().")));
    });
}

Error stopped_error(const std::string& provider) {
    return {
        "RC106", "syncs of provider \"" + provider + "\" are stopped",
        "They would have taken away more than max_revocation allows; rolecall.stat_provider has the figures.",
        "If that is right, call rolecall.resume_provider()."};
}

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {
PGDLLEXPORT void rolecall_stopper_main(Datum argument);
}

void rolecall_stopper_main(Datum argument) {
    const auto message = pg::enter_background<Message>(DatumGetObjectId(argument));
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    // The session that waits for this process may hold the row itself, if it has just resumed the provider.
    pg::set_lock_timeout(5000);
    const pg::SecurityContext before = pg::act_as_owner();
    pg::guarded([&] {
        pg::spi_connect();
        if (stop_provider(message.provider, message.excess))
            log_stop(message.provider, message.excess);
        pg::spi_finish();
    });
    pg::restore_security_context(before);
    PopActiveSnapshot();
    CommitTransactionCommand();
    proc_exit(0);
}
