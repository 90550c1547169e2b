#include "projection/definition.h"

#include "pg/acting.h"

extern "C" {
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "parser/parse_func.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"
}

namespace rolecall::projection {

namespace {

constexpr int most_attempts = 3;

Definition* definitions = nullptr;
Definition* me_definition = nullptr;
std::uint64_t changes = 0;  // relation invalidations received
List* retired_plans = NIL;  // freed at the end of the transaction: one may be running further up the stack

void on_relation_change(Datum, Oid relation) {
    ++changes;
    for (Definition* d = definitions; d != nullptr; d = d->next) {
        const Oid* end = d->relations + d->relation_count;
        if (!OidIsValid(relation) || std::find(const_cast<const Oid*>(d->relations), end, relation) != end)
            d->fresh = false;
    }
}

void on_transaction_end(XactEvent event, void*) {
    if (retired_plans == NIL ||
        (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
        return;
    ListCell* cell = nullptr;
    foreach (cell, retired_plans)
        SPI_freeplan(static_cast<SPIPlanPtr>(lfirst(cell)));
    list_free(retired_plans);
    retired_plans = NIL;
}

// ---- The row
// -----------------------------------------------------------------------------------------------

struct Row {
    std::uint64_t id;
    Oid view;
    NameData key_column;
    NameData doc_column;
};

struct Watch {
    Oid relation;
    bool keyed;
    NameData key_column;
};

Datum column(int row, int number, bool* is_null) {
    return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, is_null);
}

void select(const char* sql, const char* name) {
    NameData argument;
    namestrcpy(&argument, name);
    Oid types[] = {NAMEOID};
    Datum values[] = {NameGetDatum(&argument)};
    if (SPI_execute_with_args(sql, 1, types, values, nullptr, true, 0) != SPI_OK_SELECT)
        elog(ERROR, "could not read the projections");
}

bool read_row(const char* name, Row& row) {
    select("SELECT id, view, key_column, doc_column FROM rolecall.projections WHERE name = $1", name);
    if (SPI_processed == 0)
        return false;
    bool is_null = false;
    row.id = static_cast<std::uint64_t>(DatumGetInt64(column(0, 1, &is_null)));
    row.view = DatumGetObjectId(column(0, 2, &is_null));
    row.key_column = *DatumGetName(column(0, 3, &is_null));
    row.doc_column = *DatumGetName(column(0, 4, &is_null));
    return true;
}

// In the current memory context; returns how many.
int read_watches(const char* name, Watch** watches) {
    MemoryContext caller = CurrentMemoryContext;
    select("SELECT relation, key_column FROM rolecall.watches WHERE projection = $1", name);
    const int count = static_cast<int>(SPI_processed);
    *watches = static_cast<Watch*>(MemoryContextAllocZero(caller, sizeof(Watch) * std::max(count, 1)));
    for (int i = 0; i < count; ++i) {
        bool is_null = false;
        (*watches)[i].relation = DatumGetObjectId(column(i, 1, &is_null));
        const Datum key = column(i, 2, &is_null);
        (*watches)[i].keyed = !is_null;
        if (!is_null)
            (*watches)[i].key_column = *DatumGetName(key);
    }
    return count;
}

// ---- The load query
// ----------------------------------------------------------------------------------------

const char* load_query(const Row& row) {
    const char* window = "NULL::timestamptz, NULL::timestamptz";
    if (get_attnum(row.view, "valid_from") != InvalidAttrNumber &&
        get_attnum(row.view, "valid_until") != InvalidAttrNumber)
        window = "v.valid_from, v.valid_until";
    return psprintf(
        "SELECT v.%s, %s FROM %s v WHERE v.%s = $1", quote_identifier(NameStr(row.doc_column)), window,
        quote_qualified_identifier(get_namespace_name(get_rel_namespace(row.view)), get_rel_name(row.view)),
        quote_identifier(NameStr(row.key_column)));
}

Oid column_type(const Row& row, const NameData& name) {
    const AttrNumber number = get_attnum(row.view, NameStr(name));
    if (number == InvalidAttrNumber)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("column \"%s\" of the projection's view \"%s\" does not exist", NameStr(name),
                               get_rel_name(row.view))));
    return get_atttype(row.view, number);
}

SPIPlanPtr prepare(const Row& row, KeyKind& kind) {
    const Oid key_type = column_type(row, row.key_column);
    if (!key_kind_of(key_type, kind))
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("type %s cannot be the key of a projection", format_type_be(key_type)),
                        errhint("Use bigint, integer, uuid, text or varchar.")));
    if (column_type(row, row.doc_column) != JSONBOID)
        ereport(ERROR,
                (errcode(ERRCODE_DATATYPE_MISMATCH),
                 errmsg("column \"%s\" of a projection must be of type jsonb", NameStr(row.doc_column))));
    Oid types[] = {key_type_of(kind)};
    SPIPlanPtr plan = SPI_prepare(load_query(row), 1, types);
    if (plan == nullptr || SPI_keepplan(plan) != 0)
        elog(ERROR, "could not plan a projection: %s", SPI_result_code_string(SPI_result));
    return plan;
}

List* plan_relations(SPIPlanPtr plan) {
    List* relations = NIL;
    ListCell* cell = nullptr;
    foreach (cell, SPI_plan_get_plan_sources(plan))
        relations =
            list_concat_unique_oid(relations, static_cast<CachedPlanSource*>(lfirst(cell))->relationOids);
    return relations;
}

// ---- The watches
// -------------------------------------------------------------------------------------------

struct Check {
    const Row& row;
    KeyKind kind;
    char id[24];  // as the triggers' first argument has it
    Oid row_function;
    Oid truncate_function;
    List* watched;  // relations that a watch covers
};

bool fires(const Trigger& trigger, Oid function, const char* id) {
    return trigger.tgfoid == function && trigger.tgenabled == TRIGGER_FIRES_ALWAYS &&
           trigger.tgqual == nullptr && trigger.tgnattr == 0 && trigger.tgnargs >= 1 &&
           strcmp(trigger.tgargs[0], id) == 0;
}

const char* check_triggers(Relation relation, const Watch& watch, const Check& check) {
    constexpr int row_events =
        TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_UPDATE;
    bool row_found = false;
    bool truncate_found = false;
    const TriggerDesc* triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& t = triggers->triggers[i];
        if (fires(t, check.row_function, check.id) && t.tgtype == row_events) {
            const char* column = t.tgnargs >= 2 ? t.tgargs[1] : nullptr;
            row_found |= watch.keyed ? column != nullptr && strcmp(column, NameStr(watch.key_column)) == 0
                                     : column == nullptr;
        }
        truncate_found |= fires(t, check.truncate_function, check.id) && t.tgtype == TRIGGER_TYPE_TRUNCATE;
    }
    if (!row_found || !truncate_found)
        return psprintf("a watch on \"%s\" is not in place", RelationGetRelationName(relation));
    if (watch.keyed && !is_key_column(RelationGetRelid(relation), NameStr(watch.key_column), check.kind))
        return psprintf(R"(column "%s" of "%s" does not fit the key)", NameStr(watch.key_column),
                        RelationGetRelationName(relation));
    return nullptr;
}

// Adds a watched relation and its children to check.watched; says what is wrong with them.
const char* check_watch(const Watch& watch, Check& check) {
    if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(watch.relation)))
        return "a watched relation was dropped";
    const char* problem = nullptr;
    ListCell* cell = nullptr;
    foreach (cell, find_all_inheritors(watch.relation, AccessShareLock, nullptr)) {
        Relation relation = table_open(lfirst_oid(cell), AccessShareLock);
        if (problem == nullptr && relation->rd_rel->relkind == RELKIND_RELATION)
            problem = check_triggers(relation, watch, check);
        check.watched = list_append_unique_oid(check.watched, RelationGetRelid(relation));
        table_close(relation, NoLock);
    }
    return problem;
}

const char* check_relation(Oid oid, const Check& check) {
    const char kind = get_rel_relkind(oid);
    if (kind == RELKIND_VIEW)
        return nullptr;
    if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
        return psprintf("\"%s\" is not an ordinary table", get_rel_name(oid));
    if (get_rel_persistence(oid) == RELPERSISTENCE_TEMP)
        return psprintf("\"%s\" is a temporary table", get_rel_name(oid));
    if (!list_member_oid(check.watched, oid))
        return psprintf("\"%s\" is not watched", get_rel_name(oid));
    return nullptr;
}

// Says why documents must not be cached, or returns nullptr; adds all relations concerned to `relations`.
const char* check_watches(Check& check, const Watch* watches, int count, List** relations) {
    const char* problem = nullptr;
    for (int i = 0; i < count; ++i) {
        const char* found = check_watch(watches[i], check);
        problem = problem != nullptr ? problem : found;
    }
    List* behind = NIL;
    ListCell* cell = nullptr;
    foreach (cell, *relations) {
        const Oid oid = lfirst_oid(cell);
        if (get_rel_relkind(oid) == RELKIND_VIEW)
            behind = list_append_unique_oid(behind, oid);
        else
            behind = list_concat_unique_oid(behind, find_all_inheritors(oid, AccessShareLock, nullptr));
    }
    foreach (cell, behind) {
        const char* found = check_relation(lfirst_oid(cell), check);
        problem = problem != nullptr ? problem : found;
    }
    *relations = list_concat_unique_oid(behind, check.watched);
    return problem;
}

Oid watch_function(const char* name) {
    List* qualified = list_make2(makeString(pstrdup("rolecall")), makeString(pstrdup(name)));
    return LookupFuncName(qualified, 0, nullptr, false);
}

// ---- Reading it all
// ----------------------------------------------------------------------------------------

void retire_plan(SPIPlanPtr plan) {
    MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
    retired_plans = lappend(retired_plans, plan);
    MemoryContextSwitchTo(caller);
}

// Runs inside SPI, as the extension's owner, under a fresh snapshot.
bool read_definition(Definition& d) {
    Row row{};
    if (!read_row(NameStr(d.name), row))
        return false;
    Watch* watches = nullptr;
    const int watch_count = read_watches(NameStr(d.name), &watches);
    if (get_rel_relkind(row.view) == '\0')
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
                        errmsg("the view of projection \"%s\" does not exist", NameStr(d.name))));

    HeapTuple view = SearchSysCache1(RELOID, ObjectIdGetDatum(row.view));
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(view))->relowner;
    ReleaseSysCache(view);

    KeyKind kind{};
    const pg::Acting acting = pg::act_as_pinned(owner);
    SPIPlanPtr plan = prepare(row, kind);
    pg::stop_acting(acting);

    Check check{row, kind, {}, watch_function("watch_row"), watch_function("watch_truncate"), NIL};
    snprintf(check.id, sizeof check.id, INT64_FORMAT, static_cast<int64>(row.id));
    List* relations = plan_relations(plan);
    const char* problem = check_watches(check, watches, watch_count, &relations);
    if (problem == nullptr && !is_key_column(row.view, NameStr(row.key_column), kind))
        problem = "the view's key column does not fit a key";
    relations = list_append_unique_oid(relations, pg::extension_relation("projections"));
    relations = list_append_unique_oid(relations, pg::extension_relation("watches"));

    if (d.plan != nullptr)
        retire_plan(d.plan);
    d.relation_count = 0;
    MemoryContextReset(d.context);
    d.plan = plan;
    d.id = row.id;
    d.view = row.view;
    d.owner = owner;
    d.key_kind = kind;
    d.unwatched = problem != nullptr ? MemoryContextStrdup(d.context, problem) : nullptr;
    d.relations = static_cast<Oid*>(MemoryContextAlloc(d.context, sizeof(Oid) * list_length(relations)));
    ListCell* cell = nullptr;
    foreach (cell, relations)
        d.relations[d.relation_count++] = lfirst_oid(cell);
    return true;
}

bool read_as_owner(Definition& d) {
    const pg::Acting acting = pg::act_as_owner();
    // A definition is kept beyond this transaction, whose own snapshot may be old.
    PushActiveSnapshot(GetCatalogSnapshot(pg::extension_relation("projections")));
    SPI_connect();
    const bool found = read_definition(d);
    SPI_finish();
    PopActiveSnapshot();
    pg::stop_acting(acting);
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
    namestrcpy(&d->name, name);
    d->next = definitions;
    definitions = d;
    return d;
}

// A definition that was never read is not kept, or misspelt names would pile up.
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
    RegisterXactCallback(on_transaction_end, nullptr);
}

bool definition_refresh(Definition& d) {
    for (int attempt = 0; !d.fresh && attempt < most_attempts; ++attempt) {
        const std::uint64_t before = changes;
        if (!read_as_owner(d))
            forget_and_complain(d);
        // Which relations matter was not known before: whatever changed meanwhile means reading again.
        d.fresh = changes == before;
    }
    return d.fresh;
}

Definition& definition_seen(const char* name) {
    Definition* d = find(name);
    if (d == nullptr)
        d = create(name);
    if (d->id == 0)
        definition_refresh(*d);
    return *d;
}

Definition& me_definition_seen() {
    if (me_definition == nullptr)
        me_definition = &definition_seen("me");
    return *me_definition;
}

bool key_kind_of(Oid type, KeyKind& kind) {
    switch (type) {
        case INT2OID:
        case INT4OID:
        case INT8OID:
            kind = KeyKind::integer;
            return true;
        case UUIDOID:
            kind = KeyKind::uuid;
            return true;
        case TEXTOID:
        case VARCHAROID:
            kind = KeyKind::text;
            return true;
        default:
            return false;
    }
}

Oid key_type_of(KeyKind kind) {
    switch (kind) {
        case KeyKind::integer:
            return INT8OID;
        case KeyKind::uuid:
            return UUIDOID;
        case KeyKind::text:
            break;
    }
    return TEXTOID;
}

bool is_key_column(Oid relation, const char* column, KeyKind kind) {
    HeapTuple tuple = SearchSysCacheAttName(relation, column);
    if (!HeapTupleIsValid(tuple))
        return false;
    const auto* attribute = reinterpret_cast<Form_pg_attribute>(GETSTRUCT(tuple));
    const Oid type = attribute->atttypid;
    const Oid collation = attribute->attcollation;
    const bool stored =
        attribute->attgenerated == '\0' || attribute->attgenerated == ATTRIBUTE_GENERATED_STORED;
    ReleaseSysCache(tuple);
    KeyKind actual{};
    return stored && key_kind_of(type, actual) && actual == kind &&
           (!OidIsValid(collation) || get_collation_isdeterministic(collation));
}

std::string_view canonical_key(KeyKind kind, Datum key, KeyBuffer& buffer) {
    switch (kind) {
        case KeyKind::integer: {
            const int64 value = DatumGetInt64(key);
            memcpy(buffer.bytes, &value, sizeof value);
            return {buffer.bytes, sizeof value};
        }
        case KeyKind::uuid:
            memcpy(buffer.bytes, DatumGetUUIDP(key)->data, UUID_LEN);
            return {buffer.bytes, UUID_LEN};
        case KeyKind::text:
            break;
    }
    const text* value = DatumGetTextPP(key);
    return {VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)};
}

}  // namespace rolecall::projection
