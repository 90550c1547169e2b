#include "pg/client_session.h"

// This file uses only fields of Port that precede the fields of these libraries. So the libraries' headers
// need not be installed.
#undef ENABLE_GSS
#undef USE_OPENSSL
#undef USE_SSL

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "libpq/auth.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"
}

namespace rolecall::pg {

namespace {

ClientAuthentication_hook_type previous_hook = nullptr;
void (*on_begin)(Oid database) = nullptr;

// Like GetDatabaseTuple() in the server, this does not rely on catalog indexes, which may not be usable yet.
Oid database_by_name(const char* name) {
    NameData wanted{};
    namestrcpy(&wanted, name);
    Relation databases = table_open(DatabaseRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_database_datname, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&wanted));
    SysScanDesc scan =
        systable_beginscan(databases, DatabaseNameIndexId, criticalSharedRelcachesBuilt, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    const Oid database =
        HeapTupleIsValid(tuple) ? reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->oid : InvalidOid;
    systable_endscan(scan);
    table_close(databases, AccessShareLock);
    return database;
}

void on_authentication(Port* port, int status) {
    if (previous_hook != nullptr)
        previous_hook(port, status);
    if (status != STATUS_OK || port->database_name == nullptr || !IsTransactionState())
        return;
    if (const Oid database = database_by_name(port->database_name); OidIsValid(database))
        on_begin(database);
}

}  // namespace

void watch_client_sessions(void (*begin)(Oid database)) {
    on_begin = begin;
    previous_hook = ClientAuthentication_hook;
    ClientAuthentication_hook = on_authentication;
}

}  // namespace rolecall::pg
