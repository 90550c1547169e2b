#include "definition/check.h"

#include "definition/distributed.h"
#include "definition/safety.h"
#include "pg/security_context.h"
#include "pg/testing.h"

extern "C" {
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "parser/parse_func.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

struct Check {
    const Description& projection;
    Oid row_function;
    Oid truncate_function;
    List* watched;   // relations that a watch covers
    List* problems;  // of Problem *
};

void add(Check& check, Oid relation, bool lasting, const char* text, const char* repair = nullptr) {
    add_problem(&check.problems, {.relation = relation, .lasting = lasting, .text = text, .repair = repair});
}

const char* literal(const char* value) { return quote_literal_cstr(value); }

const char* repair_all(const Check& check) {
    return psprintf("SELECT rolecall.repair_projection(%s)", literal(NameStr(check.projection.name)));
}

const char* rewatch(const Check& check, Oid relation) {
    return psprintf("SELECT rolecall.unwatch(%s, %s), then watch it by another column",
                    literal(NameStr(check.projection.name)), literal(qualified_name(relation)));
}

// ---- Columns, which are identified by number

// Returns nullptr if there is no such column, or if it was dropped.
const char* name_of_column(Oid relation, AttrNumber number) {
    HeapTuple tuple = SearchSysCacheAttNum(relation, number);
    if (!HeapTupleIsValid(tuple))
        return nullptr;
    const char* name = pstrdup(NameStr(reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple))->attname));
    ReleaseSysCache(tuple);
    return name;
}

// Returns what became of a column that no longer has its name, or nullptr if the column is in place. Both
// name and number are compared, because columns may exchange names.
const char* moved_column(Oid relation, const NameData& name, AttrNumber number) {
    if (get_attnum(relation, NameStr(name)) == number)
        return nullptr;
    const char* now = name_of_column(relation, number);
    if (now == nullptr)
        return psprintf("column \"%s\" of %s was dropped", NameStr(name), qualified_name(relation));
    return psprintf(R"(column "%s" of %s is called "%s" now)", NameStr(name), qualified_name(relation), now);
}

// Returns true, and adds no problem, if the column is in place.
bool column_is_in_place(Check& check, Oid watched, Oid relation, const NameData& name, AttrNumber number) {
    const char* moved = moved_column(relation, name, number);
    if (moved == nullptr)
        return true;
    const bool is_there = name_of_column(relation, number) != nullptr;
    add(check, watched, false, moved, is_there ? repair_all(check) : rewatch(check, watched));
    return false;
}

// ---- Watches

// Returns a relation with its children on every level, as queries of this session see them. Temporary
// children of other sessions are left out; `relation` itself is always included.
List* members_of(Oid relation) {
    List* members = NIL;
    ListCell* cell = nullptr;
    foreach (cell, find_all_inheritors(relation, AccessShareLock, nullptr))
        if (lfirst_oid(cell) == relation || !isOtherTempNamespace(get_rel_namespace(lfirst_oid(cell))))
            members = lappend_oid(members, lfirst_oid(cell));
    return members;
}

// Returns whether the trigger calls `function` for every write. A deferrable trigger does not count: if it is
// deferred, the transaction that wrote could still read the old document.
bool fires_always(const Trigger& trigger, Oid function) {
    const bool always =
        trigger.tgenabled == TRIGGER_FIRES_ALWAYS ||
        (testing::fault(Fault::watch_on_origin_only) && trigger.tgenabled == TRIGGER_FIRES_ON_ORIGIN);
    return trigger.tgfoid == function && always && trigger.tgqual == nullptr && trigger.tgnattr == 0 &&
           !trigger.tgdeferrable;
}

// Checks for the arguments that put_watch_triggers() gives: the id of the projection, the column, and for a
// lookup the id of its watch.
bool has_arguments(const Trigger& trigger, const Description& projection, const Watch& watch) {
    const int wanted = watch.keyed ? (watch.lookup ? 3 : 2) : 1;
    return trigger.tgnargs == wanted &&
           strcmp(trigger.tgargs[0], psprintf(INT64_FORMAT, static_cast<int64>(projection.id))) == 0 &&
           (wanted < 2 || strcmp(trigger.tgargs[1], NameStr(watch.key_column)) == 0) &&
           (wanted < 3 ||
            strcmp(trigger.tgargs[2], psprintf(INT64_FORMAT, static_cast<int64>(watch.id))) == 0);
}

bool triggers_are_in_place(Relation relation, const Watch& watch, const Check& check) {
    constexpr int row_events =
        TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_UPDATE;
    const Watch whole{.id = 0,
                      .relation = watch.relation,
                      .lookup = true,
                      .keyed = false,
                      .key_column = {},
                      .key_number = 0};
    bool row_found = false;
    bool truncate_found = false;
    const TriggerDesc* triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& t = triggers->triggers[i];
        row_found |= t.tgtype == row_events && fires_always(t, check.row_function) &&
                     has_arguments(t, check.projection, watch);
        truncate_found |= t.tgtype == TRIGGER_TYPE_TRUNCATE && fires_always(t, check.truncate_function) &&
                          has_arguments(t, check.projection, whole);
    }
    if (testing::fault(Fault::partition_without_truncate) && relation->rd_rel->relispartition)
        truncate_found = true;
    return row_found && truncate_found;
}

bool key_fits(Oid relation, const Watch& watch, const Check& check) {
    if (!watch.keyed)
        return true;
    if (!watch.lookup)
        return is_key_column(relation, NameStr(watch.key_column), check.projection.key_kind);
    KeyKind kind{};
    return key_kind_of_column(relation, NameStr(watch.key_column), kind);
}

// Checks a watched relation and its children, and adds them to check.watched.
void check_watch(const Watch& watch, Check& check) {
    if (!relation_exists(watch.relation)) {
        add(check, InvalidOid, false, "a watched relation was dropped", repair_all(check));
        return;
    }
    const bool in_place = !watch.keyed || column_is_in_place(check, watch.relation, watch.relation,
                                                             watch.key_column, watch.key_number);
    ListCell* cell = nullptr;
    foreach (cell, members_of(watch.relation)) {
        Relation relation = table_open(lfirst_oid(cell), AccessShareLock);
        const Oid oid = RelationGetRelid(relation);
        if (relation->rd_rel->relkind == RELKIND_RELATION &&
            relation->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
            !triggers_are_in_place(relation, watch, check))
            add(check, oid, false, psprintf("the watch on %s is not in place", qualified_name(oid)),
                repair_all(check));
        if (in_place && !key_fits(oid, watch, check))
            add(check, watch.relation, false,
                psprintf("column \"%s\" of %s does not fit the key", NameStr(watch.key_column),
                         qualified_name(oid)),
                rewatch(check, watch.relation));
        check.watched = list_append_unique_oid(check.watched, oid);
        table_close(relation, NoLock);
    }
}

// Checks a column that names groups. It must be in a table that is watched by key, so that the documents of
// its rows are known, and its type must fit the key column of the lookup, so that both have equal values.
void check_reference(const Reference& reference, Check& check) {
    const auto& watches = check.projection.watches;
    const Watch& lookup = watches[reference.watch];
    if (!relation_exists(lookup.relation))
        return;  // check_watch() has added the problem
    const bool keyed = std::any_of(watches.begin(), watches.end(), [&](const Watch& w) {
        return !w.lookup && w.relation == reference.relation;
    });
    if (!keyed && reference.is_foreign_key) {
        const char* child = qualified_name(reference.relation);
        add(check, lookup.relation, false,
            psprintf("column \"%s\" of %s refers to the lookup %s, and no table above has it",
                     NameStr(reference.column), child, qualified_name(lookup.relation)),
            psprintf("SELECT rolecall.watch(%s, %s, '<column that holds the key>')",
                     literal(NameStr(check.projection.name)), literal(child)));
        return;
    }
    if (relation_exists(reference.relation) &&
        !column_is_in_place(check, lookup.relation, reference.relation, reference.column, reference.number))
        return;
    if (moved_column(lookup.relation, lookup.key_column, lookup.key_number) != nullptr)
        return;  // check_watch() has added the problem
    KeyKind kind{};
    if (!keyed || !key_kind_of_column(lookup.relation, NameStr(lookup.key_column), kind) ||
        !is_key_column(reference.relation, NameStr(reference.column), kind))
        add(check, lookup.relation, false,
            psprintf("column \"%s\" of %s does not refer to the lookup %s", NameStr(reference.column),
                     relation_exists(reference.relation) ? qualified_name(reference.relation)
                                                         : "a relation that was dropped",
                     qualified_name(lookup.relation)),
            rewatch(check, lookup.relation));
}

// A lookup by key to which nothing refers would belong to no document.
void check_is_referred_to(int number, Check& check) {
    const Watch& watch = check.projection.watches[number];
    const auto& references = check.projection.references;
    if (watch.lookup && watch.keyed && relation_exists(watch.relation) &&
        std::none_of(references.begin(), references.end(),
                     [number](const Reference& r) { return r.watch == number; }))
        add(check, watch.relation, false,
            psprintf("nothing refers to the lookup %s", qualified_name(watch.relation)),
            rewatch(check, watch.relation));
}

// ---- What the view reads

void check_relation(Oid oid, Check& check) {
    const char kind = get_rel_relkind(oid);
    const char* name = qualified_name(oid);
    if (kind == RELKIND_VIEW) {
        if (get_rel_persistence(oid) == RELPERSISTENCE_TEMP)
            add(check, oid, true, psprintf("%s is a temporary view", name));
        return;
    }
    if (oid < FirstNormalObjectId)
        add(check, oid, true, psprintf("%s is a system catalog", name));
    else if (kind == RELKIND_FOREIGN_TABLE)
        add(check, oid, true, psprintf("%s is a foreign table", name));
    else if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
        add(check, oid, true, psprintf("%s is not an ordinary table", name));
    else if (get_rel_persistence(oid) == RELPERSISTENCE_TEMP)
        add(check, oid, true, psprintf("%s is a temporary table", name));
    else if (!list_member_oid(check.watched, oid))
        add(check, oid, false, psprintf("%s is not watched", name),
            psprintf("SELECT rolecall.watch(%s, %s, '<column that holds the key>') or "
                     "rolecall.watch_lookup(%s, %s)",
                     literal(NameStr(check.projection.name)), literal(name),
                     literal(NameStr(check.projection.name)), literal(name)));
}

// ---- The view itself

enum class WindowColumns { none, whole, other };

WindowColumns window_of(Oid view) {
    const AttrNumber from = get_attnum(view, "valid_from");
    const AttrNumber until = get_attnum(view, "valid_until");
    if (from == InvalidAttrNumber && until == InvalidAttrNumber)
        return WindowColumns::none;
    const bool is_whole = from != InvalidAttrNumber && until != InvalidAttrNumber &&
                          get_atttype(view, from) == TIMESTAMPTZOID &&
                          get_atttype(view, until) == TIMESTAMPTZOID;
    return is_whole ? WindowColumns::whole : WindowColumns::other;
}

// A plan reads the relations that the queries name, and others only if a function that reads them was
// inlined. Planning evaluates calls of immutable functions, so only a safe view may be planned.
void check_planned(Check& check, const Plan& plan, const List* behind) {
    const pg::SecurityContext before = pg::act_as_pinned(plan.owner);
    List* planned = planned_relations(plan);
    pg::restore_security_context(before);
    ListCell* cell = nullptr;
    foreach (cell, planned)
        if (!list_member_oid(behind, lfirst_oid(cell)))
            add(check, lfirst_oid(cell), true,
                psprintf("a function reads %s", qualified_name(lfirst_oid(cell))));
}

void check_exactness(Check& check, const Plan& plan, const Execution& execution, const List* behind,
                     bool is_safe) {
    const Description& projection = check.projection;
    if (!is_key_column(projection.view, NameStr(projection.key_column), projection.key_kind))
        add(check, projection.view, true,
            psprintf("the collation of column \"%s\" is not deterministic", NameStr(projection.key_column)));
    if (window_of(projection.view) == WindowColumns::other)
        add(check, projection.view, true,
            "columns \"valid_from\" and \"valid_until\" must both be there, of type timestamp with time "
            "zone");
    if (execution.inexact != nullptr)
        add(check, projection.view, true, psprintf("the view is not exact: %s", execution.inexact));
    else if (is_safe && execution.calls_sql)
        check_planned(check, plan, behind);
}

// DDL on objects behind the new view is not associated with the projection as long as the projection's row
// has the OID of the old view.
void check_view(Check& check) {
    if (check.projection.view_made_anew)
        add(check, check.projection.view, false,
            psprintf("view %s was dropped and made anew", qualified_name(check.projection.view)),
            repair_all(check));
}

// No watch sees changes of shards.
void check_distribution(const List* relations, Check& check) {
    ListCell* cell = nullptr;
    foreach (cell, relations)
        if (is_distributed(lfirst_oid(cell)))
            add(check, lfirst_oid(cell), true,
                psprintf("%s is managed by Citus", qualified_name(lfirst_oid(cell))),
                "make it a table of this node only, give the projection a ttl, or drop the projection");
}

// Groups are read from a keyed table as the table's owner (groups.h), which need not be the owner of the
// view.
const char* unsafe_group_source(const Description& projection) {
    for (const Reference& reference : projection.references)
        if (relation_exists(reference.relation))
            if (const char* found = unsafe_part(owner_of(reference.relation), Execution{},
                                                list_make1_oid(reference.relation));
                found != nullptr)
                return found;
    return nullptr;
}

Oid watch_function(const char* name) {
    List* qualified = list_make2(makeString(pstrdup("rolecall")), makeString(pstrdup(name)));
    return LookupFuncName(qualified, 0, nullptr, false);
}

}  // namespace

bool has_window(Oid view) { return window_of(view) == WindowColumns::whole; }

Verdict check_projection(const Description& projection, const Plan& plan, const Execution& execution,
                         List** relations) {
    Check check{projection, watch_function("watch_row"), watch_function("watch_truncate"), NIL, NIL};
    const bool exact = projection.ttl == 0;
    List* behind = NIL;
    ListCell* cell = nullptr;
    foreach (cell, *relations) {
        const Oid oid = lfirst_oid(cell);
        if (get_rel_relkind(oid) == RELKIND_VIEW)
            behind = list_append_unique_oid(behind, oid);
        else
            behind = list_concat_unique_oid(behind, members_of(oid));
    }

    const char* unsafe = unsafe_part(plan.owner, execution, behind);
    if (unsafe == nullptr)
        unsafe = unsafe_group_source(projection);
    if (unsafe != nullptr)
        add(check, projection.view, true, unsafe,
            "let one role own the view and what it uses, or a role that has the rights of the view's owner");
    if (exact)
        check_exactness(check, plan, execution, behind, unsafe == nullptr);
    check_view(check);
    for (const Watch& watch : projection.watches)
        check_watch(watch, check);
    for (std::size_t w = 0; w < projection.watches.size(); ++w)
        check_is_referred_to(static_cast<int>(w), check);
    for (const Reference& reference : projection.references)
        check_reference(reference, check);
    foreach (cell, behind)
        if (exact)
            check_relation(lfirst_oid(cell), check);
    *relations = list_concat_unique_oid(behind, check.watched);
    if (exact)
        check_distribution(*relations, check);
    *relations = add_distribution_catalogs(*relations);
    return {.problems = check.problems, .unsafe = unsafe};
}

}  // namespace rolecall::projection
