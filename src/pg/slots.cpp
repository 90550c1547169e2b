#include "pg/slots.h"

#include "pg/function.h"

extern "C" {
#include "utils/tuplestore.h"
}

namespace rolecall::pg {

namespace {

constexpr int most_tables = 8;
SlotTable tables[most_tables];
int table_count = 0;

}  // namespace

void add_slots(const SlotTable& table) {
    for (int i = 0; i < table_count; ++i)
        if (strcmp(tables[i].name, table.name) == 0)
            return;  // shared memory was reinitialized
    Assert(table_count < most_tables);
    tables[table_count++] = table;
}

void log_full(const char* name, int slots, const char* consequence) {
    ereport(LOG, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                  errmsg("there is no room for more than %d %s", slots, name), errdetail("%s", consequence),
                  errhint("rolecall.stat_slots shows how full the tables of the server are.")));
}

}  // namespace rolecall::pg

using namespace rolecall::pg;

extern "C" {

// Returns a row for each fixed table, in the order of the view stat_slots.
ROLECALL_FUNCTION(rolecall_slot_statistics, gives_rows()) {
    const ReturnSetInfo& result = result_set(fcinfo, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID);
    for (int i = 0; i < table_count; ++i) {
        const SlotCounts counts = tables[i].count();
        Datum values[] = {CStringGetTextDatum(tables[i].name), Int64GetDatum(counts.slots),
                          Int64GetDatum(counts.used), Int64GetDatum(counts.evicted),
                          Int64GetDatum(counts.refused)};
        bool nulls[std::size(values)] = {};
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
    }
    return Datum{0};
}

}  // extern "C"
