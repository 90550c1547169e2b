#include "projection/exactness.h"

extern "C" {
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/lsyscache.h"
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

struct Search {
    bool may_ask_time;
    const char* found;
};

bool contains(std::span<const char* const> names, const char* name) {
    return std::binary_search(names.begin(), names.end(), name,
                              [](const char* a, const char* b) { return strcmp(a, b) < 0; });
}

// For check_functions_in_node: true ends the search.
bool is_inexact(Oid function, void* context) {
    auto* search = static_cast<Search*>(context);
    const char volatility = func_volatile(function);
    if (volatility == PROVOLATILE_IMMUTABLE)
        return false;
    const char* name = get_func_name(function);
    if (function < FirstNormalObjectId && volatility == PROVOLATILE_STABLE &&
        (contains(stable_functions, name) || (search->may_ask_time && contains(time_functions, name))))
        return false;
    search->found = psprintf("function %s is not immutable", quote_identifier(name));
    return true;
}

bool is_time(SQLValueFunctionOp op) {
    switch (op) {
        case SVFOP_CURRENT_ROLE:
        case SVFOP_CURRENT_USER:
        case SVFOP_USER:
        case SVFOP_SESSION_USER:
        case SVFOP_CURRENT_CATALOG:
        case SVFOP_CURRENT_SCHEMA:
            return false;
        default:
            return true;
    }
}

bool walk(Node* node, void* context) {
    auto* search = static_cast<Search*>(context);
    if (node == nullptr)
        return false;
    if (check_functions_in_node(node, is_inexact, context))
        return true;
    switch (nodeTag(node)) {
        case T_SQLValueFunction:
            if (!is_time(reinterpret_cast<SQLValueFunction*>(node)->op))
                search->found = "it asks for the current user, database or schema";
            else if (!search->may_ask_time)
                search->found = "it asks for the current time";
            break;
        case T_NextValueExpr:
            search->found = "it calls nextval()";
            break;
        case T_TableSampleClause:
            search->found = "it uses TABLESAMPLE";
            break;
        case T_Var: {
            const AttrNumber column = reinterpret_cast<Var*>(node)->varattno;
            if (column < 0 && column != TableOidAttributeNumber)
                search->found = "it uses a system column";
            break;
        }
        case T_Query:
            return query_tree_walker(reinterpret_cast<Query*>(node), pg::tree_walker(walk), context, 0);
        default:
            break;
    }
    return search->found != nullptr || expression_tree_walker(node, pg::tree_walker(walk), context);
}

}  // namespace

const char* inexactness(List* queries, bool may_ask_time) {
    Search search{.may_ask_time = may_ask_time, .found = nullptr};
    ListCell* cell = nullptr;
    foreach (cell, queries)
        if (walk(static_cast<Node*>(lfirst(cell)), &search))
            break;
    return search.found;
}

}  // namespace rolecall::projection
