#include "definition/plan.h"

extern "C" {
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "nodes/plannodes.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

List* retired_plans = NIL;  // of Plan *

void on_transaction_end(XactEvent event, void*) {
    if (retired_plans == NIL ||
        (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
        return;
    ListCell* cell = nullptr;
    foreach (cell, retired_plans) {
        auto* plan = static_cast<Plan*>(lfirst(cell));
        SPI_freeplan(plan->saved);
        MemoryContextDelete(GetMemoryChunkContext(plan));
    }
    list_free(retired_plans);
    retired_plans = NIL;
}

Node* on_parameter(ParseState* parse, ParamRef* reference) {
    const auto* plan = static_cast<Plan*>(parse->p_ref_hook_state);
    if (reference->number < 1 || reference->number > plan->parameters)
        return nullptr;
    Param* parameter = makeNode(Param);
    parameter->paramkind = PARAM_EXTERN;
    parameter->paramid = reference->number;
    parameter->paramtype = plan->types[reference->number - 1];
    parameter->paramtypmod = -1;
    parameter->paramcollid = get_typcollation(parameter->paramtype);
    parameter->location = reference->location;
    return reinterpret_cast<Node*>(parameter);
}

// Called when a column has been found, before the query is rewritten or planned, because planning evaluates
// functions. The check is needed because a name may now mean another relation, such as a view in place of the
// table. Before PostgreSQL 16, even the same relation may have turned from a table into a view.
Node* on_column(ParseState* parse, ColumnRef*, Node* found) {
    const auto* plan = static_cast<Plan*>(parse->p_ref_hook_state);
    if (found == nullptr || !IsA(found, Var))
        return nullptr;
    const auto* column = reinterpret_cast<Var*>(found);
    const RangeTblEntry* entry =
        GetRTEByRangeTablePosn(parse, static_cast<int>(column->varno), static_cast<int>(column->varlevelsup));
    if (!list_member_oid(plan->relations, entry->relid) || owner_of(entry->relid) != plan->owner)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("projection \"%s\" was changed while it was read", NameStr(plan->projection)),
                        errdetail("Relation %s is another by now.", qualified_name(entry->relid)),
                        errhint("Try again.")));
    return nullptr;
}

void set_up_parser(ParseState* parse, void* plan) {
    parse->p_paramref_hook = on_parameter;
    parse->p_post_columnref_hook = on_column;
    parse->p_ref_hook_state = plan;
}

}  // namespace

void plan_init() { RegisterXactCallback(on_transaction_end, nullptr); }

Plan* make_plan(const NameData& projection, Oid owner, const List* relations, const char* query,
                std::span<const Oid> types, int cursor_options) {
    // If an error is raised below, this context is freed together with the caller's.
    MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "rolecall plan", ALLOCSET_SMALL_SIZES);
    auto* plan = static_cast<Plan*>(MemoryContextAllocZero(context, sizeof(Plan)));
    plan->projection = projection;
    MemoryContext caller = MemoryContextSwitchTo(context);
    plan->relations = list_copy(relations);
    MemoryContextSwitchTo(caller);
    plan->owner = owner;
    plan->parameters = static_cast<int>(types.size());
    std::copy(types.begin(), types.end(), plan->types);
    plan->saved = SPI_prepare_params(query, set_up_parser, plan, cursor_options);
    if (plan->saved == nullptr || SPI_keepplan(plan->saved) != 0)
        elog(ERROR, "could not plan projection \"%s\": %s", NameStr(projection),
             SPI_result_code_string(SPI_result));
    MemoryContextSetParent(context, TopMemoryContext);
    retire_plan(plan);
    return plan;
}

Plan* make_plan(const NameData& projection, Oid relation, const char* query, std::span<const Oid> types,
                int cursor_options) {
    return make_plan(projection, owner_of(relation), list_make1_oid(relation), query, types, cursor_options);
}

void keep_plan(Plan* plan) { retired_plans = list_delete_ptr(retired_plans, plan); }

void retire_plan(Plan* plan) {
    if (plan == nullptr)
        return;
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    retired_plans = list_append_unique_ptr(retired_plans, plan);
    MemoryContextSwitchTo(caller);
}

namespace {

ParamListInfo make_parameters(const Plan& plan, const Datum* values, const bool* nulls) {
    ParamListInfo parameters = makeParamList(plan.parameters);
    for (int i = 0; i < plan.parameters; ++i)
        parameters->params[i] = {.value = values[i],
                                 .isnull = nulls != nullptr && nulls[i],
                                 .pflags = PARAM_FLAG_CONST,
                                 .ptype = plan.types[i]};
    return parameters;
}

}  // namespace

Portal open_plan(const Plan& plan, const Datum* values) {
    return SPI_cursor_open_with_paramlist(nullptr, plan.saved, make_parameters(plan, values, nullptr), true);
}

void run_plan(const Plan& plan, const Datum* values, const bool* nulls, bool read_only, long most) {
    ParamListInfo parameters = make_parameters(plan, values, nulls);
    if (SPI_execute_plan_with_paramlist(plan.saved, parameters, read_only, most) != SPI_OK_SELECT)
        elog(ERROR, "could not query projection \"%s\"", NameStr(plan.projection));
}

List* plan_queries(const Plan& plan) {
    List* queries = NIL;
    ListCell* cell = nullptr;
    foreach (cell, SPI_plan_get_plan_sources(plan.saved))
        queries = list_concat(queries, static_cast<CachedPlanSource*>(lfirst(cell))->query_list);
    return queries;
}

List* plan_relations(const Plan& plan) {
    List* relations = NIL;
    ListCell* cell = nullptr;
    foreach (cell, SPI_plan_get_plan_sources(plan.saved))
        relations =
            list_concat_unique_oid(relations, static_cast<CachedPlanSource*>(lfirst(cell))->relationOids);
    return relations;
}

List* planned_relations(const Plan& plan) {
    CachedPlan* planned = SPI_plan_get_cached_plan(plan.saved);
    if (planned == nullptr)
        elog(ERROR, "could not plan projection \"%s\"", NameStr(plan.projection));
    List* relations = NIL;
    ListCell* cell = nullptr;
    foreach (cell, planned->stmt_list)
        relations = list_concat_unique_oid(relations, lfirst_node(PlannedStmt, cell)->relationOids);
    ReleaseCachedPlan(planned, CurrentResourceOwner);
    return relations;
}

const char* qualified_name(Oid relation) {
    const char* name = get_rel_name(relation);
    const char* schema = name != nullptr ? get_namespace_name(get_rel_namespace(relation)) : nullptr;
    if (schema == nullptr)  // given by a number, or dropped meanwhile
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", relation)));
    return quote_qualified_identifier(schema, name);
}

bool relation_exists(Oid relation) { return SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)); }

Oid owner_of(Oid relation) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple))
        return InvalidOid;
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

}  // namespace rolecall::projection
