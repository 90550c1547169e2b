#include "provider/home.h"

#include "pg/function.h"
#include "pg/settings.h"
#include "pg/spi.h"

extern "C" {
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/xml.h"
}

namespace rolecall::provider {

namespace {

pg::Statement why_statement("SELECT rolecall.why_no_calls()", {});

// The settings that pg_dump and pg_restore set in every session that restores. ALTER DATABASE or ALTER ROLE
// may set some of them too, but not all, and their source is not the session.
constexpr const char* signs[] = {"check_function_bodies",
                                 "client_min_messages",
                                 "idle_in_transaction_session_timeout",
                                 "lock_timeout",
                                 "row_security",
                                 "statement_timeout",
                                 "xmloption"};

bool is_set_in_session(const char* name) {
    const config_generic* record = pg::find_setting(name);
    return record != nullptr && record->source == PGC_S_SESSION;
}

bool looks_like_restore() {
    return !check_function_bodies && IdleInTransactionSessionTimeout == 0 && LockTimeout == 0 &&
           StatementTimeout == 0 && client_min_messages >= WARNING && xmloption == XMLOPTION_CONTENT &&
           std::all_of(std::begin(signs), std::end(signs), is_set_in_session);
}

}  // namespace

std::optional<std::string> why_no_calls() { return why_statement.run({}).string(0, 1); }

Error no_calls_error(const std::string& why) {
    return {"55000", "no provider is called from this database", why,
            "Call rolecall.allow_providers() if this database is to call them."};
}

}  // namespace rolecall::provider

using namespace rolecall;
using namespace rolecall::provider;

extern "C" {

ROLECALL_FUNCTION(rolecall_is_replication, pg::takes(BOOLOID)) {
    (void)fcinfo;
    PG_RETURN_BOOL(pg::is_logical_worker());
}

// is_restore(), for functions that run as the extension's owner. Members of that role are trusted, because
// they could also disable the triggers.
ROLECALL_FUNCTION(rolecall_is_restore, pg::takes(BOOLOID)) {
    (void)fcinfo;
    PG_RETURN_BOOL((settings::restoring || looks_like_restore()) &&
                   is_member_of_role(GetSessionUserId(), GetUserId()));
}

}  // extern "C"
