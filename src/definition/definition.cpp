#include "definition/definition.h"

#include "cache/shared.h"
#include "definition/check.h"
#include "definition/detaching.h"
#include "definition/distributed.h"
#include "definition/exactness.h"
#include "definition/groups.h"
#include "definition/references.h"
#include "definition/safety.h"
#include "definition/text_functions.h"
#include "definition/view.h"
#include "pg/security_context.h"
#include "pg/settings.h"
#include "pg/testing.h"
#include "pg/version.h"

extern "C" {
#include "access/table.h"
#include "catalog/pg_class.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

constexpr int most_attempts = 3;

// No lasting sum of versions has this odd value, because a version is odd only while its stamp changes.
constexpr std::uint64_t never = UINT64_MAX;

Definition* definitions = nullptr;
std::uint64_t changes = 0;  // relation invalidations received

void expire(Definition& d) {
    d.fresh = false;
    d.usable_at = never;
}

void on_relation_change(Datum, Oid relation) {
    ++changes;
    for (Definition* d = definitions; d != nullptr; d = d->next) {
        const Oid* end = d->relations + d->relation_count;
        if (!OidIsValid(relation) || std::find(const_cast<const Oid*>(d->relations), end, relation) != end)
            expire(*d);
    }
}

// Queries name relations with their schema. Renaming a schema changes all these names, but is not reported
// for the relations.
void on_schema_change(Datum, int, uint32) { on_relation_change(Datum{0}, InvalidOid); }

// ---- The rows

Datum column(std::uint64_t row, int number, bool* is_null) {
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, is_null);
}

void select(const char* sql, Oid type, Datum argument) {
    if (SPI_execute_with_args(sql, 1, &type, &argument, nullptr, true, 0) != SPI_OK_SELECT)
        elog(ERROR, "could not read the projections");
}

// A projection of the application takes precedence over a built-in one of the same name.
bool read_projection(Description& d) {
    select(
        "SELECT builtin, id, view, key_column, doc_column, extract(epoch FROM ttl) * 1000000 "
        "FROM (SELECT *, row_number() OVER (ORDER BY builtin) AS place FROM rolecall.projections WHERE name "
        "= $1) p "
        "WHERE place = 1",
        NAMEOID, NameGetDatum(&d.name));
    if (SPI_processed == 0)
        return false;
    bool is_null = false;
    d.builtin = DatumGetBool(column(0, 1, &is_null));
    d.id = static_cast<std::uint64_t>(DatumGetInt64(column(0, 2, &is_null)));
    d.view = DatumGetObjectId(column(0, 3, &is_null));
    d.key_column = *DatumGetName(column(0, 4, &is_null));
    d.doc_column = *DatumGetName(column(0, 5, &is_null));
    const Datum ttl = column(0, 6, &is_null);
    d.ttl = is_null ? 0 : DatumGetInt64(DirectFunctionCall1(numeric_int8, ttl));
    return true;
}

// Returns a column's number, or InvalidAttrNumber if the column did not exist when it was named.
AttrNumber number_in(std::uint64_t row, int place) {
    bool is_null = false;
    const Datum number = column(row, place, &is_null);
    return is_null ? AttrNumber{InvalidAttrNumber} : DatumGetInt16(number);
}

void read_watches(Description& d) {
    select(psprintf("SELECT id, relation, is_lookup, key_column, key_number FROM rolecall.watches "
                    "WHERE projection = $1 AND builtin = %s",
                    d.builtin ? "true" : "false"),
           NAMEOID, NameGetDatum(&d.name));
    auto* watches = static_cast<Watch*>(palloc0(sizeof(Watch) * std::max<std::uint64_t>(SPI_processed, 1)));
    d.watches = {watches, SPI_processed};
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        bool is_null = false;
        watches[i].id = static_cast<std::uint64_t>(DatumGetInt64(column(i, 1, &is_null)));
        watches[i].relation = DatumGetObjectId(column(i, 2, &is_null));
        watches[i].lookup = DatumGetBool(column(i, 3, &is_null));
        const Datum key = column(i, 4, &is_null);
        watches[i].keyed = !is_null;
        if (!is_null)
            watches[i].key_column = *DatumGetName(key);
        watches[i].key_number = number_in(i, 5);
    }
}

void read_references(Description& d) {
    List* references = NIL;
    for (std::size_t w = 0; w < d.watches.size(); ++w) {
        if (!d.watches[w].lookup)
            continue;
        select("SELECT relation, column_name, column_number FROM rolecall.watch_references WHERE watch = $1",
               INT8OID, Int64GetDatum(static_cast<int64>(d.watches[w].id)));
        for (std::uint64_t i = 0; i < SPI_processed; ++i) {
            bool is_null = false;
            auto* reference = static_cast<Reference*>(palloc0(sizeof(Reference)));
            reference->watch = static_cast<int>(w);
            reference->relation = DatumGetObjectId(column(i, 1, &is_null));
            reference->column = *DatumGetName(column(i, 2, &is_null));
            reference->number = number_in(i, 3);
            references = lappend(references, reference);
        }
    }
    const auto count = static_cast<std::size_t>(list_length(references));
    auto* all = static_cast<Reference*>(palloc(sizeof(Reference) * std::max<std::size_t>(count, 1)));
    d.references = {all, count};
    ListCell* cell = nullptr;
    foreach (cell, references)
        *all++ = *static_cast<Reference*>(lfirst(cell));
}

// ---- The queries

const char* load_query(const Description& d) {
    return psprintf(
        "SELECT v.%s, %s FROM %s v WHERE v.%s = $1", quote_identifier(NameStr(d.doc_column)),
        has_window(d.view) ? "v.valid_from, v.valid_until" : "NULL::timestamptz, NULL::timestamptz",
        qualified_name(d.view), quote_identifier(NameStr(d.key_column)));
}

// Returns one source for each table that holds keys and refers to a lookup.
List* group_sources_of(const Description& d) {
    List* sources = NIL;
    for (const Watch& watch : d.watches) {
        if (watch.lookup)
            continue;
        auto* columns = static_cast<GroupColumn*>(palloc(sizeof(GroupColumn) * (d.references.size() + 1)));
        std::size_t count = 0;
        for (const Reference& reference : d.references)
            if (reference.relation == watch.relation)
                columns[count++] = {.name = reference.column,
                                    .number = reference.number,
                                    .lookup = d.watches[static_cast<std::size_t>(reference.watch)].id};
        if (count == 0)
            continue;
        auto* source = static_cast<GroupSource*>(palloc0(sizeof(GroupSource)));
        *source = {.relation = watch.relation,
                   .key_column = watch.key_column,
                   .key_number = watch.key_number,
                   .columns = {columns, count}};
        sources = lappend(sources, source);
    }
    return sources;
}

Oid column_type(const Description& d, const NameData& name) {
    const AttrNumber number = get_attnum(d.view, NameStr(name));
    if (number == InvalidAttrNumber)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" of the view of projection \"%s\" does not exist", NameStr(name),
                               NameStr(d.name))));
    return get_atttype(d.view, number);
}

void check_columns(Description& d) {
    const Oid key_type = column_type(d, d.key_column);
    if (!key_kind_of(key_type, d.key_kind))
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("type %s cannot be the key of a projection", format_type_be(key_type)),
                        errhint("Use bigint, integer, uuid, text, varchar or char(n).")));
    if (column_type(d, d.doc_column) != JSONBOID)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column \"%s\" of the view of projection \"%s\" must be of type jsonb",
                               NameStr(d.doc_column), NameStr(d.name))));
}

// A security-invoker view, also one behind other views, checks the rights of the role that reads it. A
// projection would show every reader what the owner of the projection's view may read.
void refuse_security_invokers(List* relations) {
    ListCell* cell = nullptr;
    foreach (cell, relations) {
        if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_VIEW)
            continue;
        Relation view = table_open(lfirst_oid(cell), AccessShareLock);
        const bool is_invoker = RelationHasSecurityInvoker(view);
        table_close(view, NoLock);
        if (is_invoker)
            ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
                            errmsg("%s is a security-invoker view", qualified_name(lfirst_oid(cell))),
                            errdetail("What it returns depends on who asks. A document does not."),
                            errhint("Use a view with security_invoker = false.")));
    }
}

// ---- Reading a definition

const Problem* keep(const Problem& problem, MemoryContext context) {
    auto* kept = static_cast<Problem*>(MemoryContextAlloc(context, sizeof(Problem)));
    *kept = {.relation = problem.relation,
             .lasting = problem.lasting,
             .text = MemoryContextStrdup(context, problem.text),
             .repair = problem.repair != nullptr ? MemoryContextStrdup(context, problem.repair) : nullptr};
    return kept;
}

// The copy is in the current memory context.
GroupSource* copy_of(const GroupSource& source) {
    auto* columns = static_cast<GroupColumn*>(palloc(source.columns.size_bytes()));
    std::copy(source.columns.begin(), source.columns.end(), columns);
    auto* copy = static_cast<GroupSource*>(palloc(sizeof(GroupSource)));
    *copy = source;
    copy->columns = {columns, source.columns.size()};
    return copy;
}

// Replaces the contents of `d` by what was read.
void adopt(Definition& d, const Description& now, Plan* plan, List* group_sources, List* group_plans,
           const Verdict& verdict, List* relations) {
    retire_plan(d.plan);
    retire_plan(d.email_plan);
    ListCell* cell = nullptr;
    foreach (cell, d.group_plans)
        retire_plan(static_cast<Plan*>(lfirst(cell)));
    MemoryContextReset(d.context);
    keep_plan(plan);
    foreach (cell, group_plans)
        keep_plan(static_cast<Plan*>(lfirst(cell)));
    d.plan = plan;
    d.email_plan = nullptr;
    d.id = now.id;
    d.view = now.view;
    d.key_kind = now.key_kind;
    d.key_column = now.key_column;
    d.doc_column = now.doc_column;
    d.ttl = now.ttl;
    if (cache::preloaded()) {
        d.floor = &cache::shared.floors.of(cache::projection_hash(now.id));
        d.quiet = now.quiet;
        d.read_at = now.floors;
        d.counters = cache::counters::place_of(MyDatabaseId, cache::projection_hash(now.id));
    }

    MemoryContext caller = MemoryContextSwitchTo(d.context);
    d.group_plans = list_copy(group_plans);
    d.group_sources = NIL;
    foreach (cell, group_sources)
        d.group_sources = lappend(d.group_sources, copy_of(*static_cast<GroupSource*>(lfirst(cell))));
    d.problems = NIL;
    d.unsafe = verdict.unsafe != nullptr ? pstrdup(verdict.unsafe) : nullptr;
    d.named = list_copy(plan_relations(*plan));
    foreach (cell, verdict.problems)
        d.problems =
            lappend(d.problems, const_cast<Problem*>(keep(*static_cast<Problem*>(lfirst(cell)), d.context)));
    d.relation_count = 0;
    d.relations = static_cast<Oid*>(palloc(sizeof(Oid) * list_length(relations)));
    foreach (cell, relations)
        d.relations[d.relation_count++] = lfirst_oid(cell);
    MemoryContextSwitchTo(caller);
}

// The verdict if the version of the extension's SQL is not the library's. Then the library relies on two
// things only: the columns of rolecall.projections, and that an upgrade touches them. Watches may have
// another meaning there, so nothing is cached.
Verdict other_sql(const Plan& plan, const Execution& execution, const List* relations) {
    static bool warned = false;
    if (!warned)
        pg::warn_of_other_sql("Documents are not cached, but read from their views.");
    warned = true;
    List* problems = NIL;
    add_problem(&problems, {.relation = InvalidOid,
                            .lasting = true,
                            .text = "the extension's SQL and its library differ in version",
                            .repair = "ALTER EXTENSION rolecall UPDATE"});
    return {.problems = problems, .unsafe = unsafe_part(plan.owner, execution, relations)};
}

// The order matters. A transaction that stamps a floor from here on changes the floor's version. A
// transaction that stamped it before has ended if definitions are quiet, and then its invalidation messages
// have arrived.
void begin_verification(Description& now, std::uint64_t database_version) {
    if (!cache::preloaded())
        return;
    now.floors = database_version + core::version_of(cache::shared.floors.of(cache::projection_hash(now.id)));
    now.quiet = cache::definitions_are_quiet();
    AcceptInvalidationMessages();
}

// Returns false if there is no such projection. Call it inside SPI, as the extension's owner, under a fresh
// snapshot.
bool read_definition(Definition& d) {
    Description now{};
    now.name = d.name;
    const std::uint64_t database_version = cache::version_of_database_floor();
    if (!read_projection(now))
        return false;
    begin_verification(now, database_version);
    const bool current = pg::sql_is_current();
    if (get_rel_relkind(now.view) == '\0' && current) {
        now.view = view_by_name(now.id);
        now.view_made_anew = true;
    }
    if (get_rel_relkind(now.view) == '\0')
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("the view of projection \"%s\" does not exist", NameStr(d.name))));
    if (current) {
        read_watches(now);
        read_references(now);
        add_foreign_keys(now);
    }
    check_columns(now);

    const pg::SecurityContext before = pg::act_as_pinned(owner_of(now.view));
    const Oid key_type = key_type_of(now.key_kind);
    Plan* plan = make_plan(now.name, now.view, load_query(now), {&key_type, 1});
    const Execution execution = examine(plan_queries(*plan), has_window(now.view));
    pg::restore_security_context(before);

    List* relations = plan_relations(*plan);
    refuse_security_invokers(relations);
    require_directory(relations);
    Verdict verdict = current ? check_projection(now, *plan, execution, &relations)
                              : other_sql(*plan, execution, relations);
    const bool has_text = runs_text(execution.functions);
    if (has_text && current)
        check_text(now, execution, verdict);
    const bool detaching = !testing::fault(testing::Fault::plan_kept_while_detaching) &&
                           add_detaching(&verdict.problems, &relations);
    if (detaching)
        plan_each_time(*plan);
    // Unless all watches are in place, nothing is cached, and the columns may not even exist.
    List* group_sources = verdict.problems == NIL ? group_sources_of(now) : NIL;
    List* group_plans = make_group_plans(now.name, now.key_kind, group_sources);
    for (const char* own : {"projections", "watches", "watch_references"})
        if (current || strcmp(own, "projections") == 0)
            relations = list_append_unique_oid(relations, pg::extension_relation(own));
    adopt(d, now, plan, group_sources, group_plans, verdict, relations);
    d.detaching = detaching;
    d.runs_text = has_text;
    d.differs_by_calls = false;
    d.differs_here = has_text && has_temporary_schema();
    return true;
}

bool read_as_owner(Definition& d) {
    const pg::SecurityContext before = pg::act_as_owner();
    // The definition is kept after this transaction, whose own snapshot may be old.
    PushActiveSnapshot(GetCatalogSnapshot(pg::extension_relation("projections")));
    SPI_connect();
    const bool found = read_definition(d);
    SPI_finish();
    PopActiveSnapshot();
    pg::restore_security_context(before);
    return found;
}

Definition* find(const char* name) {
    for (Definition* d = definitions; d != nullptr; d = d->next)
        if (strcmp(NameStr(d->name), name) == 0)
            return d;
    return nullptr;
}

Definition* create(const char* name) {
    auto* d = static_cast<Definition*>(MemoryContextAllocZero(TopMemoryContext, sizeof(Definition)));
    d->context = AllocSetContextCreate(TopMemoryContext, "rolecall projection", ALLOCSET_SMALL_SIZES);
    d->usable_at = never;
    namestrcpy(&d->name, name);
    d->next = definitions;
    definitions = d;
    return d;
}

// A definition that was never read is removed, because otherwise definitions of misspelt names would
// accumulate.
[[noreturn]] void forget_and_complain(Definition& d) {
    const NameData name = d.name;
    if (d.id == 0) {
        Definition** link = &definitions;
        while (*link != &d)
            link = &(*link)->next;
        *link = d.next;
        MemoryContextDelete(d.context);
        pfree(&d);
    }
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("projection \"%s\" does not exist", NameStr(name)),
             errhint("The table rolecall.projections lists them.")));
    pg_unreachable();
}

}  // namespace

void definition_init() {
    CacheRegisterRelcacheCallback(on_relation_change, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, on_schema_change, 0);
    settings::on_directory_is_local = [] { on_relation_change(Datum{0}, InvalidOid); };
    plan_init();
}

void definitions_expire() {
    ++changes;  // also for a definition that is being read
    for (Definition* d = definitions; d != nullptr; d = d->next)
        expire(*d);
}

namespace {

bool is_fresh(const Definition& d) {
    return d.fresh && (!cache::preloaded() || d.read_at == cache::floor_versions(d.floor) ||
                       testing::fault(Fault::floors_not_compared));
}

bool is_usable(const Definition& d) {
    if (d.differs_here)
        return false;
    return d.problems == NIL || d.ttl > 0 || testing::fault(Fault::watches_not_verified);
}

}  // namespace

bool definition_refresh(Definition& d, bool to_install) {
    for (int attempt = 0; attempt < most_attempts; ++attempt) {
        if (is_fresh(d) && (d.quiet || !to_install))
            return true;
        const std::uint64_t before = changes;
        if (!read_as_owner(d))
            forget_and_complain(d);
        // The relations behind the view were not known before, so any change during the read means that the
        // definition must be read again.
        d.fresh = changes == before;
        d.usable_at = d.fresh && is_usable(d) ? d.read_at : never;
        if (to_install && !d.quiet)
            return false;
    }
    return is_fresh(d) && (d.quiet || !to_install);
}

bool definition_becomes_usable(Definition& d) {
    if (is_fresh(d))
        return false;
    return definition_refresh_same_key(d) && d.usable_at != never;
}

void complain_of_key_type(const Definition& d, Oid given) {
    ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                    errmsg("projection \"%s\" has keys of type %s, not %s", NameStr(d.name),
                           format_type_be(key_type_of(d.key_kind)), format_type_be(given)),
                    errhint("Cast the key, or pass it as text.")));
    pg_unreachable();
}

bool definition_refresh_same_key(Definition& d, bool to_install) {
    const KeyKind kind = d.key_kind;
    const bool fresh = definition_refresh(d, to_install);
    if (d.key_kind != kind)
        complain_of_key_type(d, key_type_of(kind));
    return fresh;
}

Definition& definition_seen(const char* name) {
    Definition* d = find(name);
    if (d == nullptr)
        d = create(name);
    if (d->id == 0)
        definition_refresh(*d);
    return *d;
}

Definition* detail::me = nullptr;

Definition& me_definition_first_seen() {
    detail::me = &definition_seen("me");
    return *detail::me;
}

}  // namespace rolecall::projection
