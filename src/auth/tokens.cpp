#include "auth/tokens.h"

#include "pg/acting.h"
#include "pg/background.h"
#include "pg/function.h"
#include "pg/read_only.h"
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
pg::Statement revoke_statement("SELECT rolecall.revoke_tokens($1, NULL::bigint)", {UUIDOID});

void run_revoker(const pg_uuid_t& family) {
    if (!pg::run_in_background("rolecall_revoker_main", "rolecall token revoker", &family, sizeof family))
        ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                        errmsg("could not start the worker that revokes refresh tokens"),
                        errdetail("The token was used before, and its login is not ended yet."),
                        errhint("Raise max_worker_processes.")));
}

// Under a snapshot of now, whatever the transaction's isolation level.
bool is_revoked(const pg_uuid_t& family) {
    SPI_connect();
    Oid types[] = {UUIDOID};
    Datum values[] = {UUIDPGetDatum(&family)};
    SPIPlanPtr plan =
        SPI_prepare("SELECT FROM rolecall.refresh_tokens WHERE family = $1 AND NOT revoked", 1, types);
    if (plan == nullptr)
        elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
    SPI_execute_snapshot(plan, values, nullptr, GetLatestSnapshot(), InvalidSnapshot, true, false, 1);
    const bool none = SPI_processed == 0;
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
    if (RecoveryInProgress())  // elsewhere another process can, whatever this transaction may
        pg::require_writable("revoke refresh tokens");
    run_revoker(*family);
    if (!is_revoked(*family))
        ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not revoke refresh tokens"),
                        errdetail("The token was used before, and its login is not ended yet."),
                        errhint("The server's log says why.")));
    PG_RETURN_VOID();
}

}  // extern "C"

void rolecall_revoker_main(Datum argument) {
    const auto family = pg::enter_background<pg_uuid_t>(DatumGetObjectId(argument));
    StartTransactionCommand();
    PushActiveSnapshot(GetTransactionSnapshot());
    const pg::Acting acting = pg::act_as_owner();
    pg::guarded([&] {
        pg::spi_connect();
        (void)revoke_statement.run({UUIDPGetDatum(&family)});
        pg::spi_finish();
    });
    pg::stop_acting(acting);
    PopActiveSnapshot();
    CommitTransactionCommand();
    proc_exit(0);
}
