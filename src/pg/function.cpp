#include "pg/function.h"

extern "C" {
#include "catalog/pg_proc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
}

namespace rolecall::pg {

namespace {

bool fits_argument(Oid declared, Oid expected) {
    return expected == ANYARRAYOID ? OidIsValid(get_element_type(declared)) : declared == expected;
}

bool fits_result(Oid declared, Oid expected) {
    return expected == RECORDOID ? declared == RECORDOID || get_typtype(declared) == TYPTYPE_COMPOSITE
                                 : declared == expected;
}

[[noreturn]] void refuse_declaration(FunctionCallInfo fcinfo) {
    ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
                    errmsg("function %s is not declared as its library has it",
                           format_procedure(fcinfo->flinfo->fn_oid)),
                    errhint("Use the functions that CREATE EXTENSION rolecall makes.")));
}

}  // namespace

void check_declaration(FunctionCallInfo fcinfo, const Declaration& declaration) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
    const auto& function = *reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    bool fits = function.pronargs == declaration.count && function.proretset == declaration.is_set &&
                fits_result(function.prorettype, declaration.result);
    for (int i = 0; fits && i < declaration.count; ++i)
        fits = fits_argument(function.proargtypes.values[i], declaration.arguments[i]);
    ReleaseSysCache(tuple);
    if (!fits)
        refuse_declaration(fcinfo);
}

void refuse_arguments(FunctionCallInfo fcinfo, const Declaration& declaration) {
    if (fcinfo->nargs != declaration.count)
        refuse_declaration(fcinfo);
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                    errmsg("an argument of function %s is NULL", format_procedure(fcinfo->flinfo->fn_oid))));
}

namespace {

TupleDesc row_type(FunctionCallInfo fcinfo) {
    TupleDesc row = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &row) != TYPEFUNC_COMPOSITE)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("function %s is called where its rows have no type",
                               format_procedure(fcinfo->flinfo->fn_oid))));
    return row;
}

void check_columns(FunctionCallInfo fcinfo, TupleDesc row, std::span<const Oid> columns) {
    bool fits = row->natts == static_cast<int>(columns.size());
    for (int i = 0; fits && i < row->natts; ++i)
        fits = !TupleDescAttr(row, i)->attisdropped && TupleDescAttr(row, i)->atttypid == columns[i];
    if (!fits)
        ereport(ERROR,
                (errcode(ERRCODE_DATATYPE_MISMATCH),
                 errmsg("function %s does not return such rows", format_procedure(fcinfo->flinfo->fn_oid)),
                 errhint("Use the functions that CREATE EXTENSION rolecall makes.")));
}

}  // namespace

TupleDesc result_row(FunctionCallInfo fcinfo, std::span<const Oid> columns) {
    TupleDesc row = row_type(fcinfo);
    check_columns(fcinfo, row, columns);
    return BlessTupleDesc(row);
}

const ReturnSetInfo& result_set(FunctionCallInfo fcinfo, std::span<const Oid> columns) {
    check_columns(fcinfo, row_type(fcinfo), columns);
    InitMaterializedSRF(fcinfo, 0);
    return *reinterpret_cast<const ReturnSetInfo*>(fcinfo->resultinfo);
}

}  // namespace rolecall::pg
