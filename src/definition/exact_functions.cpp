#include "definition/exact_walk.h"
#include "definition/exactness.h"

extern "C" {
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "executor/functions.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

// Built-in functions that are declared stable for a setting that is pinned, or because they call the output
// functions of their arguments' types; in alphabetical order. Not among them: whatever asks the session, the
// time, the catalogs or other tables, and the input of dates and times, which may be 'today'.
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

// They return the start of the transaction.
constexpr const char* time_functions[] = {"now", "transaction_timestamp"};

bool contains(std::span<const char* const> names, const char* name) {
    return std::binary_search(names.begin(), names.end(), name,
                              [](const char* a, const char* b) { return strcmp(a, b) < 0; });
}

// The declared types of arguments; the last is that of all that follow.
Oid declared_type(const Oid* types, int count, int number) {
    return count == 0 ? InvalidOid : types[std::min(number, count - 1)];
}

bool is_polymorphic_type(Oid type) {
    return IsPolymorphicType(type) || type == ANYOID || type == RECORDOID || type == RECORDARRAYOID;
}

}  // namespace

bool is_exact(Oid function, bool may_ask_time) {
    const char volatility = func_volatile(function);
    if (volatility == PROVOLATILE_IMMUTABLE)
        return true;
    const char* name = get_func_name(function);
    return function < FirstNormalObjectId && volatility == PROVOLATILE_STABLE &&
           (contains(stable_functions, name) || (may_ask_time && contains(time_functions, name)));
}

void run_function(ExactWalk& walk, Oid function) {
    walk.found.functions = list_append_unique_oid(walk.found.functions, function);
    run_unseen(walk, function);
    if (!is_exact(function, walk.may_ask_time))
        note(walk, psprintf("function %s is not immutable", quote_identifier(get_func_name(function))));
}

// An aggregate is declared immutable whatever its functions are.
void run_aggregate(ExactWalk& walk, Oid aggregate) {
    run_function(walk, aggregate);
    HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(tuple))
        return;  // a window function, which has no others
    if (aggregate >= FirstNormalObjectId) {
        const auto& parts = *reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(tuple));
        for (const Oid function :
             {parts.aggtransfn, parts.aggfinalfn, parts.aggcombinefn, parts.aggserialfn, parts.aggdeserialfn,
              parts.aggmtransfn, parts.aggminvtransfn, parts.aggmfinalfn})
            if (OidIsValid(function))
                run_function(walk, function);
        if (OidIsValid(parts.aggsortop))
            run_operator(walk, parts.aggsortop);
    }
    ReleaseSysCache(tuple);
}

namespace {

// An index, a sort or a hash table on the operator runs what its family has for that. `each` for each family.
template <typename Each>
void for_families(Oid number, Each&& each) {
    CatCList* members = SearchSysCacheList1(AMOPOPID, ObjectIdGetDatum(number));
    for (int i = 0; i < members->n_members; ++i)
        each(reinterpret_cast<Form_pg_amop>(GETSTRUCT(&members->members[i]->tuple))->amopfamily);
    ReleaseSysCacheList(members);
}

void run_family(ExactWalk& walk, Oid family) {
    CatCList* functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(family));
    for (int i = 0; i < functions->n_members; ++i)
        run_function(walk,
                     reinterpret_cast<Form_pg_amproc>(GETSTRUCT(&functions->members[i]->tuple))->amproc);
    ReleaseSysCacheList(functions);
}

}  // namespace

// What is built in has no others than built-in ones, but it may be in families of an application's: these say
// that they compare as it does, and whose code they are is looked at.
void run_operator(ExactWalk& walk, Oid number) {
    run_function(walk, get_opcode(number));
    for_families(number, [&walk](Oid family) { add_family(walk.found, family); });
    if (number < FirstNormalObjectId)
        return;
    for (const Oid other : {get_commutator(number), get_negator(number)})
        if (OidIsValid(other))
            run_function(walk, get_opcode(other));
    for_families(number, [&walk](Oid family) { run_family(walk, family); });
}

// ---- What is passed to them

bool is_polymorphic(Oid function) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    return std::any_of(types, types + count, is_polymorphic_type);
}

void pass_types(ExactWalk& walk, Oid function, const List* arguments) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    ListCell* cell = nullptr;
    foreach (cell, arguments)
        if (is_polymorphic_type(declared_type(types, count, foreach_current_index(cell)))) {
            write_type(walk, lfirst_oid(cell));
            take_value(walk, function, lfirst_oid(cell));
        }
}

void pass_arguments(ExactWalk& walk, Oid function, const List* arguments) {
    List* types = NIL;
    ListCell* cell = nullptr;
    foreach (cell, arguments)
        types = lappend_oid(types, exprType(static_cast<Node*>(lfirst(cell))));
    pass_types(walk, function, types);
}

namespace {

// BEGIN ATOMIC is kept as a list of lists of queries, RETURN as a query.
List* rewritten(Node* body) {
    List* queries = NIL;
    ListCell* cell = nullptr;
    foreach (cell, IsA(body, List) ? linitial_node(List, reinterpret_cast<List*>(body)) : list_make1(body)) {
        Query* query = lfirst_node(Query, cell);
        AcquireRewriteLocks(query, true, false);
        queries = list_concat(queries, pg_rewrite_query(query));
    }
    return queries;
}

// The queries of a function that is written in SQL, where the planner may put them in place of the call; NIL:
// it runs as it is, with the rights of whom it says, under its own settings, or is nothing of the kind.
List* body_of(HeapTuple tuple, Node* call, Oid collation) {
    const auto& function = *reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    if (function.oid < FirstNormalObjectId || function.prolang != SQLlanguageId ||
        function.prokind != PROKIND_FUNCTION || function.prosecdef || function.prorettype == RECORDOID ||
        !heap_attisnull(tuple, Anum_pg_proc_proconfig, nullptr))
        return NIL;
    bool is_null = false;
    const Datum parsed = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &is_null);
    if (!is_null)
        return rewritten(static_cast<Node*>(stringToNode(TextDatumGetCString(parsed))));
    const Datum source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &is_null);
    const char* sql = TextDatumGetCString(source);
    SQLFunctionParseInfoPtr parse = prepare_sql_fn_parse_info(tuple, call, collation);
    List* queries = NIL;
    ListCell* cell = nullptr;
    foreach (cell, pg_parse_query(sql))
        queries = list_concat(
            queries, pg_analyze_and_rewrite_withcb(
                         lfirst_node(RawStmt, cell), sql,
                         reinterpret_cast<ParserSetupHook>(reinterpret_cast<void (*)()>(sql_fn_parser_setup)),
                         parse, nullptr));
    return queries;
}

bool add_relations(Node* node, void* relations) {
    if (node == nullptr)
        return false;
    if (!IsA(node, Query))
        return expression_tree_walker(node, pg::tree_walker(add_relations), relations);
    auto* query = reinterpret_cast<Query*>(node);
    auto& all = *static_cast<List**>(relations);
    ListCell* cell = nullptr;
    foreach (cell, query->rtable)
        if (const auto* entry = lfirst_node(RangeTblEntry, cell);
            entry->rtekind == RTE_RELATION || (entry->rtekind == RTE_SUBQUERY && OidIsValid(entry->relid)))
            all = list_append_unique_oid(all, entry->relid);
    return query_tree_walker(query, pg::tree_walker(add_relations), relations, 0);
}

// That it is immutable its owner has declared, but what it calls runs with the same rights, and a table that
// it reads is watched by nobody.
void visit_body(ExactWalk& walk, HeapTuple tuple, Node* call, Oid collation) {
    const Oid function = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->oid;
    if (list_member_oid(*walk.bodies, function))
        return;
    *walk.bodies = lappend_oid(*walk.bodies, function);
    List* queries = body_of(tuple, call, collation);
    if (queries == NIL)
        return;
    walk.found.calls_sql = true;
    List* relations = NIL;
    add_relations(reinterpret_cast<Node*>(queries), static_cast<void*>(&relations));
    if (relations != NIL) {
        note(walk, psprintf("function %s reads a table", format_procedure(function)));
        walk.found.read_inside = list_concat_unique_oid(walk.found.read_inside, relations);
    }

    Execution inside;
    ExactWalk body{.found = inside, .bodies = walk.bodies, .may_ask_time = true};
    visit(reinterpret_cast<Node*>(queries), &body);
    walk.found.functions = list_concat_unique_oid(walk.found.functions, inside.functions);
    walk.found.domains = list_concat_unique_oid(walk.found.domains, inside.domains);
    walk.found.made = list_concat_unique_oid(walk.found.made, inside.made);
    walk.found.policed = list_concat_unique_oid(walk.found.policed, inside.policed);
    walk.found.read_inside = list_concat_unique_oid(walk.found.read_inside, inside.read_inside);
    if (walk.found.unknown == nullptr)
        walk.found.unknown = inside.unknown;
    if (inside.read_inside != NIL)
        note(walk, psprintf("what function %s calls reads a table", format_procedure(function)));
}

}  // namespace

void visit_call(ExactWalk& walk, Node* call, Oid function, List* arguments, Oid result, Oid collation) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    // The planner does this, so that the rewritten query lacks them.
    arguments = expand_function_arguments(list_copy(arguments), false, result, tuple);
    if (result == RECORDOID) {
        if (TupleDesc columns = get_expr_result_tupdesc(call, true); columns != nullptr)
            add_columns(walk, columns);
        else
            walk.unknown_record = format_procedure(function);
    }
    make_result(walk, call, function, result);
    visit_body(walk, tuple, call, collation);
    ReleaseSysCache(tuple);

    pass_arguments(walk, function, arguments);
    if (get_typtype(result) == TYPTYPE_RANGE)
        run_range(walk, result);
    visit(reinterpret_cast<Node*>(arguments), &walk);
}

}  // namespace rolecall::projection
