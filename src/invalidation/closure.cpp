#include "invalidation/closure.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace rolecall::invalidation {

namespace {

// Calls `visit(HeapTuple, TupleDesc)` for each row of a catalog whose columns have these oids. If `index` is
// InvalidOid, the scan is sequential.
template <typename Visit>
void scan(Oid catalog, Oid index, std::initializer_list<std::pair<AttrNumber, Oid>> columns,
          Snapshot snapshot, Visit&& visit) {
    ScanKeyData keys[2];
    int count = 0;
    for (const auto& [column, oid] : columns)
        ScanKeyInit(&keys[count++], column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
    Relation relation = table_open(catalog, AccessShareLock);
    SysScanDesc rows = systable_beginscan(relation, index, OidIsValid(index), snapshot, count, keys);
    for (HeapTuple row = systable_getnext(rows); HeapTupleIsValid(row); row = systable_getnext(rows))
        visit(row, RelationGetDescr(relation));
    systable_endscan(rows);
    table_close(relation, AccessShareLock);
}

template <typename Visit>
void each_parent(Oid relation, Snapshot snapshot, Visit&& visit) {
    scan(InheritsRelationId, InheritsRelidSeqnoIndexId, {{Anum_pg_inherits_inhrelid, relation}}, snapshot,
         [&](HeapTuple row, TupleDesc) {
             visit(reinterpret_cast<Form_pg_inherits>(GETSTRUCT(row))->inhparent);
         });
}

// ---- Projections and their watches

struct Root {
    Oid relation;
    std::uint64_t projection;
    NameData name;
    bool builtin;
    bool watched;  // true: a watched relation; false: the view
};

struct Roots {
    List* all = NIL;     // of Root *
    List* tables = NIL;  // oids of the extension's tables that define projections
    bool known = true;   // false: the tables are locked, or this library does not know their columns
};

// Reads columns of one of the extension's tables. They are found by name, because the installed version of
// the extension's SQL may differ from the library's. Returns false if the table or a column is missing, or if
// the table cannot be locked without waiting.
template <std::size_t count, typename Visit>
bool each_row(Oid table, const char* const (&names)[count], Snapshot snapshot, Visit&& visit) {
    if (!OidIsValid(table) || !ConditionalLockRelationOid(table, AccessShareLock))
        return false;
    AttrNumber columns[count];
    for (std::size_t i = 0; i < count; ++i)
        columns[i] = get_attnum(table, names[i]);
    const bool known = std::all_of(std::begin(columns), std::end(columns),
                                   [](AttrNumber c) { return c != InvalidAttrNumber; });
    if (known)
        scan(table, InvalidOid, {}, snapshot, [&](HeapTuple row, TupleDesc description) {
            Datum values[count];
            bool is_null = false;
            for (std::size_t i = 0; i < count; ++i)
                values[i] = heap_getattr(row, columns[i], description, &is_null);
            visit(values);
        });
    UnlockRelationOid(table, AccessShareLock);
    return known;
}

Root* add_root(Roots& roots, Oid relation, Datum name, Datum builtin) {
    auto* root = static_cast<Root*>(palloc0(sizeof(Root)));
    root->relation = relation;
    root->name = *DatumGetName(name);
    root->builtin = DatumGetBool(builtin);
    roots.all = lappend(roots.all, root);
    return root;
}

std::uint64_t id_of(const Roots& roots, const Root& watched) {
    ListCell* cell = nullptr;
    foreach (cell, roots.all) {
        const auto* view = static_cast<Root*>(lfirst(cell));
        if (!view->watched && view->builtin == watched.builtin &&
            strcmp(NameStr(view->name), NameStr(watched.name)) == 0)
            return view->projection;
    }
    return 0;
}

Roots read_roots(Snapshot snapshot) {
    Roots roots;
    const Oid schema = get_namespace_oid("rolecall", true);
    const Oid projections = OidIsValid(schema) ? get_relname_relid("projections", schema) : InvalidOid;
    if (!OidIsValid(projections))
        return roots;
    const Oid watches = get_relname_relid("watches", schema);
    roots.tables = list_make2_oid(projections, watches);
    constexpr const char* of_projections[] = {"name", "builtin", "id", "view"};
    constexpr const char* of_watches[] = {"projection", "builtin", "relation"};
    roots.known =
        each_row(projections, of_projections, snapshot,
                 [&](const Datum* values) {
                     add_root(roots, DatumGetObjectId(values[3]), values[0], values[1])->projection =
                         static_cast<std::uint64_t>(DatumGetInt64(values[2]));
                 }) &&
        each_row(watches, of_watches, snapshot, [&](const Datum* values) {
            Root* root = add_root(roots, DatumGetObjectId(values[2]), values[0], values[1]);
            root->watched = true;
            root->projection = id_of(roots, *root);
        });
    return roots;
}

// ---- From a relation up to the views

struct Object {
    Oid catalog;
    Oid object;
};

struct ClosureWalk {
    HTAB* seen;  // of Object
    List* todo = NIL;
    Snapshot snapshot;
};

void visit(ClosureWalk& walk, Oid catalog, Oid object) {
    const Object key{.catalog = catalog, .object = object};
    bool found = false;
    void* entry = hash_search(walk.seen, &key, HASH_ENTER, &found);
    if (!found)
        walk.todo = lappend(walk.todo, entry);
}

// No query reads through objects of these catalogs. Their changes are noted as changes of their relation.
bool leads_nowhere(Oid catalog) {
    return catalog == ConstraintRelationId || catalog == TriggerRelationId ||
           catalog == StatisticExtRelationId || catalog == ExtensionRelationId;
}

// Visits the objects that depend on an object. A relation that depends on another relation (an index, TOAST
// table, sequence or child) is not visited, because no view reads the other relation through it. A relation
// with a column that depends on an object of another kind is visited.
void visit_dependents(ClosureWalk& walk, const Object& on) {
    scan(DependRelationId, DependReferenceIndexId,
         {{Anum_pg_depend_refclassid, on.catalog}, {Anum_pg_depend_refobjid, on.object}}, walk.snapshot,
         [&](HeapTuple row, TupleDesc) {
             const auto* d = reinterpret_cast<Form_pg_depend>(GETSTRUCT(row));
             if (d->deptype == DEPENDENCY_EXTENSION || leads_nowhere(d->classid))
                 return;
             const bool is_part = d->deptype == DEPENDENCY_AUTO || d->deptype == DEPENDENCY_INTERNAL;
             const bool of_relation = on.catalog == RelationRelationId;
             const bool own = is_part && of_relation &&
                              (d->classid == RewriteRelationId || d->classid == PolicyRelationId ||
                               d->classid == AttrDefaultRelationId);
             if (!own && !(of_relation && d->classid == RelationRelationId))
                 visit(walk, d->classid, d->objid);
         });
}

void step(ClosureWalk& walk, const Object& at) {
    Oid whole = InvalidOid;
    if (at.catalog == RelationRelationId) {
        each_parent(at.object, walk.snapshot, [&](Oid parent) { visit(walk, RelationRelationId, parent); });
        // The relation of a composite type depends on the type, so the type is not among its dependents.
        const Oid row = look_up(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, at.object,
                                Anum_pg_class_reltype, walk.snapshot);
        if (OidIsValid(row))
            visit(walk, TypeRelationId, row);
    } else if (part_of_relation(at.catalog, at.object, walk.snapshot, whole) && OidIsValid(whole)) {
        visit(walk, RelationRelationId, whole);
    }
    visit_dependents(walk, at);
}

void add_projection(Affected& affected, std::uint64_t projection) {
    ListCell* cell = nullptr;
    foreach (cell, affected.projections)
        if (*static_cast<std::uint64_t*>(lfirst(cell)) == projection)
            return;
    auto* id = static_cast<std::uint64_t*>(palloc(sizeof(std::uint64_t)));
    *id = projection;
    affected.projections = lappend(affected.projections, id);
}

}  // namespace

Oid look_up(Oid catalog, Oid index, AttrNumber own, Oid object, AttrNumber wanted, Snapshot snapshot) {
    Oid found = InvalidOid;
    scan(catalog, index, {{own, object}}, snapshot, [&](HeapTuple row, TupleDesc columns) {
        bool is_null = false;
        found = DatumGetObjectId(heap_getattr(row, wanted, columns, &is_null));
    });
    return found;
}

bool is_row_type_used(Oid relation, Snapshot snapshot) {
    const Oid row = look_up(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relation,
                            Anum_pg_class_reltype, snapshot);
    const Oid array =
        look_up(TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, row, Anum_pg_type_typarray, snapshot);
    bool is_used = false;
    for (const Oid type : {row, array})
        if (OidIsValid(type))
            scan(DependRelationId, DependReferenceIndexId,
                 {{Anum_pg_depend_refclassid, TypeRelationId}, {Anum_pg_depend_refobjid, type}}, snapshot,
                 [&](HeapTuple tuple, TupleDesc) {
                     const auto* d = reinterpret_cast<Form_pg_depend>(GETSTRUCT(tuple));
                     const bool is_own = (d->classid == TypeRelationId && d->objid == array) ||
                                         (d->classid == RelationRelationId && d->objid == relation);
                     is_used |= !is_own;
                 });
    return is_used;
}

bool is_temporary_schema(Oid schema) {
    bool is_temporary = false;
    scan(NamespaceRelationId, NamespaceOidIndexId, {{Anum_pg_namespace_oid, schema}}, SnapshotSelf,
         [&](HeapTuple row, TupleDesc) {
             const char* name = NameStr(reinterpret_cast<Form_pg_namespace>(GETSTRUCT(row))->nspname);
             is_temporary = strncmp(name, "pg_temp_", 8) == 0 || strncmp(name, "pg_toast_temp_", 14) == 0;
         });
    return is_temporary;
}

bool part_of_relation(Oid catalog, Oid object, Snapshot snapshot, Oid& relation) {
    struct PartCatalog {
        Oid catalog;
        Oid index;
        AttrNumber own;
        AttrNumber relation;
    };
    static constexpr PartCatalog parts[] = {
        {AttrDefaultRelationId, AttrDefaultOidIndexId, Anum_pg_attrdef_oid, Anum_pg_attrdef_adrelid},
        {ConstraintRelationId, ConstraintOidIndexId, Anum_pg_constraint_oid, Anum_pg_constraint_conrelid},
        {PolicyRelationId, PolicyOidIndexId, Anum_pg_policy_oid, Anum_pg_policy_polrelid},
        {RewriteRelationId, RewriteOidIndexId, Anum_pg_rewrite_oid, Anum_pg_rewrite_ev_class},
        {StatisticExtRelationId, StatisticExtOidIndexId, Anum_pg_statistic_ext_oid,
         Anum_pg_statistic_ext_stxrelid},
        {TriggerRelationId, TriggerOidIndexId, Anum_pg_trigger_oid, Anum_pg_trigger_tgrelid},
    };
    for (const PartCatalog& part : parts) {
        if (part.catalog != catalog)
            continue;
        relation = look_up(catalog, part.index, part.own, object, part.relation, snapshot);
        return true;
    }
    return false;
}

Affected projections_over(List* relations, Snapshot snapshot) {
    Affected affected;
    const Roots roots = read_roots(snapshot);
    if (!roots.known) {
        affected.all = true;
        return affected;
    }
    if (roots.all == NIL)
        return affected;

    HASHCTL control{};
    control.keysize = control.entrysize = sizeof(Object);
    control.hcxt = CurrentMemoryContext;
    ClosureWalk walk{
        .seen = hash_create("rolecall closure", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT),
        .todo = NIL,
        .snapshot = snapshot};
    ListCell* cell = nullptr;
    foreach (cell, relations)
        visit(walk, RelationRelationId, lfirst_oid(cell));
    for (int i = 0; i < list_length(walk.todo); ++i) {
        const Object at = *static_cast<Object*>(list_nth(walk.todo, i));
        if (at.catalog == RelationRelationId) {
            affected.all |= list_member_oid(roots.tables, at.object);
            foreach (cell, roots.all) {
                const auto* root = static_cast<Root*>(lfirst(cell));
                if (root->relation == at.object)
                    add_projection(affected, root->projection);
            }
        }
        step(walk, at);
    }
    return affected;
}

List* ancestors_of(Oid relation, Snapshot snapshot) {
    List* ancestors = list_make1_oid(relation);
    for (int i = 0; i < list_length(ancestors); ++i)
        each_parent(list_nth_oid(ancestors, i), snapshot,
                    [&](Oid parent) { ancestors = list_append_unique_oid(ancestors, parent); });
    return list_delete_first(ancestors);
}

bool is_below_watched(Oid relation, Snapshot snapshot) {
    List* ancestors = ancestors_of(relation, snapshot);
    if (ancestors == NIL)
        return false;
    const Roots roots = read_roots(snapshot);
    ListCell* cell = nullptr;
    foreach (cell, roots.all) {
        const auto* root = static_cast<Root*>(lfirst(cell));
        if (root->watched && list_member_oid(ancestors, root->relation))
            return true;
    }
    return false;
}

}  // namespace rolecall::invalidation
