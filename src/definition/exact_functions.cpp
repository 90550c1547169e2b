#include "definition/exact_walk.h"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

// Built-in functions that are declared stable because of a setting that is pinned, or because they call the
// output functions of their arguments' types; in alphabetical order. Functions that depend on the session,
// the time, the catalogs or other tables are not in the list, nor are the input functions of dates and times,
// which accept 'today'.
constexpr const char* stable_functions[] = {
    "anyarray_out",
    "anytextcat",
    "array_out",
    "array_to_json",
    "array_to_string",
    "cash_in",
    "cash_out",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "date",
    "date_cmp_timestamptz",
    "date_eq_timestamptz",
    "date_ge_timestamptz",
    "date_gt_timestamptz",
    "date_le_timestamptz",
    "date_lt_timestamptz",
    "date_ne_timestamptz",
    "date_out",
    "date_part",
    "date_trunc",
    "enum_first",
    "enum_in",
    "enum_last",
    "enum_out",
    "enum_range",
    "extract",
    "format",
    "generate_series",
    "interval_out",
    "interval_pl_timestamptz",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "jsonb_path_exists_tz",
    "jsonb_path_match_tz",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
    "length",
    "make_timestamptz",
    "money",
    "multirange_out",
    "numeric",
    "overlaps",
    "quote_literal",
    "quote_nullable",
    "range_out",
    "record_out",
    "row_to_json",
    "textanycat",
    "time",
    "timestamp",
    "timestamp_cmp_timestamptz",
    "timestamp_eq_timestamptz",
    "timestamp_ge_timestamptz",
    "timestamp_gt_timestamptz",
    "timestamp_le_timestamptz",
    "timestamp_lt_timestamptz",
    "timestamp_ne_timestamptz",
    "timestamp_out",
    "timestamptz",
    "timestamptz_cmp_date",
    "timestamptz_cmp_timestamp",
    "timestamptz_eq_date",
    "timestamptz_eq_timestamp",
    "timestamptz_ge_date",
    "timestamptz_ge_timestamp",
    "timestamptz_gt_date",
    "timestamptz_gt_timestamp",
    "timestamptz_le_date",
    "timestamptz_le_timestamp",
    "timestamptz_lt_date",
    "timestamptz_lt_timestamp",
    "timestamptz_mi_interval",
    "timestamptz_ne_date",
    "timestamptz_ne_timestamp",
    "timestamptz_out",
    "timestamptz_pl_interval",
    "timetz",
    "timezone",
    "to_char",
    "to_date",
    "to_json",
    "to_jsonb",
    "to_number",
    "to_timestamp",
};

// These functions return the start of the transaction.
constexpr const char* time_functions[] = {"now", "transaction_timestamp"};

// Returns the declared type of an argument. The last declared type is that of all further arguments.
Oid declared_type(const Oid* types, int count, int number) {
    return count == 0 ? InvalidOid : types[std::min(number, count - 1)];
}

bool is_polymorphic_type(Oid type) {
    return IsPolymorphicType(type) || type == ANYOID || type == RECORDOID || type == RECORDARRAYOID;
}

}  // namespace

namespace {

// A stable function that is given a time of day with a zone takes the zone's offset of today: AT TIME ZONE.
bool takes_timetz(Oid function) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    return std::find(types, types + count, Oid{TIMETZOID}) != types + count;
}

}  // namespace

bool is_among(std::span<const char* const> names, const char* name) {
    return std::binary_search(names.begin(), names.end(), name,
                              [](const char* a, const char* b) { return strcmp(a, b) < 0; });
}

bool is_exact(Oid function, bool may_ask_time) {
    const char volatility = func_volatile(function);
    if (volatility == PROVOLATILE_IMMUTABLE)
        return true;
    const char* name = get_func_name(function);
    return function < FirstNormalObjectId && volatility == PROVOLATILE_STABLE &&
           ((is_among(stable_functions, name) && !takes_timetz(function)) ||
            (may_ask_time && is_among(time_functions, name)));
}

namespace {

// Returns whether a built-in function is allowed inside a function, whatever volatility that function's owner
// has declared. Other built-in functions may read what a text or a number names.
bool is_harmless_inside(Oid function, bool may_ask_time) {
    return is_exact(function, may_ask_time) ||
           (func_volatile(function) == PROVOLATILE_STABLE && func_parallel(function) == PROPARALLEL_SAFE);
}

}  // namespace

void run_function(ExactWalk& walk, Oid function, List* types) {
    walk.found.functions = list_append_unique_oid(walk.found.functions, function);
    walk.found.as_caller = list_append_unique_oid(walk.found.as_caller, function);
    const char* complaint =
        psprintf("function %s is not immutable", quote_identifier(get_func_name(function)));
    if (function >= FirstNormalObjectId)
        look_inside(walk, function, types);
    else
        refuse_named_code(walk, function);
    if (function < FirstNormalObjectId && walk.is_inside && !is_harmless_inside(function, walk.may_ask_time))
        refuse(walk, complaint);
    if (!is_exact(function, walk.may_ask_time))
        note(walk, complaint);
}

namespace {

Oid state_type(Oid aggregate, Oid declared, const List* types) {
    Oid given[FUNC_MAX_ARGS];
    if (!OidIsValid(declared) || !IsPolymorphicType(declared))
        return declared;
    ListCell* cell = nullptr;
    foreach (cell, types)
        given[foreach_current_index(cell)] = lfirst_oid(cell);
    return resolve_aggregate_transtype(aggregate, declared, given, list_length(types));
}

// A final function may be given nulls of the types of the aggregate's arguments.
List* final_types(Oid state, bool is_extra, const List* types) {
    List* all = list_make1_oid(state);
    return is_extra ? list_concat(all, types) : all;
}

// Handles the support functions of an aggregate, with the types of their arguments.
void run_support(ExactWalk& walk, Oid aggregate, const FormData_pg_aggregate& parts, const List* types) {
    const Oid state = state_type(aggregate, parts.aggtranstype, types);
    const Oid moving = state_type(aggregate, parts.aggmtranstype, types);
    List* rows = NIL;  // types of the arguments that are evaluated for each row
    ListCell* cell = nullptr;
    foreach (cell, types)
        if (foreach_current_index(cell) >= parts.aggnumdirectargs)
            rows = lappend_oid(rows, lfirst_oid(cell));
    const struct {
        Oid function;
        List* types;
    } support[] = {
        {parts.aggtransfn, list_concat(list_make1_oid(state), rows)},
        {parts.aggfinalfn, final_types(state, parts.aggfinalextra, types)},
        {parts.aggcombinefn, list_make2_oid(state, state)},
        {parts.aggserialfn, list_make1_oid(state)},
        {parts.aggdeserialfn, NIL},
        {parts.aggmtransfn, list_concat(list_make1_oid(moving), rows)},
        {parts.aggminvtransfn, list_concat(list_make1_oid(moving), rows)},
        {parts.aggmfinalfn, final_types(moving, parts.aggmfinalextra, types)},
    };
    for (const auto& each : support)
        if (OidIsValid(each.function))
            run_function(walk, each.function, each.types);
    for (const Oid type : {state, moving})  // the initial state is made from a text
        if (OidIsValid(type))
            make_type(walk, type);
    if (OidIsValid(parts.aggsortop))
        run_operator(walk, parts.aggsortop);
}

}  // namespace

// An aggregate is always declared immutable, whatever volatility its functions have.
void run_aggregate(ExactWalk& walk, Oid aggregate, List* types) {
    HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(tuple))
        return;  // a window function, which has no support functions
    if (aggregate >= FirstNormalObjectId)
        run_support(walk, aggregate, *reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(tuple)), types);
    ReleaseSysCache(tuple);
}

// Built-in functions of a built-in family need no check, but an application may have added others. The
// planner may compare with another equality operator of a b-tree or hash family, and sort with another
// ordering of the family. The operators of other access methods are used only in the query itself or in an
// index.
void run_family(ExactWalk& walk, Oid family, bool in_index) {
    if (list_member_oid(walk.families, family))
        return;
    walk.families = lappend_oid(walk.families, family);
    const auto run = [&walk, family](Oid function) {
        if (std::max(function, family) >= FirstNormalObjectId)
            run_function(walk, function);
    };
    CatCList* functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family));
    for (int i = 0; i < functions->n_members; ++i)
        run(reinterpret_cast<Form_pg_amproc>(GETSTRUCT(&functions->members[i]->tuple))->amproc);
    ReleaseSysCacheList(functions);
    CatCList* operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(family));
    for (int i = 0; i < operators->n_members; ++i) {
        const auto* member = reinterpret_cast<Form_pg_amop>(GETSTRUCT(&operators->members[i]->tuple));
        if (in_index || member->amopmethod == BTREE_AM_OID || member->amopmethod == HASH_AM_OID)
            run(get_opcode(member->amopopr));
    }
    ReleaseSysCacheList(operators);
}

namespace {

// An index, a partition's bounds, a sort or a hash table that uses the operator runs functions of the
// operator's family. A built-in operator may also be in a family of an application.
void run_families(ExactWalk& walk, Oid number) {
    CatCList* members = SearchSysCacheList1(AMOPOPID, ObjectIdGetDatum(number));
    for (int i = 0; i < members->n_members; ++i)
        run_family(walk, reinterpret_cast<Form_pg_amop>(GETSTRUCT(&members->members[i]->tuple))->amopfamily,
                   false);
    ReleaseSysCacheList(members);
}

}  // namespace

void run_operator(ExactWalk& walk, Oid number, List* types) {
    run_function(walk, get_opcode(number), types);
    run_families(walk, number);
    if (number < FirstNormalObjectId)
        return;  // its negator and commutator are built in
    if (const Oid negator = get_negator(number); OidIsValid(negator))
        run_function(walk, get_opcode(negator), types);
    List* swapped = list_length(types) == 2 ? list_make2_oid(lsecond_oid(types), linitial_oid(types)) : NIL;
    if (const Oid commutator = get_commutator(number); OidIsValid(commutator))
        run_function(walk, get_opcode(commutator), swapped);
}

// ---- What is passed to functions

bool is_polymorphic(Oid function) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    return std::any_of(types, types + count, is_polymorphic_type);
}

List* types_of(const List* expressions) {
    List* types = NIL;
    const ListCell* cell = nullptr;
    foreach (cell, expressions)
        types = lappend_oid(types, exprType(static_cast<Node*>(lfirst(cell))));
    return types;
}

void pass_types(ExactWalk& walk, Oid function, const List* types) {
    Oid* declared = nullptr;
    int count = 0;
    (void)get_func_signature(function, &declared, &count);
    ListCell* cell = nullptr;
    foreach (cell, types) {
        if (!is_polymorphic_type(declared_type(declared, count, foreach_current_index(cell))))
            continue;
        write_type(walk, lfirst_oid(cell));
        if (function >= FirstNormalObjectId)  // the body may make values of this type, and may be unreadable
            make_type(walk, lfirst_oid(cell));
    }
}

void visit_call(ExactWalk& walk, Node* call, Oid function, List* arguments, Oid result) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    // The planner adds default arguments, so the rewritten query does not have them yet.
    arguments = expand_function_arguments(list_copy(arguments), false, result, tuple);
    ReleaseSysCache(tuple);
    if (result == RECORDOID) {
        if (TupleDesc columns = get_expr_result_tupdesc(call, true); columns != nullptr)
            add_columns(walk, columns);
        else
            walk.unknown_record = format_procedure(function);
        walk.makes_records |= walk.unknown_record != nullptr && is_polymorphic(function);
    }
    List* types = types_of(arguments);
    run_function(walk, function, types);
    pass_types(walk, function, types);
    // A built-in function that uses the catalogs' description of a type to read text or json is not declared
    // immutable, because the catalogs may say anything. Immutable built-in functions only pass on values that
    // they are given.
    if (function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_IMMUTABLE)
        make_type(walk, result);
    visit(reinterpret_cast<Node*>(arguments), &walk);
}

}  // namespace rolecall::projection
