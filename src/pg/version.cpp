#include "pg/version.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
}

namespace rolecall::pg {

namespace {

constexpr const char* library_version = ROLECALL_VERSION;

const char* message(const char* version) {
    return psprintf("extension rolecall has version %s in this database, its library version %s", version,
                    library_version);
}

constexpr const char* hint =
    "Run ALTER EXTENSION rolecall UPDATE. Where that was done, restart the server with the new library.";

}  // namespace

const char* sql_version() {
    const char* version = nullptr;
    Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
                CStringGetDatum("rolecall"));
    SysScanDesc scan = systable_beginscan(extensions, ExtensionNameIndexId, true, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    if (HeapTupleIsValid(tuple)) {
        bool is_null = false;
        const Datum value =
            heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &is_null);
        version = TextDatumGetCString(value);
    }
    systable_endscan(scan);
    table_close(extensions, AccessShareLock);
    return version;
}

bool sql_is_current() {
    const char* version = sql_version();
    return version != nullptr && strcmp(version, library_version) == 0;
}

void require_current_sql() {
    const char* version = sql_version();
    if (version != nullptr && strcmp(version, library_version) != 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg_internal("%s", message(version)), errhint("%s", hint)));
}

void warn_of_other_sql(const char* consequence) {
    const char* version = sql_version();
    if (version != nullptr)
        ereport(WARNING, (errcode(ERRCODE_WARNING), errmsg_internal("%s", message(version)),
                          errdetail_internal("%s", consequence), errhint("%s", hint)));
}

}  // namespace rolecall::pg
