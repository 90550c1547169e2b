#include "definition/exact_walk.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
}

namespace rolecall::projection {

namespace {

// Handles a function that looks up what a type consists of and acts on the result. The parts of the type are
// checked in this file.
void run_part(ExactWalk& walk, Oid function, const char* complaint, Oid type) {
    walk.found.functions = list_append_unique_oid(walk.found.functions, function);
    walk.found.as_caller = list_append_unique_oid(walk.found.as_caller, function);
    if (!is_exact(function, walk.may_ask_time))
        note(walk, psprintf(complaint, format_type_be(type)));
}

// to_jsonb() and similar functions use a cast to json if there is one. SQL code may use a cast to text.
void run_casts(ExactWalk& walk, Oid type) {
    for (const Oid target : {JSONOID, TEXTOID}) {
        Oid function = InvalidOid;
        if (find_coercion_pathway(target, type, COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC &&
            OidIsValid(function))
            run_function(walk, function, list_make1_oid(type));
    }
}

// Built-in types are included, because an application may have given them operators that they lack.
void run_comparisons(ExactWalk& walk, Oid type) {
    const TypeCacheEntry* entry = lookup_type_cache(
        type, TYPECACHE_EQ_OPR | TYPECACHE_CMP_PROC | TYPECACHE_HASH_PROC | TYPECACHE_HASH_EXTENDED_PROC);
    if (OidIsValid(entry->eq_opr))
        run_operator(walk, entry->eq_opr, list_make2_oid(type, type));
    if (OidIsValid(entry->cmp_proc))
        run_function(walk, entry->cmp_proc, list_make2_oid(type, type));
    if (OidIsValid(entry->hash_proc))
        run_function(walk, entry->hash_proc, list_make1_oid(type));
    if (OidIsValid(entry->hash_extended_proc))
        run_function(walk, entry->hash_extended_proc, list_make2_oid(type, INT8OID));
}

void write_scalar(ExactWalk& walk, Oid type) {
    Oid output = InvalidOid;
    bool is_varlena = false;
    getTypeOutputInfo(type, &output, &is_varlena);
    run_part(walk, output, "the text of type %s depends on more than its value", type);
}

void read_scalar(ExactWalk& walk, Oid type) {
    Oid input = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(type, &input, &parameter);
    run_part(walk, input, "a value of type %s depends on more than its text", type);
}

using Each = void (*)(ExactWalk&, Oid);

void for_columns(ExactWalk& walk, Oid type, Each each) {
    TupleDesc columns = lookup_rowtype_tupdesc(type, -1);
    for (int i = 0; i < columns->natts; ++i)
        if (!TupleDescAttr(columns, i)->attisdropped)
            each(walk, TupleDescAttr(columns, i)->atttypid);
    ReleaseTupleDesc(columns);
}

Oid direct_base_of(Oid domain) {
    HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(domain));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for type %u", domain);
    const Oid base = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typbasetype;
    ReleaseSysCache(tuple);
    return base;
}

// Calls `each` for the types that a type directly consists of. Returns false if the type is a scalar, or not
// a type of values.
bool for_parts(ExactWalk& walk, Oid type, Each each) {
    switch (get_typtype(type)) {
        case TYPTYPE_DOMAIN:
            each(walk, direct_base_of(type));
            return true;
        case TYPTYPE_COMPOSITE:
            for_columns(walk, type, each);
            return true;
        case TYPTYPE_RANGE:
            each(walk, get_range_subtype(type));
            return true;
        case TYPTYPE_MULTIRANGE:
            each(walk, get_multirange_range(type));
            return true;
        default:
            if (const Oid element = get_element_type(type); OidIsValid(element)) {
                each(walk, element);
                return true;
            }
            return false;
    }
}

// Returns false if the type was in the list before.
bool add_type(List*& types, Oid type) {
    if (list_member_oid(types, type))
        return false;
    check_stack_depth();
    types = lappend_oid(types, type);
    return true;
}

bool is_scalar(Oid type) {
    const char kind = get_typtype(type);
    return kind == TYPTYPE_BASE || kind == TYPTYPE_ENUM;
}

void refuse_pseudotype(ExactWalk& walk, Oid type) {
    if (type != UNKNOWNOID && type != CSTRINGOID && type != VOIDOID)
        note(walk, psprintf("it uses values of type %s", format_type_be(type)));
}

}  // namespace

void add_columns(ExactWalk& walk, TupleDesc columns) {
    for (int i = 0; i < columns->natts; ++i)
        if (!TupleDescAttr(columns, i)->attisdropped)
            walk.columns = list_append_unique_oid(walk.columns, TupleDescAttr(columns, i)->atttypid);
}

// The function that only the planner's estimates use is included, because it runs as well.
void run_range(ExactWalk& walk, Oid type) {
    const TypeCacheEntry* range = lookup_type_cache(type, TYPECACHE_RANGE_INFO);
    const Oid subtype = get_range_subtype(type);
    run_function(walk, range->rng_cmp_proc_finfo.fn_oid, list_make2_oid(subtype, subtype));
    if (OidIsValid(range->rng_canonical_finfo.fn_oid))
        run_function(walk, range->rng_canonical_finfo.fn_oid, list_make1_oid(type));
    if (OidIsValid(range->rng_subdiff_finfo.fn_oid))
        run_function(walk, range->rng_subdiff_finfo.fn_oid, list_make2_oid(subtype, subtype));
}

// Temporary types are refused because DDL on them is not announced to other sessions.
void meet_type(ExactWalk& walk, Oid type) {
    if (type < FirstNormalObjectId || !add_type(walk.met, type))
        return;
    HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(tuple))
        elog(ERROR, "cache lookup failed for type %u", type);
    if (isAnyTempNamespace(reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typnamespace))
        refuse(walk, psprintf("type %s is temporary", format_type_be_qualified(type)));
    ReleaseSysCache(tuple);
    (void)for_parts(walk, type, meet_type);
}

void make_type(ExactWalk& walk, Oid type) {
    if (type < FirstNormalObjectId || !add_type(walk.made, type))
        return;
    meet_type(walk, type);
    if (get_typtype(type) == TYPTYPE_DOMAIN)
        check_domain(walk, type);
    if (get_typtype(type) == TYPTYPE_RANGE)
        run_range(walk, type);
    (void)for_parts(walk, type, make_type);
}

void write_type(ExactWalk& walk, Oid type) {
    if (type == RECORDOID || type == RECORDARRAYOID) {
        walk.has_records = true;
        return;
    }
    if (!add_type(walk.written, type))
        return;
    meet_type(walk, type);
    if (get_typtype(type) == TYPTYPE_RANGE)
        run_range(walk, type);
    if (type >= FirstNormalObjectId)
        run_casts(walk, type);
    if (!for_parts(walk, type, write_type)) {
        if (is_scalar(type))
            write_scalar(walk, type);
        else
            refuse_pseudotype(walk, type);
    }
    run_comparisons(walk, type);
}

void read_type(ExactWalk& walk, Oid type) {
    if (!add_type(walk.read, type))
        return;
    make_type(walk, type);
    if (!for_parts(walk, type, read_type)) {
        if (is_scalar(type))
            read_scalar(walk, type);
        else
            refuse_pseudotype(walk, type);
    }
}

namespace {

// Reads the catalog. The type cache would simplify the expressions, which evaluates parts of them.
void visit_constraints(ExactWalk& walk, Oid domain) {
    Relation constraints = table_open(ConstraintRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(domain));
    SysScanDesc scan = systable_beginscan(constraints, ConstraintTypidIndexId, true, nullptr, 1, &key);
    for (HeapTuple tuple = systable_getnext(scan); HeapTupleIsValid(tuple); tuple = systable_getnext(scan)) {
        bool is_null = false;
        const Datum expression =
            heap_getattr(tuple, Anum_pg_constraint_conbin, RelationGetDescr(constraints), &is_null);
        if (!is_null)
            visit(static_cast<Node*>(stringToNode(TextDatumGetCString(expression))), &walk);
    }
    systable_endscan(scan);
    table_close(constraints, AccessShareLock);
}

}  // namespace

void check_domain(ExactWalk& walk, Oid domain) {
    for (; get_typtype(domain) == TYPTYPE_DOMAIN && !list_member_oid(walk.found.domains, domain);
         domain = direct_base_of(domain)) {
        walk.found.domains = lappend_oid(walk.found.domains, domain);
        meet_type(walk, domain);
        visit_constraints(walk, domain);
    }
}

}  // namespace rolecall::projection
