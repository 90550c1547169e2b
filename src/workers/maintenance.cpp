#include "workers/maintenance.h"

#include "auth/tokens.h"
#include "pg/clock.h"
#include "pg/process.h"
#include "pg/settings.h"
#include "pg/spi.h"
#include "provider/home.h"
#include "provider/provider.h"
#include "provider/statistics.h"

extern "C" {
#include "utils/backend_status.h"
}

namespace rolecall::workers {

namespace {

constexpr std::int64_t at_once = 10'000;

pg::Statement trim_statement("SELECT rolecall.trim_role_changes($1, $2)", {TIMESTAMPTZOID, INT8OID});
pg::Statement queues_statement("SELECT * FROM rolecall.queued_providers()", {});
pg::Statement stale_statement("SELECT rolecall.mark_stale($1, $2, $3, $4)",
                              {TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID});

bool trim_audit() {
    if (settings::audit_retention < 0)
        return false;
    const TimestampTz before = pg::after_seconds(pg::now(), -std::int64_t{settings::audit_retention});
    return trim_statement.run({pg::time_parameter(before), pg::bigint_parameter(at_once)}).bigint(0, 1) ==
           at_once;
}

// Includes users of stopped providers, because their roles are not confirmed either.
bool mark_stale() {
    bool more = false;
    const pg::Rows rows = queues_statement.run({});
    std::vector<std::string> names(rows.size());
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        names[row] = rows.string(row, 1).value_or("");
    for (const std::string& name : names) {
        std::int64_t most_seconds = 0;
        std::string misconfigured;
        (void)pg::run_in_subtransaction(
            [&] { most_seconds = provider::read_provider(name).rules.max_staleness_seconds; }, misconfigured);
        if (most_seconds == 0)
            continue;
        const TimestampTz time = pg::now();
        more |=
            stale_statement
                .run({pg::text_parameter(name), pg::time_parameter(pg::after_seconds(time, -most_seconds)),
                      pg::time_parameter(time), pg::bigint_parameter(at_once)})
                .bigint(0, 1) == at_once;
    }
    return more;
}

bool attempt(const char* what, bool (*f)()) {
    bool more = false;
    std::string error;
    pgstat_report_activity(STATE_RUNNING, what);
    const auto unless_restored = [&] {
        more = f();
        // Restored data is not removed. A transaction that sees restored rows also sees the reason returned
        // here.
        if (const auto why = provider::why_no_calls())
            throw provider::no_calls_error(*why);
    };
    if (!pg::run_in_transaction(unless_restored, error))
        pg::call([&] { ereport(LOG, (errmsg("could not finish %s: %s", what, error.c_str()))); });
    return more;
}

}  // namespace

bool clean(bool marks_stale) {
    bool more = attempt("removing expired OAuth states and refresh tokens", auth::remove_expired);
    more |= attempt("trimming the audit", trim_audit);
    more |= attempt("forgetting dropped providers", [] {
        provider::forget_dropped_providers();
        return false;
    });
    if (marks_stale)
        more |= attempt("marking stale roles", mark_stale);
    return more;
}

}  // namespace rolecall::workers
