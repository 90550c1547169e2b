#include "definition/text_functions.h"

#include "cache/shared.h"
#include "core/sql_text.h"
#include "pg/testing.h"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "utils/fmgrprotos.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

// Returns the body of a function that is read when the function runs, in the current memory context, or
// nullptr if the function has no such body.
const char* text_of(Oid function) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    bool is_null = false;
    const Datum source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);
    const char* body = has_text(tuple) && !is_null ? TextDatumGetCString(source) : nullptr;
    ReleaseSysCache(tuple);
    return body;
}

// Returns the name of the first function with a string that standard_conforming_strings reads in two ways, or
// nullptr if there is none. A session that has read a text once keeps the result, whatever the setting is
// later.
const char* ambiguous_function(const List* functions) {
    const ListCell* cell = nullptr;
    foreach (cell, functions)
        if (const char* text = text_of(lfirst_oid(cell)); text != nullptr && core::has_ambiguous_string(text))
            return format_procedure(lfirst_oid(cell));
    return nullptr;
}

}  // namespace

bool runs_text(const List* functions) {
    const ListCell* cell = nullptr;
    foreach (cell, functions)
        if (text_of(lfirst_oid(cell)) != nullptr)
            return true;
    return false;
}

// If the mark is new, definitions do not count as quiet for this read: a transaction that changes a relation
// looks for marks under the lock that makes definitions not quiet, and may have looked before the mark was
// there.
void check_text(Description& projection, const Execution& execution, Verdict& verdict) {
    if (cache::preloaded() && !cache::mark_text(projection.id) &&
        !testing::fault(testing::Fault::texts_not_marked))
        projection.quiet = false;
    if (const char* name = ambiguous_function(execution.functions); name != nullptr && projection.ttl == 0)
        add_problem(&verdict.problems,
                    {.relation = projection.view,
                     .lasting = true,
                     .text = psprintf(
                         "function %s has a string that standard_conforming_strings reads in two ways", name),
                     .repair = "write strings with a backslash as E'...' in it"});
}

bool has_temporary_schema() {
    return OidIsValid(DatumGetObjectId(DirectFunctionCall1(pg_my_temp_schema, Datum{0})));
}

}  // namespace rolecall::projection
