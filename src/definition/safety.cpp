#include "definition/safety.h"
#include "definition/exactness.h"

#include "definition/function_text.h"
#include "definition/plan.h"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

// Returns whether `role` can do whatever the view's owner can do.
bool is_trusted(Oid role, Oid owner) {
    return role == owner || superuser_arg(role) || has_privs_of_role(role, owner);
}

const char* complaint(const char* what, Oid role, Oid owner) {
    return psprintf("%s belongs to role %s, which does not have the rights of role %s", what,
                    quote_identifier(GetUserNameFromId(role, false)),
                    quote_identifier(GetUserNameFromId(owner, false)));
}

// ---- Functions and domains

const char* unsafe_function(Oid function, Oid owner, const char* where) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    const Oid role = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->proowner;
    const bool is_guarded = !is_left_to_callers(tuple);
    ReleaseSysCache(tuple);
    const char* name = format_procedure(function);
    if (!is_trusted(role, owner))
        return complaint(psprintf("function %s%s", name, where), role, owner);
    if (!is_guarded)
        return psprintf(
            "function %s%s has no search_path that ends with pg_temp, so that its callers choose what "
            "it runs (ALTER FUNCTION %s SET search_path = pg_catalog, pg_temp)",
            name, where, name);
    return nullptr;
}

Oid owner_of_type(Oid type) {
    HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for type %u", type);
    const Oid owner = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typowner;
    ReleaseSysCache(tuple);
    return owner;
}

// ---- The objects to check; checking one may add others

struct Search {
    Oid owner;
    List* relations;  // relations that are read
    List* policed;    // relations whose policies apply
    List* families;   // operator families that were checked
};

void grow(Search& search, const Execution& execution) {
    search.relations = list_concat_unique_oid(search.relations, execution.read_inside);
    search.policed = list_concat_unique_oid(search.policed, execution.policed);
}

// The owner of a function may replace it, and so decides what it calls. The owner of a domain decides its
// constraints. `where` follows the object's name in the message, and says why code runs that the view does
// not name.
const char* unsafe_code(Search& search, const Execution& execution, const char* where) {
    if (execution.unknown != nullptr)
        return psprintf("it is not known what code %s%s runs", execution.unknown, where);
    grow(search, execution);
    ListCell* cell = nullptr;
    foreach (cell, execution.as_caller) {
        const Oid function = lfirst_oid(cell);
        if (function < FirstNormalObjectId)
            continue;
        if (const char* found = unsafe_function(function, search.owner, where); found != nullptr)
            return found;
    }
    foreach (cell, execution.domains)
        if (const Oid role = owner_of_type(lfirst_oid(cell)); !is_trusted(role, search.owner))
            return complaint(psprintf("domain %s%s", format_type_be(lfirst_oid(cell)), where), role,
                             search.owner);
    return nullptr;
}

// ---- What the planner evaluates of a table

using Expressions = std::initializer_list<AttrNumber>;

// Reads the catalogs. The relation cache would simplify the expressions, which evaluates parts of them.
List* expressions_of(int cache, HeapTuple tuple, Expressions columns) {
    List* expressions = NIL;
    for (const AttrNumber column : columns) {
        bool is_null = false;
        const Datum expression = SysCacheGetAttr(cache, tuple, column, &is_null);
        if (!is_null)
            expressions = lappend(expressions, stringToNode(TextDatumGetCString(expression)));
    }
    return expressions;
}

const char* unsafe_family(Search& search, Oid family, const char* where) {
    if (list_member_oid(search.families, family))
        return nullptr;
    search.families = lappend_oid(search.families, family);
    return unsafe_code(search, examine_family(family), where);
}

// `classes` is the column that holds the operator classes, or InvalidAttrNumber if there is none.
const char* unsafe_object(Search& search, int cache, Oid object, Expressions columns, AttrNumber classes,
                          const char* where) {
    HeapTuple tuple = SearchSysCache1(cache, ObjectIdGetDatum(object));
    if (!HeapTupleIsValid(tuple))
        return nullptr;
    List* expressions = expressions_of(cache, tuple, columns);
    const char* found = unsafe_code(search, examine_expression(reinterpret_cast<Node*>(expressions)), where);
    if (classes != InvalidAttrNumber) {
        bool is_null = false;
        const auto* all =
            reinterpret_cast<oidvector*>(DatumGetPointer(SysCacheGetAttr(cache, tuple, classes, &is_null)));
        for (int i = 0; i < all->dim1 && found == nullptr; ++i)
            found = unsafe_family(search, get_opclass_family(all->values[i]), where);
    }
    ReleaseSysCache(tuple);
    return found;
}

const char* unsafe_partition_key(Search& search, Oid relation, const char* where) {
    return unsafe_object(search, PARTRELID, relation, {Anum_pg_partitioned_table_partexprs},
                         Anum_pg_partitioned_table_partclass, where);
}

const char* unsafe_constraints(Search& search, Relation relation, const char* where) {
    const TupleConstr* constraints = RelationGetDescr(relation)->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; ++i) {
        auto* check = static_cast<Node*>(stringToNode(constraints->check[i].ccbin));
        if (const char* found = unsafe_code(search, examine_expression(check), where); found != nullptr)
            return found;
    }
    return nullptr;
}

// When the planner looks for usable indexes, statistics, constraints and partitions, it simplifies their
// expressions. It inlines functions written in SQL and evaluates calls of immutable functions with constant
// arguments, as the view's owner and whatever the query is. Finding rows runs the functions of operator
// classes. The query names none of this code, and the code need not belong to the owner of the table.
const char* unsafe_planning(Search& search, Relation relation) {
    const Oid oid = RelationGetRelid(relation);
    const char* where = psprintf(", which %s brings along,", qualified_name(oid));
    const char* found = unsafe_constraints(search, relation, where);
    ListCell* cell = nullptr;
    foreach (cell, RelationGetIndexList(relation))
        if (found == nullptr)
            found =
                unsafe_object(search, INDEXRELID, lfirst_oid(cell),
                              {Anum_pg_index_indexprs, Anum_pg_index_indpred}, Anum_pg_index_indclass, where);
    foreach (cell, RelationGetStatExtList(relation))
        if (found == nullptr)
            found = unsafe_object(search, STATEXTOID, lfirst_oid(cell), {Anum_pg_statistic_ext_stxexprs},
                                  InvalidAttrNumber, where);
    if (found == nullptr)
        found = unsafe_partition_key(search, oid, where);
    // If a partition is queried directly, its bounds are a constraint that uses the partition keys of all its
    // ancestors.
    if (relation->rd_rel->relispartition)
        foreach (cell, get_partition_ancestors(oid))
            if (found == nullptr)
                found = unsafe_partition_key(search, lfirst_oid(cell), where);
    return found;
}

// ---- Relations of other owners

bool has_virtual_columns(Relation relation) {
    for (AttrNumber number = 1; number <= RelationGetNumberOfAttributes(relation); ++number)
        if (pg::virtual_column(relation, number) != nullptr)
            return true;
    return false;
}

// If a superuser owns the view, all relations must have a trusted owner. An untrusted owner could put code
// into a relation in ways that later server versions add, and a superuser has no need of such relations.
const char* unsafe_owner(const Search& search, Relation relation) {
    const Oid role = relation->rd_rel->relowner;
    if (is_trusted(role, search.owner))
        return nullptr;
    const char* name = qualified_name(RelationGetRelid(relation));
    if (relation->rd_rel->relkind == RELKIND_VIEW)
        return complaint(psprintf("view %s", name), role, search.owner);
    if (superuser_arg(search.owner))
        return complaint(psprintf("relation %s", name), role, search.owner);
    if (list_member_oid(search.policed, RelationGetRelid(relation)))
        return complaint(psprintf("the row security of %s", name), role, search.owner);
    if (has_virtual_columns(relation))
        return complaint(psprintf("a virtual column of %s", name), role, search.owner);
    return nullptr;
}

// A query also reads the children and, under an older snapshot, a partition that is being detached. It does
// not read children in the temporary schemas of other sessions.
void add_children(Search& search, Oid relation) {
    ListCell* cell = nullptr;
    foreach (cell, find_inheritance_children_extended(relation, false, AccessShareLock, nullptr, nullptr))
        if (!isOtherTempNamespace(get_rel_namespace(lfirst_oid(cell))))
            search.relations = list_append_unique_oid(search.relations, lfirst_oid(cell));
}

const char* unsafe_relation(Search& search, Oid oid) {
    Relation relation = try_relation_open(oid, AccessShareLock);
    if (relation == nullptr)
        return nullptr;
    const char* found = unsafe_owner(search, relation);
    if (found == nullptr && relation->rd_rel->relkind != RELKIND_VIEW) {
        found = unsafe_planning(search, relation);
        add_children(search, oid);
    }
    relation_close(relation, NoLock);
    return found;
}

}  // namespace

const char* unsafe_part(Oid owner, const Execution& execution, const List* relations) {
    Search search{.owner = owner, .relations = list_copy(relations), .policed = NIL, .families = NIL};
    const char* code = unsafe_code(search, execution, "");
    if (execution.unknown != nullptr)
        return code;
    for (int i = 0; i < list_length(search.relations); ++i)  // checking a relation may append others
        if (const char* found = unsafe_relation(search, list_nth_oid(search.relations, i)); found != nullptr)
            return found;
    return code;
}

}  // namespace rolecall::projection
