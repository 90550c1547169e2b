// What runs without being written where a function or an operator is used. Whose code that is matters to
// safety.cpp; that a function's result is exact is said by its volatility.
#include "definition/exact_walk.h"
#include "definition/exactness.h"

extern "C" {
#include "access/transam.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

// Built-in functions that run a query, or the expressions, operators or constraints of an object, which an
// argument names; in alphabetical order. All others run their own code, and that of their arguments' types.
constexpr const char* named_code[] = {
    "brin_summarize_new_values",
    "brin_summarize_range",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "gin_clean_pending_list",
    "pg_get_partition_constraintdef",
    "pg_input_error_info",
    "pg_input_is_valid",
    "pg_restore_attribute_stats",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "satisfies_hash_partition",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",  // the one that is given a query's text; the other is immutable
    "ts_stat",
};

bool is_built_in(Oid function) { return function < FirstNormalObjectId; }

// Input functions of arrays, records, domains and ranges take the type's number, which may be anybody's.
bool takes_text_of_a_type(Oid function, std::span<const Oid> types) {
    return std::find(types.begin(), types.end(), CSTRINGOID) != types.end() && !is_exact(function, false);
}

bool runs_what_is_named(Oid function, std::span<const Oid> types) {
    const char* name = get_func_name(function);
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
        return strcmp(name, "satisfies_hash_partition") == 0;
    return takes_text_of_a_type(function, types) ||
           std::binary_search(std::begin(named_code), std::end(named_code), name,
                              [](const char* a, const char* b) { return strcmp(a, b) < 0; });
}

void add_made(ExactWalk& walk, Oid type) {
    if (OidIsValid(type) && get_typtype(type) != TYPTYPE_PSEUDO)
        walk.found.made = list_append_unique_oid(walk.found.made, type);
}

}  // namespace

// Of a function's body nothing is known: in PL/pgSQL each assignment to a variable, an argument or the result
// makes a value of its type.
void run_unseen(ExactWalk& walk, Oid function) {
    Oid* types = nullptr;
    int count = 0;
    const Oid result = get_func_signature(function, &types, &count);
    const std::span<const Oid> arguments{types, static_cast<std::size_t>(count)};
    if (is_built_in(function)) {
        if (runs_what_is_named(function, arguments))
            refuse_unknown(walk, psprintf("function %s", format_procedure(function)));
        return;
    }
    for (const Oid type : arguments)
        add_made(walk, type);
    add_made(walk, result);
}

void take_value(ExactWalk& walk, Oid function, Oid type) {
    if (!is_built_in(function))
        add_made(walk, type);
}

// A built-in function that reads text or json by what the catalogs say of a type is not declared immutable:
// what they say may be anything. The immutable ones pass on what they are given.
void make_value(ExactWalk& walk, Oid function, Oid type) {
    if (!is_built_in(function) || func_volatile(function) != PROVOLATILE_IMMUTABLE)
        add_made(walk, type);
}

void make_result(ExactWalk& walk, Node* call, Oid function, Oid result) {
    if (result != RECORDOID) {
        make_value(walk, function, result);
        return;
    }
    TupleDesc columns = get_expr_result_tupdesc(call, true);
    if (columns == nullptr) {
        walk.makes_records |= is_polymorphic(function);
        return;
    }
    for (int i = 0; i < columns->natts; ++i)
        if (!TupleDescAttr(columns, i)->attisdropped)
            make_value(walk, function, TupleDescAttr(columns, i)->atttypid);
}

void add_family(Execution& execution, Oid family) {
    if (list_member_oid(execution.families, family))
        return;
    execution.families = lappend_oid(execution.families, family);
    const auto add = [&execution](Oid function) {
        if (OidIsValid(function) && !is_built_in(function))
            execution.functions = list_append_unique_oid(execution.functions, function);
    };
    CatCList* functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family));
    for (int i = 0; i < functions->n_members; ++i)
        add(reinterpret_cast<Form_pg_amproc>(GETSTRUCT(&functions->members[i]->tuple))->amproc);
    ReleaseSysCacheList(functions);
    CatCList* operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
    for (int i = 0; i < operators->n_members; ++i)
        add(get_opcode(reinterpret_cast<Form_pg_amop>(GETSTRUCT(&operators->members[i]->tuple))->amopopr));
    ReleaseSysCacheList(operators);
}

}  // namespace rolecall::projection
