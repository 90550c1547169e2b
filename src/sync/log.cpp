#include "sync/log.h"

#include "pg/guard.h"

namespace rolecall::sync {

void log_start(const User& user) {
    pg::call([&] {
        ereport(DEBUG1, (errmsg_internal("synchronizing user " INT64_FORMAT " with provider \"%s\"", user.id,
                                         user.provider.c_str())));
    });
}

void log_outcome(std::int64_t user, const Outcome& outcome) {
    pg::call([&] {
        ereport(outcome.changed() ? LOG : DEBUG1,
                (errmsg("synchronized user " INT64_FORMAT ": %zu roles before, %zu after%s", user,
                        outcome.old_roles.size(), outcome.new_roles.size(),
                        outcome.units_changed ? ", units changed" : "")));
    });
}

void log_failure(const User& user, const std::string& error, int attempt) {
    pg::call([&] {
        ereport(LOG, (errmsg("could not synchronize user " INT64_FORMAT " with provider \"%s\": %s", user.id,
                             user.provider.c_str(), error.c_str()),
                      errdetail("Attempt %d; roles are as they were.", attempt)));
    });
}

void log_held(std::int64_t user, std::int64_t seconds) {
    pg::call([&] {
        ereport(LOG, (errmsg("the sync of user " INT64_FORMAT " is held up by another transaction", user),
                      errdetail("For " INT64_FORMAT " s; others are synchronized meanwhile.", seconds),
                      errhint("rolecall.stat_provider shows who holds what.")));
    });
}

}  // namespace rolecall::sync
