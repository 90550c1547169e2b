#include "auth/tokens.h"

#include "pg/background.h"
#include "pg/function.h"
#include "pg/read_only.h"
#include "pg/security_context.h"
#include "pg/spi.h"

extern "C" {
#include "access/xlog.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
}

namespace rolecall::auth {

namespace {

constexpr int token_bytes = 32;
constexpr int removed_at_once = 10'000;

pg::Statement remove_states("SELECT rolecall.cleanup_expired_oauth_states($1)", {INT8OID});
pg::Statement remove_tokens("SELECT rolecall.cleanup_expired_refresh_tokens($1)", {INT8OID});

void run_revoker(const pg_uuid_t& family) {
    if (!pg::run_in_background("rolecall_revoker_main", "rolecall token revoker", &family, sizeof family))
        ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                        errmsg("could not start the worker that revokes refresh tokens"),
                        errdetail("The token was used before, and its login is not ended yet."),
                        errhint("Raise max_worker_processes.")));
}

// Runs a statement with one argument under the latest snapshot, whatever the transaction's isolation level,
// and returns the number of rows processed. Must be called between SPI_connect() and SPI_finish().
std::uint64_t run_now(SPIPlanPtr& plan, const char* sql, Oid type, Datum value, bool is_read_only) {
    if (plan == nullptr) {
        SPIPlanPtr made = SPI_prepare(sql, 1, &type);
        if (made == nullptr || SPI_keepplan(made) != 0)
            elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
        plan = made;
    }
    const int code = SPI_execute_snapshot(plan, &value, nullptr, GetLatestSnapshot(), InvalidSnapshot,
                                          is_read_only, true, 0);
    if (code < 0)
        elog(ERROR, "could not run a statement: %s", SPI_result_code_string(code));
    return SPI_processed;
}

std::int64_t revoke(SPIPlanPtr& plan, const char* sql, Oid type, Datum value) {
    std::int64_t total = 0;
    SPI_connect();
    for (std::uint64_t revoked = 1; revoked > 0; total += static_cast<std::int64_t>(revoked))
        revoked = run_now(plan, sql, type, value, false);
    SPI_finish();
    return total;
}

std::int64_t revoke_family(Datum family) {
    static SPIPlanPtr plan = nullptr;
    return revoke(plan,
                  "UPDATE rolecall.refresh_tokens SET revoked = true WHERE family OPERATOR(pg_catalog.=) $1 "
                  "AND NOT revoked",
                  UUIDOID, family);
}

std::int64_t revoke_all_of(Datum user) {
    static SPIPlanPtr plan = nullptr;
    return revoke(plan,
                  "UPDATE rolecall.refresh_tokens SET revoked = true WHERE user_id OPERATOR(pg_catalog.=) $1 "
                  "AND NOT revoked",
                  INT8OID, user);
}

bool is_revoked(const pg_uuid_t& family) {
    static SPIPlanPtr plan = nullptr;
    SPI_connect();
    const bool none = run_now(plan,
                              "SELECT FROM rolecall.refresh_tokens WHERE family OPERATOR(pg_catalog.=) $1 "
                              "AND NOT revoked LIMIT 1",
                              UUIDOID, UUIDPGetDatum(&family), true) == 0;
    SPI_finish();
    return none;
}

}  // namespace

bool remove_expired() {
    const pg::Parameter most = pg::bigint_parameter(removed_at_once);
    const std::int64_t states = remove_states.run({most}).bigint(0, 1);
    const std::int64_t tokens = remove_tokens.run({most}).bigint(0, 1);
    return states == removed_at_once || tokens == removed_at_once;
}

}  // namespace rolecall::auth

using namespace rolecall;
using namespace rolecall::auth;

extern "C" {

ROLECALL_FUNCTION(rolecall_random_token, pg::takes(TEXTOID)) {
    (void)fcinfo;
    std::uint8_t bytes[token_bytes];
    char text[64];
    if (!pg_strong_random(bytes, sizeof bytes))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
    int length = pg::encode_base64(bytes, sizeof bytes, text, sizeof text);
    while (length > 0 && text[length - 1] == '=')
        --length;
    std::replace(text, text + length, '+', '-');
    std::replace(text, text + length, '/', '_');
    PG_RETURN_TEXT_P(cstring_to_text_with_len(text, length));
}

// revoke_family_durably(family uuid)
ROLECALL_FUNCTION(rolecall_revoke_family_durably, pg::takes(VOIDOID, UUIDOID)) {
    const pg_uuid_t* family = PG_GETARG_UUID_P(0);
    if (RecoveryInProgress())  // on a primary the revoker can write, even if this transaction cannot
        pg::require_writable("revoke refresh tokens");
    run_revoker(*family);
    if (!is_revoked(*family))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not revoke refresh tokens"),
                        errdetail("The token was used before, and its login is not ended yet."),
                        errhint("The server's log says why.")));
    PG_RETURN_VOID();
}

// revoke_tokens(of_family uuid, of_user bigint) runs as the caller, which must be the extension's owner.
ROLECALL_FUNCTION(rolecall_revoke_tokens, pg::takes_null(INT8OID, UUIDOID, INT8OID)) {
    if (!PG_ARGISNULL(0))
        PG_RETURN_INT64(revoke_family(PG_GETARG_DATUM(0)));
    PG_RETURN_INT64(PG_ARGISNULL(1) ? 0 : revoke_all_of(PG_GETARG_DATUM(1)));
}

}  // extern "C"

void rolecall_revoker_main(Datum argument) {
    const auto family = pg::enter_background<pg_uuid_t>(DatumGetObjectId(argument));
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    const pg::SecurityContext before = pg::act_as_owner();
    (void)revoke_family(UUIDPGetDatum(&family));
    pg::restore_security_context(before);
    PopActiveSnapshot();
    CommitTransactionCommand();
    proc_exit(0);
}
