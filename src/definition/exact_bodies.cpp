// Visits functions of the application. Only the bodies of functions written in SQL can be read. The same walk
// goes through these bodies, with the role that runs them and with the meaning that names have there.
#include "definition/exact_walk.h"
#include "definition/function_text.h"

#include "pg/guard.h"
#include "pg/security_context.h"
#include "pg/testing.h"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/functions.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

const FormData_pg_proc& form_of(HeapTuple tuple) { return *reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple)); }

// ---- The signature

// Handles the types of the arguments and of the result. A function of any language checks its result against
// the constraints of domains.
void visit_signature(ExactWalk& walk, HeapTuple tuple) {
    Oid* types = nullptr;
    char** names = nullptr;
    char* modes = nullptr;
    const int count = get_func_arg_info(tuple, &types, &names, &modes);
    for (int i = 0; i < count; ++i)
        make_type(walk, types[i]);
    make_type(walk, form_of(tuple).prorettype);
}

// ---- The queries

// A stored body is a list of lists of queries for BEGIN ATOMIC, and a single query for RETURN.
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

struct BodyReading {
    HeapTuple function;
    Node* call;
    List* queries;
};

void analyze(void* argument) {
    auto& reading = *static_cast<BodyReading*>(argument);
    bool is_null = false;
    const Datum source = SysCacheGetAttr(PROCOID, reading.function, Anum_pg_proc_prosrc, &is_null);
    const char* sql = TextDatumGetCString(source);
    SQLFunctionParseInfoPtr parse = prepare_sql_fn_parse_info(reading.function, reading.call, InvalidOid);
    ListCell* cell = nullptr;
    foreach (cell, pg_parse_query(sql))
        reading.queries = list_concat(
            reading.queries,
            pg_analyze_and_rewrite_withcb(
                lfirst_node(RawStmt, cell), sql,
                reinterpret_cast<ParserSetupHook>(reinterpret_cast<void (*)()>(sql_fn_parser_setup)), parse,
                nullptr));
}

// Returns whether an error with this SQLSTATE means that the function's text is wrong. Every other error is
// raised again, and ends the current operation.
bool is_of_text(int sqlstate) {
    switch (ERRCODE_TO_CATEGORY(sqlstate)) {
        case ERRCODE_FEATURE_NOT_SUPPORTED:
        case ERRCODE_DATA_EXCEPTION:
        case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
        case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION:
            return true;
        default:
            return sqlstate == ERRCODE_INVALID_SCHEMA_NAME;
    }
}

// Returns why the body cannot be analyzed, or nullptr if it was analyzed. A parallel operation cannot have
// subtransactions, so there every error is raised.
const char* try_to_analyze(BodyReading& reading) {
    if (IsInParallelMode()) {
        analyze(&reading);
        return nullptr;
    }
    MemoryContext context = CurrentMemoryContext;
    ResourceOwner owner = CurrentResourceOwner;
    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(context);
    ErrorData* error = pg::run_catching(analyze, &reading);
    if (error == nullptr)
        ReleaseCurrentSubTransaction();
    else
        RollbackAndReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(context);
    CurrentResourceOwner = owner;
    if (error != nullptr && !is_of_text(error->sqlerrcode))
        ReThrowError(error);
    return error != nullptr ? error->message : nullptr;
}

// Returns a call with arguments of these types, or nullptr if the type of a polymorphic argument is not
// known.
Node* call_of(HeapTuple tuple, const List* types) {
    const auto& function = form_of(tuple);
    List* arguments = NIL;
    for (int i = 0; i < function.pronargs; ++i) {
        Oid type = function.proargtypes.values[i];
        if (IsPolymorphicType(type))
            type = i < list_length(types) ? list_nth_oid(types, i) : InvalidOid;
        if (!OidIsValid(type) || IsPolymorphicType(type))
            return nullptr;
        Param* parameter = makeNode(Param);
        parameter->paramtype = type;
        arguments = lappend(arguments, parameter);
    }
    return reinterpret_cast<Node*>(makeFuncExpr(function.oid, function.prorettype, arguments, InvalidOid,
                                                InvalidOid, COERCE_EXPLICIT_CALL));
}

List* queries_of(ExactWalk& walk, HeapTuple tuple, const List* types) {
    bool is_null = false;
    const Datum parsed = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &is_null);
    if (!is_null)
        return rewritten(static_cast<Node*>(stringToNode(TextDatumGetCString(parsed))));
    BodyReading reading{.function = tuple, .call = call_of(tuple, types), .queries = NIL};
    const char* failure =
        reading.call != nullptr ? try_to_analyze(reading) : "the types of its arguments are not known";
    if (failure != nullptr)
        refuse(walk, psprintf("the body of function %s cannot be analyzed: %s",
                              format_procedure_qualified(form_of(tuple).oid), failure));
    return failure == nullptr ? reading.queries : NIL;
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

// ---- The role that runs it, and the meaning of names

// The same function may mean something else for another role, with another search_path, or with arguments of
// other types.
struct Body {
    Oid function;
    Oid role;
    bool as_definer;  // the body runs with a definer's rights, not with the caller's
    const char* search_path;
    List* types;
};

bool is_new(const ExactWalk& walk, Oid function, const List* types) {
    const ListCell* cell = nullptr;
    foreach (cell, *walk.bodies) {
        const auto& body = *static_cast<Body*>(lfirst(cell));
        if (body.function == function && body.role == GetUserId() && body.as_definer == walk.as_definer &&
            strcmp(body.search_path, namespace_search_path) == 0 && equal(body.types, types))
            return false;
    }
    auto* body = static_cast<Body*>(palloc(sizeof(Body)));
    *body = {.function = function,
             .role = GetUserId(),
             .as_definer = walk.as_definer,
             .search_path = pstrdup(namespace_search_path),
             .types = list_copy(types)};
    *walk.bodies = lappend(*walk.bodies, body);
    return true;
}

// ---- The walk through the body

// The function's owner has declared its volatility. Still, the code that it calls runs, and a table that it
// reads is not watched.
void visit_queries(ExactWalk& walk, HeapTuple tuple, const List* types) {
    List* queries = queries_of(walk, tuple, types);
    List* relations = NIL;
    add_relations(reinterpret_cast<Node*>(queries), static_cast<void*>(&relations));
    if (relations != NIL) {
        refuse(walk, psprintf("function %s reads a table", format_procedure_qualified(form_of(tuple).oid)));
        walk.found.read_inside = list_concat_unique_oid(walk.found.read_inside, relations);
    }
    visit(reinterpret_cast<Node*>(queries), &walk);
    finish(walk);
}

void add_found(ExactWalk& walk, const Execution& inside, bool is_definer) {
    if (inside.refused != nullptr)
        refuse(walk, inside.refused);
    if (walk.found.unknown == nullptr)
        walk.found.unknown = inside.unknown;
    walk.found.functions = list_concat_unique_oid(walk.found.functions, inside.functions);
    if (is_definer)
        return;
    walk.found.as_caller = list_concat_unique_oid(walk.found.as_caller, inside.as_caller);
    walk.found.domains = list_concat_unique_oid(walk.found.domains, inside.domains);
    walk.found.policed = list_concat_unique_oid(walk.found.policed, inside.policed);
    walk.found.read_inside = list_concat_unique_oid(walk.found.read_inside, inside.read_inside);
}

void visit_body(ExactWalk& walk, HeapTuple tuple, const List* types) {
    check_stack_depth();
    const auto& function = form_of(tuple);
    const pg::SecurityContext before =
        pg::act_inside(function.prosecdef ? function.proowner : InvalidOid, own_search_path(tuple));
    Execution inside;
    ExactWalk body{.found = inside,
                   .bodies = walk.bodies,
                   .may_ask_time = true,
                   .is_inside = true,
                   .as_definer = walk.as_definer || function.prosecdef};
    if (is_new(body, function.oid, types))
        visit_queries(body, tuple, types);
    pg::restore_security_context(before);
    walk.found.calls_sql = true;
    add_found(walk, inside, function.prosecdef);
}

}  // namespace

void look_inside(ExactWalk& walk, Oid function, const List* types) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    if (isAnyTempNamespace(form_of(tuple).pronamespace))
        refuse(walk, psprintf("function %s is temporary", format_procedure_qualified(function)));
    visit_signature(walk, tuple);
    const bool is_ignored = form_of(tuple).prosecdef && testing::fault(Fault::bodies_of_definers_ignored);
    if (form_of(tuple).prolang == SQLlanguageId && !is_ignored)
        visit_body(walk, tuple, types);
    ReleaseSysCache(tuple);
}

}  // namespace rolecall::projection
