#include "invalidation/ddl.h"

#include "cache/shared.h"
#include "definition/definition.h"
#include "invalidation/announce.h"
#include "invalidation/closure.h"
#include "invalidation/reach.h"
#include "invalidation/rights.h"
#include "invalidation/watch.h"
#include "pg/utility.h"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace rolecall::invalidation {

namespace {

object_access_hook_type previous_object_hook = nullptr;

// A running statement that changes definitions. Some statements commit half-way and continue in another
// transaction; there, everything that was noted for the statement is noted again.
struct DefinitionChange {
    DefinitionChange* outer;
    MemoryContext context;
    Reach reach;
    CommandTag tag;
    List* named;      // of RangeVar *, copies
    List* relations;  // oids that the names resolved to
    List* children;   // relations that the statement made children of others
    Oid dropped_database;
    bool rights_only;  // it affects only roles that were passed to note_grantee()
};

DefinitionChange* change = nullptr;  // the innermost

// ---- Objects

// Other sessions do not read temporary relations. But a permanent object may use the row type of one, and a
// function whose text may name anything may have variables of the type of such an object, so this counts for
// the whole database. No query reads through indexes or TOAST tables. A composite type is a relation too, but
// does not belong to a table or view, so it also counts for the whole database.
void note_any_relation(Oid relation, void (*note)(Oid) = note_relation) {
    if (!OidIsValid(relation))
        return;
    if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP) {
        if (is_row_type_used(relation, SnapshotSelf))
            note_database();
        return;
    }
    switch (get_rel_relkind(relation)) {
        case RELKIND_INDEX:
        case RELKIND_PARTITIONED_INDEX:
        case RELKIND_TOASTVALUE:
            break;
        case RELKIND_COMPOSITE_TYPE:
            note_database();
            break;
        default:
            note(relation);
            break;
    }
}

// The parents are noted now. At the announcement, the catalogs no longer have the dropped relation as a
// child.
void note_dropped_relation(Oid relation) {
    note_any_relation(relation);
    ListCell* cell = nullptr;
    foreach (cell, ancestors_of(relation, nullptr))
        note_any_relation(lfirst_oid(cell));
}

void note_child(Oid child, Oid parent) {
    if (get_rel_persistence(child) == RELPERSISTENCE_TEMP)
        return;  // other sessions do not see it as a child
    note_any_relation(child);
    note_any_relation(parent);
    if (change != nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(change->context);
        change->children = list_append_unique_oid(change->children, child);
        MemoryContextSwitchTo(caller);
    }
}

// A relation's row type and the array type over it are created and dropped with the relation, which is noted
// itself.
void note_type(ObjectAccessType access, Oid type) {
    Oid relation =
        look_up(TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, type, Anum_pg_type_typrelid, SnapshotSelf);
    if (!OidIsValid(relation)) {
        const Oid element = look_up(TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, type,
                                    Anum_pg_type_typelem, SnapshotSelf);
        if (OidIsValid(element))
            relation = look_up(TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, element,
                               Anum_pg_type_typrelid, SnapshotSelf);
    }
    if (!OidIsValid(relation))
        note_database();
    else if (access == OAT_POST_ALTER)
        note_any_relation(relation);
}

// VACUUM FULL and CLUSTER only copy rows into new files. Any other internal change belongs to a statement
// that changes definitions, so `change` is set.
bool is_rewrite(ObjectAccessType access, Oid catalog, const void* argument) {
    return change == nullptr && catalog == RelationRelationId && access == OAT_POST_ALTER &&
           argument != nullptr && static_cast<const ObjectAccessPostAlter*>(argument)->is_internal;
}

void note_object(ObjectAccessType access, Oid catalog, Oid object, int part, void* argument) {
    Oid whole = InvalidOid;
    if (is_rewrite(access, catalog, argument))
        return;
    if (catalog == RelationRelationId && part == 0 && access == OAT_POST_CREATE) {
        note_created(object);
    } else if (catalog == RelationRelationId && part == 0 && access == OAT_DROP) {
        note_dropped_relation(object);
    } else if (catalog == RelationRelationId || (catalog == AttrDefaultRelationId && part != 0)) {
        note_any_relation(object);  // a column of a relation, or the column's default
    } else if (catalog == InheritsRelationId) {
        if (access == OAT_POST_ALTER)
            note_child(object, static_cast<ObjectAccessPostAlter*>(argument)->auxiliary_id);
    } else if (catalog == TypeRelationId) {
        note_type(access, object);
    } else if (catalog == NamespaceRelationId && access == OAT_POST_CREATE) {
        if (!is_temporary_schema(object))  // a session's first temporary table creates one
            note_database();
    } else if (part_of_relation(catalog, object, SnapshotSelf, whole)) {
        if (OidIsValid(whole))
            note_any_relation(whole);
        else
            note_database();  // part of a domain, or not found
    } else if (reach_of_catalog(catalog) != Reach::nothing) {
        note_database();
    }
}

void on_object(ObjectAccessType access, Oid catalog, Oid object, int part, void* argument) {
    if (previous_object_hook != nullptr)
        previous_object_hook(access, catalog, object, part, argument);
    switch (access) {
        case OAT_POST_CREATE:
        case OAT_DROP:
        case OAT_POST_ALTER:
            if (cache::preloaded() && IsNormalProcessingMode())
                note_object(access, catalog, object, part, argument);
            break;
        default:  // these change nothing
            break;
    }
}

// ---- Statements

// Privileges are not checked here; the statement checks them itself.
Oid relation_named(const RangeVar& name) {
    if (name.schemaname == nullptr)
        return RelnameGetRelid(name.relname);
    const Oid schema = LookupNamespaceNoError(name.schemaname);
    return OidIsValid(schema) ? get_relname_relid(name.relname, schema) : InvalidOid;
}

void note_relations(DefinitionChange& c) {
    ListCell* cell = nullptr;
    MemoryContext caller = MemoryContextSwitchTo(c.context);
    foreach (cell, c.named) {
        const Oid relation = relation_named(*lfirst_node(RangeVar, cell));
        if (OidIsValid(relation))
            c.relations = list_append_unique_oid(c.relations, relation);
    }
    MemoryContextSwitchTo(caller);
    foreach (cell, c.relations)
        note_any_relation(lfirst_oid(cell), c.rights_only ? note_rights : note_relation);
}

void note_change(DefinitionChange& c) {
    note_statement(c.tag);
    switch (c.reach) {
        case Reach::nothing:
        case Reach::roles:  // noted in before(); these statements do not commit half-way
            break;
        case Reach::relation:
            note_relations(c);
            break;
        case Reach::database:
            note_database();
            break;
        case Reach::all_databases:
            note_all_databases();
            break;
    }
    if (OidIsValid(c.dropped_database))
        note_dropped_database(c.dropped_database);
}

void note_changes_under_way() {
    for (DefinitionChange* c = change; c != nullptr; c = c->outer)
        note_change(*c);
}

void before(const Node* statement, bool, void*& state) {
    const Reach reach = reach_of(statement);
    const bool drops_database = IsA(statement, DropdbStmt);
    if ((reach == Reach::nothing && !drops_database) || !cache::preloaded() || !IsTransactionState())
        return;
    MemoryContext context = AllocSetContextCreate(TopMemoryContext, "rolecall change", ALLOCSET_SMALL_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(context);
    auto* c = static_cast<DefinitionChange*>(palloc0(sizeof(DefinitionChange)));
    c->outer = change;
    c->context = context;
    c->reach = reach;
    c->tag = CreateCommandTag(const_cast<Node*>(statement));
    if (reach == Reach::relation)
        c->named = static_cast<List*>(copyObjectImpl(relations_named_by(statement)));
    if (drops_database)
        c->dropped_database = get_database_oid(reinterpret_cast<const DropdbStmt*>(statement)->dbname, true);
    MemoryContextSwitchTo(caller);
    state = change = c;
    if (reach == Reach::relation && IsA(statement, GrantStmt))
        c->rights_only = note_grantees(*reinterpret_cast<const GrantStmt*>(statement));
    if (reach == Reach::roles)
        note_roles_of(statement);
    note_change(*c);
}

void after(void* state) {
    DefinitionChange& c = *static_cast<DefinitionChange*>(state);
    note_change(c);
    // Definitions that were read since the statement began may be partly from old and partly from new
    // catalogs.
    projection::definitions_expire();
    ListCell* cell = nullptr;
    foreach (cell, c.children)
        watch_child(lfirst_oid(cell));
}

void at_end(void* state, bool) {
    auto* c = static_cast<DefinitionChange*>(state);
    change = c->outer;
    MemoryContextDelete(c->context);
}

constexpr pg::UtilityWatcher watcher{.before = before, .after = after, .at_end = at_end};

}  // namespace

void ddl_init() {
    announce_init();
    before_announcement = note_changes_under_way;
    pg::watch_utility(watcher);
    previous_object_hook = object_access_hook;
    object_access_hook = on_object;
}

}  // namespace rolecall::invalidation
