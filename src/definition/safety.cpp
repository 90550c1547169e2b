#include "definition/safety.h"
#include "definition/exactness.h"

#include "definition/plan.h"

extern "C" {
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
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

// Could it do what the view's owner can do?
bool is_trusted(Oid role, Oid owner) {
    return role == owner || superuser_arg(role) || has_privs_of_role(role, owner);
}

const char* complaint(const char* what, Oid role, Oid owner) {
    return psprintf("%s belongs to role %s, which does not have the rights of role %s", what,
                    quote_identifier(GetUserNameFromId(role, false)),
                    quote_identifier(GetUserNameFromId(owner, false)));
}

// ---- Functions and domains

Oid owner_of_function(Oid function) {
    HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for function %u", function);
    const Oid owner = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple))->proowner;
    ReleaseSysCache(tuple);
    return owner;
}

Oid owner_of_type(Oid type) {
    HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for type %u", type);
    const Oid owner = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typowner;
    ReleaseSysCache(tuple);
    return owner;
}

// Who owns a function may replace it, and chooses what it calls; who owns a domain, its constraints.
const char* unsafe_code(Oid owner, const Execution& execution) {
    ListCell* cell = nullptr;
    foreach (cell, execution.as_caller) {
        const Oid function = lfirst_oid(cell);
        if (function < FirstNormalObjectId)
            continue;
        if (const Oid role = owner_of_function(function); !is_trusted(role, owner))
            return complaint(psprintf("function %s", format_procedure(function)), role, owner);
    }
    foreach (cell, execution.domains)
        if (const Oid role = owner_of_type(lfirst_oid(cell)); !is_trusted(role, owner))
            return complaint(psprintf("domain %s", format_type_be(lfirst_oid(cell))), role, owner);
    return nullptr;
}

// ---- Tables of others

void add_text(Execution& execution, int cache, HeapTuple tuple, AttrNumber number) {
    bool is_null = false;
    const Datum expression = SysCacheGetAttr(cache, tuple, number, &is_null);
    if (!is_null)
        add_expression(execution, static_cast<Node*>(stringToNode(TextDatumGetCString(expression))));
}

void add_texts(Execution& execution, int cache, Oid object, std::initializer_list<AttrNumber> numbers) {
    HeapTuple tuple = SearchSysCache1(cache, ObjectIdGetDatum(object));
    if (!HeapTupleIsValid(tuple))
        return;
    for (const AttrNumber number : numbers)
        add_text(execution, cache, tuple, number);
    ReleaseSysCache(tuple);
}

// The planner simplifies what a table's owner has put into indexes, constraints, statistics and partition
// keys: calls of immutable functions of constants are evaluated. From the catalogs, or this would do it.
void add_planned(Execution& execution, Relation relation) {
    ListCell* cell = nullptr;
    foreach (cell, RelationGetIndexList(relation))
        add_texts(execution, INDEXRELID, lfirst_oid(cell), {Anum_pg_index_indexprs, Anum_pg_index_indpred});
    foreach (cell, RelationGetStatExtList(relation))
        add_texts(execution, STATEXTOID, lfirst_oid(cell), {Anum_pg_statistic_ext_stxexprs});
    add_texts(execution, PARTRELID, RelationGetRelid(relation), {Anum_pg_partitioned_table_partexprs});
    const TupleConstr* constraints = RelationGetDescr(relation)->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; ++i)
        add_expression(execution, static_cast<Node*>(stringToNode(constraints->check[i].ccbin)));
}

bool has_virtual_columns(Relation relation) {
    for (AttrNumber number = 1; number <= RelationGetNumberOfAttributes(relation); ++number)
        if (pg::virtual_column(relation, number) != nullptr)
            return true;
    return false;
}

const char* unsafe_relation(Oid owner, Relation relation, bool is_policed) {
    const Oid role = relation->rd_rel->relowner;
    const char* name = qualified_name(RelationGetRelid(relation));
    if (relation->rd_rel->relkind == RELKIND_VIEW)
        return complaint(psprintf("view %s", name), role, owner);
    if (superuser_arg(owner))
        return complaint(psprintf("relation %s", name), role, owner);
    if (is_policed)
        return complaint(psprintf("the row security of %s", name), role, owner);
    if (has_virtual_columns(relation))
        return complaint(psprintf("a virtual column of %s", name), role, owner);
    Execution planned;
    add_planned(planned, relation);
    return unsafe_code(owner, planned);
}

// Of a superuser's view all relations count: their owners could put code there in ways that come with later
// servers, and a superuser has no need of theirs.
const char* unsafe_relations(Oid owner, const Execution& execution, const List* relations) {
    ListCell* cell = nullptr;
    foreach (cell, relations) {
        Relation relation = try_relation_open(lfirst_oid(cell), AccessShareLock);
        if (relation == nullptr)
            continue;
        const char* found =
            is_trusted(relation->rd_rel->relowner, owner)
                ? nullptr
                : unsafe_relation(owner, relation, list_member_oid(execution.policed, lfirst_oid(cell)));
        relation_close(relation, NoLock);
        if (found != nullptr)
            return found;
    }
    return nullptr;
}

}  // namespace

const char* unsafe_part(Oid owner, const Execution& execution, const List* relations) {
    if (execution.unknown != nullptr)
        return psprintf("it is not known what code %s runs", execution.unknown);
    const List* all = list_concat_unique_oid(list_copy(relations), execution.read_inside);
    if (const char* found = unsafe_relations(owner, execution, all); found != nullptr)
        return found;
    return unsafe_code(owner, execution);
}

}  // namespace rolecall::projection
