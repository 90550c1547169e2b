#include "definition/exact_walk.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
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

// Functions that look up what a type consists of, and go by that: it is looked at here.
void run_part(ExactWalk& walk, Oid function, const char* complaint, Oid type) {
    walk.found.functions = list_append_unique_oid(walk.found.functions, function);
    if (!is_exact(function, walk.may_ask_time))
        note(walk, psprintf(complaint, format_type_be(type)));
}

// to_jsonb() and its kin go by a cast to json where there is one; what is written in SQL by the other.
void run_casts(ExactWalk& walk, Oid type) {
    for (const Oid target : {JSONOID, TEXTOID}) {
        Oid function = InvalidOid;
        if (find_coercion_pathway(target, type, COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC &&
            OidIsValid(function))
            run_function(walk, function);
    }
}

void run_comparisons(ExactWalk& walk, Oid type) {
    const TypeCacheEntry* entry = lookup_type_cache(
        type, TYPECACHE_EQ_OPR | TYPECACHE_CMP_PROC | TYPECACHE_HASH_PROC | TYPECACHE_HASH_EXTENDED_PROC);
    if (OidIsValid(entry->eq_opr))
        run_operator(walk, entry->eq_opr);
    for (const Oid function : {entry->cmp_proc, entry->hash_proc, entry->hash_extended_proc})
        if (OidIsValid(function))
            run_function(walk, function);
}

void write_scalar(ExactWalk& walk, Oid type) {
    Oid output = InvalidOid;
    bool is_varlena = false;
    getTypeOutputInfo(type, &output, &is_varlena);
    run_part(walk, output, "the text of type %s depends on more than its value", type);
    if (type >= FirstNormalObjectId)
        run_comparisons(walk, type);
}

void read_scalar(ExactWalk& walk, Oid type) {
    Oid input = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(type, &input, &parameter);
    run_part(walk, input, "a value of type %s depends on more than its text", type);
}

// `each` for the type of each column of a composite type.
void for_columns(ExactWalk& walk, Oid type, void (*each)(ExactWalk&, Oid)) {
    TupleDesc columns = lookup_rowtype_tupdesc(type, -1);
    for (int i = 0; i < columns->natts; ++i)
        if (!TupleDescAttr(columns, i)->attisdropped)
            each(walk, TupleDescAttr(columns, i)->atttypid);
    ReleaseTupleDesc(columns);
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

void run_range(ExactWalk& walk, Oid type) {
    const TypeCacheEntry* range = lookup_type_cache(type, TYPECACHE_RANGE_INFO);
    run_function(walk, range->rng_cmp_proc_finfo.fn_oid);
    // The planner takes the difference, to estimate.
    for (const Oid function : {range->rng_canonical_finfo.fn_oid, range->rng_subdiff_finfo.fn_oid})
        if (OidIsValid(function))
            run_function(walk, function);
}

void write_type(ExactWalk& walk, Oid type) {
    if (type == RECORDOID || type == RECORDARRAYOID) {
        walk.has_records = true;
        return;
    }
    if (list_member_oid(walk.written, type))
        return;
    walk.written = lappend_oid(walk.written, type);
    check_stack_depth();
    if (type >= FirstNormalObjectId)
        run_casts(walk, type);
    switch (get_typtype(type)) {
        case TYPTYPE_DOMAIN:
            write_type(walk, getBaseType(type));
            break;
        case TYPTYPE_COMPOSITE:
            for_columns(walk, type, write_type);
            break;
        case TYPTYPE_RANGE:
            run_range(walk, type);
            write_type(walk, get_range_subtype(type));
            break;
        case TYPTYPE_MULTIRANGE:
            write_type(walk, get_multirange_range(type));
            break;
        case TYPTYPE_BASE:
        case TYPTYPE_ENUM:
            if (const Oid element = get_element_type(type); OidIsValid(element))
                write_type(walk, element);
            else
                write_scalar(walk, type);
            break;
        default:
            refuse_pseudotype(walk, type);
    }
}

void read_type(ExactWalk& walk, Oid type) {
    if (list_member_oid(walk.read, type))
        return;
    walk.read = lappend_oid(walk.read, type);
    check_stack_depth();
    switch (get_typtype(type)) {
        case TYPTYPE_DOMAIN:
            check_domain(walk, type);
            read_type(walk, getBaseType(type));
            break;
        case TYPTYPE_COMPOSITE:
            for_columns(walk, type, read_type);
            break;
        case TYPTYPE_RANGE:
            run_range(walk, type);
            read_type(walk, get_range_subtype(type));
            break;
        case TYPTYPE_MULTIRANGE:
            read_type(walk, get_multirange_range(type));
            break;
        case TYPTYPE_BASE:
        case TYPTYPE_ENUM:
            if (const Oid element = get_element_type(type); OidIsValid(element))
                read_type(walk, element);
            else
                read_scalar(walk, type);
            break;
        default:
            refuse_pseudotype(walk, type);
    }
}

namespace {

// Read from the catalog: the type cache would simplify the expressions, and so evaluate parts of them.
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
    while (get_typtype(domain) == TYPTYPE_DOMAIN && !list_member_oid(walk.found.domains, domain)) {
        walk.found.domains = lappend_oid(walk.found.domains, domain);
        visit_constraints(walk, domain);
        HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(domain));
        if (!HeapTupleIsValid(tuple))
            return;
        domain = reinterpret_cast<Form_pg_type>(GETSTRUCT(tuple))->typbasetype;
        ReleaseSysCache(tuple);
    }
}

}  // namespace rolecall::projection
