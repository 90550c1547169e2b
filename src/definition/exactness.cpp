#include "definition/exactness.h"

#include "definition/exact_walk.h"

extern "C" {
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"
}

namespace rolecall::projection {

void note(ExactWalk& walk, const char* text) {
    if (walk.found.inexact == nullptr)
        walk.found.inexact = text;
}

void refuse(ExactWalk& walk, const char* text) {
    note(walk, text);
    if (walk.found.refused == nullptr)
        walk.found.refused = text;
}

void refuse_unknown(ExactWalk& walk, const char* name) {
    refuse(walk, psprintf("it uses %s, of which it is not known what it depends on", name));
    if (walk.found.unknown == nullptr)
        walk.found.unknown = name;
}

namespace {

// Returns the name with which nodeToString() begins, as in "{XMLEXPR :op ...".
const char* name_of(const Node* node) {
    const char* text = nodeToString(node);
    return pnstrdup(text + 1, static_cast<Size>(strcspn(text + 1, " :}")));
}

bool is_time(SQLValueFunctionOp op) {
    constexpr SQLValueFunctionOp times[] = {
        SVFOP_CURRENT_DATE,      SVFOP_CURRENT_TIME,        SVFOP_CURRENT_TIME_N,
        SVFOP_CURRENT_TIMESTAMP, SVFOP_CURRENT_TIMESTAMP_N, SVFOP_LOCALTIME,
        SVFOP_LOCALTIME_N,       SVFOP_LOCALTIMESTAMP,      SVFOP_LOCALTIMESTAMP_N};
    return std::find(std::begin(times), std::end(times), op) != std::end(times);
}

void add_column(ExactWalk& walk, Oid type) {
    meet_type(walk, type);
    walk.columns = list_append_unique_oid(walk.columns, type);
}

void visit_children(ExactWalk& walk, Node* node) {
    expression_tree_walker(node, pg::tree_walker(visit), &walk);
}

// ---- Kinds of expressions that need a check of their own

void visit_value(ExactWalk& walk, SQLValueFunction* value) {
    if (!is_time(value->op))
        note(walk, "it asks for the current user, database or schema");
    else if (!walk.may_ask_time)
        note(walk, "it asks for the current time");
}

void visit_column(ExactWalk& walk, const Var* column) {
    if (column->varattno < 0 && column->varattno != TableOidAttributeNumber)
        note(walk, "it uses a system column");
    add_column(walk, column->vartype);
}

void visit_comparison(ExactWalk& walk, const SortGroupClause* clause) {
    for (const Oid number : {clause->eqop, clause->sortop}) {
        if (!OidIsValid(number))
            continue;
        run_operator(walk, number);
        walk.has_records |= is_polymorphic(get_opcode(number));
    }
}

void visit_minmax(ExactWalk& walk, const MinMaxExpr* expression) {
    write_type(walk, expression->minmaxtype);
    const TypeCacheEntry* type = lookup_type_cache(expression->minmaxtype, TYPECACHE_CMP_PROC);
    if (OidIsValid(type->cmp_proc))
        run_function(walk, type->cmp_proc, list_make2_oid(expression->minmaxtype, expression->minmaxtype));
}

void visit_operator(ExactWalk& walk, Oid number, List* types) {
    run_operator(walk, number, types);
    pass_types(walk, get_opcode(number), types);
}

void visit_row_comparison(ExactWalk& walk, const RowCompareExpr* comparison) {
    ListCell* number = nullptr;
    ListCell* left = nullptr;
    ListCell* right = nullptr;
    forthree(number, comparison->opnos, left, comparison->largs, right, comparison->rargs)
        visit_operator(walk, lfirst_oid(number), types_of(list_make2(lfirst(left), lfirst(right))));
}

// The operator, or a hash table that the planner chooses, compares with the elements of the array.
void visit_array_comparison(ExactWalk& walk, const ScalarArrayOpExpr* operation) {
    const List* types = types_of(operation->args);
    const Oid array = lsecond_oid(types);
    visit_operator(walk, operation->opno, list_make2_oid(linitial_oid(types), get_base_element_type(array)));
    pass_types(walk, get_opcode(operation->opno), types);
}

void visit_window_function(ExactWalk& walk, WindowFunc* window) {
    run_aggregate(walk, window->winfnoid, types_of(window->args));
    visit_call(walk, reinterpret_cast<Node*>(window), window->winfnoid, window->args, window->wintype);
    visit(reinterpret_cast<Node*>(window->aggfilter), &walk);
}

void visit_aggregate(ExactWalk& walk, Aggref* aggregate) {
    run_function(walk, aggregate->aggfnoid, aggregate->aggargtypes);
    run_aggregate(walk, aggregate->aggfnoid, aggregate->aggargtypes);
    pass_types(walk, aggregate->aggfnoid, aggregate->aggargtypes);
    visit_children(walk, reinterpret_cast<Node*>(aggregate));
}

void write_all(ExactWalk& walk, const List* expressions) {
    ListCell* cell = nullptr;
    foreach (cell, expressions)
        write_type(walk, exprType(static_cast<Node*>(lfirst(cell))));
}

void visit_row(ExactWalk& walk, const RowExpr* row) {
    ListCell* cell = nullptr;
    foreach (cell, row->args)
        add_column(walk, exprType(static_cast<Node*>(lfirst(cell))));
}

void visit_table_function(ExactWalk& walk, const TableFunc* table) {
    if (!pg::is_json_table(table))
        note(walk, "it uses XMLTABLE");
    ListCell* cell = nullptr;
    foreach (cell, table->coltypes) {
        read_type(walk, lfirst_oid(cell));
        add_column(walk, lfirst_oid(cell));
    }
}

void visit_call_in_from(ExactWalk& walk, const RangeTblFunction* function) {
    Node* call = function->funcexpr;
    if (function->funccoltypes != NIL) {
        ListCell* cell = nullptr;
        foreach (cell, function->funccoltypes) {
            make_type(walk, lfirst_oid(cell));
            add_column(walk, lfirst_oid(cell));
        }
        const char* before = walk.unknown_record;
        visit(call, &walk);
        walk.unknown_record = before;  // the column definition list gives the columns
        return;
    }
    Oid type = InvalidOid;
    TupleDesc columns = nullptr;
    (void)get_expr_result_type(call, &type, &columns);
    if (columns != nullptr)
        add_columns(walk, columns);
    else
        add_column(walk, type);
    visit(call, &walk);
}

// ---- Queries

// The expression of a virtual column replaces the column when the query is planned.
void visit_virtual_columns(ExactWalk& walk, Oid oid) {
    Relation relation = table_open(oid, AccessShareLock);
    for (AttrNumber number = 1; number <= RelationGetNumberOfAttributes(relation); ++number)
        if (Node* expression = pg::virtual_column(relation, number); expression != nullptr)
            visit(expression, &walk);
    table_close(relation, NoLock);
}

void visit_range(ExactWalk& walk, const RangeTblEntry* entry) {
    if (entry->securityQuals != NIL)
        walk.found.policed = list_append_unique_oid(walk.found.policed, entry->relid);
    ListCell* cell = nullptr;
    switch (entry->rtekind) {
        case RTE_RELATION:
            if (entry->relkind != RELKIND_VIEW)
                visit_virtual_columns(walk, entry->relid);
            break;
        case RTE_VALUES:
            foreach (cell, entry->coltypes)
                add_column(walk, lfirst_oid(cell));
            break;
        case RTE_SUBQUERY:
        case RTE_JOIN:
        case RTE_FUNCTION:
        case RTE_TABLEFUNC:
        case RTE_CTE:
        case RTE_RESULT:
            break;
        default:
            if (!pg::is_group_range(entry))
                refuse_unknown(walk, "a relation of an unknown kind");
    }
}

void visit_query(ExactWalk& walk, Query* query) {
    if (query->commandType == CMD_UTILITY)
        refuse(walk, "it runs a statement that is no query");
    else if (query->commandType != CMD_SELECT)
        refuse(walk, "it changes rows");
    if (query->rowMarks != NIL)
        note(walk, "it locks rows (FOR UPDATE or FOR SHARE)");
    ListCell* cell = nullptr;
    foreach (cell, query->rtable)
        visit_range(walk, static_cast<RangeTblEntry*>(lfirst(cell)));
    query_tree_walker(query, pg::tree_walker(visit), &walk, QTW_EXAMINE_SORTGROUP);
}

}  // namespace

// Nodes that are not listed here are refused, because a later server version may have added them.
bool visit(Node* node, void* context) {
    auto& walk = *static_cast<ExactWalk*>(context);
    if (node == nullptr)
        return false;
    pg::SqlJson json;
    switch (nodeTag(node)) {
        case T_Query:
            visit_query(walk, reinterpret_cast<Query*>(node));
            return false;
        case T_FuncExpr: {
            auto* call = reinterpret_cast<FuncExpr*>(node);
            visit_call(walk, node, call->funcid, call->args, call->funcresulttype);
            return false;
        }
        case T_Aggref:
            visit_aggregate(walk, reinterpret_cast<Aggref*>(node));
            return false;
        case T_WindowFunc:
            visit_window_function(walk, reinterpret_cast<WindowFunc*>(node));
            return false;
        case T_RangeTblFunction:
            visit_call_in_from(walk, reinterpret_cast<RangeTblFunction*>(node));
            return false;

        // visit_children() visits the parts of the following nodes.
        case T_OpExpr:
        case T_DistinctExpr:
        case T_NullIfExpr: {
            const auto* operation = reinterpret_cast<OpExpr*>(node);
            visit_operator(walk, operation->opno, types_of(operation->args));
            make_type(walk, operation->opresulttype);
            break;
        }
        case T_ScalarArrayOpExpr:
            visit_array_comparison(walk, reinterpret_cast<ScalarArrayOpExpr*>(node));
            break;
        case T_RowCompareExpr:
            visit_row_comparison(walk, reinterpret_cast<RowCompareExpr*>(node));
            break;
        case T_MinMaxExpr:
            visit_minmax(walk, reinterpret_cast<MinMaxExpr*>(node));
            break;
        case T_SortGroupClause:
            visit_comparison(walk, reinterpret_cast<SortGroupClause*>(node));
            break;
        case T_SetOperationStmt:
            visit(reinterpret_cast<Node*>(reinterpret_cast<SetOperationStmt*>(node)->groupClauses), &walk);
            break;
        case T_WindowClause: {
            const auto* window = reinterpret_cast<WindowClause*>(node);
            for (const Oid function : {window->startInRangeFunc, window->endInRangeFunc})
                if (OidIsValid(function))
                    run_function(walk, function);
            break;
        }
        case T_CTECycleClause:
            run_operator(walk, reinterpret_cast<CTECycleClause*>(node)->cycle_mark_neop);
            break;
        case T_CoerceViaIO: {
            const auto* coercion = reinterpret_cast<CoerceViaIO*>(node);
            write_type(walk, exprType(reinterpret_cast<Node*>(coercion->arg)));
            read_type(walk, coercion->resulttype);
            break;
        }
        case T_CoerceToDomain:
            check_domain(walk, reinterpret_cast<CoerceToDomain*>(node)->resulttype);
            break;
        case T_SubscriptingRef:
            run_function(
                walk, get_typsubscript(reinterpret_cast<SubscriptingRef*>(node)->refcontainertype, nullptr));
            break;
        case T_XmlExpr:
            write_all(walk, reinterpret_cast<XmlExpr*>(node)->named_args);
            write_all(walk, reinterpret_cast<XmlExpr*>(node)->args);
            break;
        case T_SQLValueFunction:
            visit_value(walk, reinterpret_cast<SQLValueFunction*>(node));
            break;
        case T_NextValueExpr:
            refuse(walk, "it calls nextval()");
            break;
        case T_TableSampleClause:
            note(walk, "it uses TABLESAMPLE");
            run_function(walk, reinterpret_cast<TableSampleClause*>(node)->tsmhandler);
            break;
        case T_TableFunc:
            visit_table_function(walk, reinterpret_cast<TableFunc*>(node));
            break;
        case T_Var:
            visit_column(walk, reinterpret_cast<Var*>(node));
            break;
        case T_RowExpr:
            meet_type(walk, exprType(node));
            visit_row(walk, reinterpret_cast<RowExpr*>(node));
            break;
        case T_Const:
        case T_Param:
        case T_RelabelType:
        case T_ConvertRowtypeExpr:
            meet_type(walk, exprType(node));
            break;
        case T_TargetEntry:
            add_column(walk, exprType(reinterpret_cast<Node*>(reinterpret_cast<TargetEntry*>(node)->expr)));
            break;

        // The following nodes run nothing themselves; only their parts do.
        case T_List:
        case T_FromExpr:
        case T_JoinExpr:
        case T_RangeTblRef:
        case T_CommonTableExpr:
        case T_CTESearchClause:
        case T_GroupingFunc:
        case T_GroupingSet:
        case T_NamedArgExpr:
        case T_BoolExpr:
        case T_SubLink:
        case T_FieldSelect:
        case T_ArrayCoerceExpr:
        case T_CollateExpr:
        case T_CaseExpr:
        case T_CaseWhen:
        case T_CaseTestExpr:
        case T_ArrayExpr:
        case T_CoalesceExpr:
        case T_NullTest:
        case T_BooleanTest:
        case T_CoerceToDomainValue:
            break;

        default:
            if (!pg::is_sql_json(node, json)) {
                refuse_unknown(walk, name_of(node));
                return false;
            }
            write_all(walk, json.written);
            if (OidIsValid(json.read))
                read_type(walk, json.read);
    }
    visit_children(walk, node);
    return false;
}

void finish(ExactWalk& walk) {
    ListCell* cell = nullptr;
    if (walk.makes_records)
        foreach (cell, walk.columns)
            make_type(walk, lfirst_oid(cell));
    if (!walk.has_records)
        return;
    if (walk.unknown_record != nullptr)
        note(walk, psprintf("the columns of what %s returns are not known", walk.unknown_record));
    foreach (cell, walk.columns)
        write_type(walk, lfirst_oid(cell));
}

Execution examine(List* queries, bool may_ask_time) {
    Execution found;
    List* bodies = NIL;
    ExactWalk walk{.found = found, .bodies = &bodies, .may_ask_time = may_ask_time};
    visit(reinterpret_cast<Node*>(queries), &walk);
    finish(walk);
    return found;
}

Execution examine_expression(Node* expression) { return examine(list_make1(expression), true); }

Execution examine_family(Oid family) {
    Execution found;
    List* bodies = NIL;
    ExactWalk walk{.found = found, .bodies = &bodies, .may_ask_time = true};
    run_family(walk, family, true);
    finish(walk);
    return found;
}

}  // namespace rolecall::projection
