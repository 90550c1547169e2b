#include "definition/view.h"

extern "C" {
#include "executor/spi.h"
}

namespace rolecall::projection {

Oid view_by_name(std::uint64_t id) {
    Oid types[] = {INT8OID};
    Datum values[] = {Int64GetDatum(static_cast<int64>(id))};
    if (SPI_execute_with_args("SELECT rolecall.view_by_name($1)", 1, types, values, nullptr, true, 1) !=
        SPI_OK_SELECT)
        elog(ERROR, "could not look for a view by its name");
    bool is_null = true;
    const Datum found = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
    return is_null ? InvalidOid : DatumGetObjectId(found);
}

}  // namespace rolecall::projection
