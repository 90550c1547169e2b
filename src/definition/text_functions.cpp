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

// The body of a function that is read when it runs, in the current memory context; nullptr: it has none.
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

// What a session has once read stays as it was read. The function's name; nullptr: there is none.
const char* ambiguous_function(const List* functions) {
    const ListCell* cell = nullptr;
    foreach (cell, functions)
        if (const char* text = text_of(lfirst_oid(cell)); text != nullptr && core::has_ambiguous_string(text))
            return format_procedure(lfirst_oid(cell));
    return nullptr;
}

}  // namespace

bool has_text(HeapTuple function) {
    const auto* row = reinterpret_cast<Form_pg_proc>(GETSTRUCT(function));
    bool has_no_tree = false;
    (void)SysCacheGetAttr(PROCOID, function, Anum_pg_proc_prosqlbody, &has_no_tree);
    return row->oid >= FirstNormalObjectId && row->prolang != INTERNALlanguageId &&
           row->prolang != ClanguageId && has_no_tree;
}

bool runs_text(const List* functions) {
    const ListCell* cell = nullptr;
    foreach (cell, functions)
        if (text_of(lfirst_oid(cell)) != nullptr)
            return true;
    return false;
}

// Who changes a relation looks for marks, under the lock that made definitions not quiet.
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
