#include "definition/groups.h"

extern "C" {
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
}

namespace rolecall::projection {

namespace {

// Returns the condition that a row of the source belongs to one of the keys. The comparison is made as
// char(n) if either side is of that type, so that trailing blanks do not count.
const char* condition(const GroupSource& source, KeyKind kind) {
    const char* key = quote_identifier(NameStr(source.key_column));
    KeyKind column{};
    if (!key_kind_of_column(source.relation, NameStr(source.key_column), column) || column == kind)
        return psprintf("r.%s = ANY ($1)", key);
    return column == KeyKind::bpchar ? psprintf("r.%s = ANY ($1::bpchar[])", key)
                                     : psprintf("r.%s::bpchar = ANY ($1)", key);
}

void append_source(StringInfo query, const GroupSource& source, KeyKind kind) {
    for (const GroupColumn& column : source.columns)
        appendStringInfo(query, "%sSELECT int8 '" INT64_FORMAT "', r.%s%s, r.%s::text FROM %s r WHERE %s",
                         query->len > 0 ? " UNION ALL " : "", static_cast<int64>(column.lookup),
                         quote_identifier(NameStr(source.key_column)), is_text(kind) ? "::text" : "",
                         quote_identifier(NameStr(column.name)), qualified_name(source.relation),
                         condition(source, kind));
}

}  // namespace

std::uint64_t group_hash(std::uint64_t lookup, KeyKind kind, Oid type, Datum value) {
    KeyBuffer buffer;
    char number[MAXINT8LEN + 1];
    switch (kind) {
        case KeyKind::integer: {
            const int length = pg_lltoa(DatumGetInt64(widened_key(type, value)), number);
            return cache::key_hash(lookup, {number, static_cast<std::size_t>(length)});
        }
        case KeyKind::uuid:
            return cache::key_hash(lookup, DatumGetCString(DirectFunctionCall1(uuid_out, value)));
        case KeyKind::text:
        case KeyKind::bpchar:
            break;
    }
    return key_hash(lookup, kind, canonical_key(kind, value, buffer));
}

List* make_group_plans(const NameData& projection, KeyKind kind, List* sources) {
    const Oid type = get_array_type(key_type_of(kind));
    List* owners = NIL;
    ListCell* cell = nullptr;
    foreach (cell, sources)
        owners = list_append_unique_oid(owners, owner_of(static_cast<GroupSource*>(lfirst(cell))->relation));

    List* plans = NIL;
    ListCell* of_owner = nullptr;
    foreach (of_owner, owners) {
        const Oid owner = lfirst_oid(of_owner);
        StringInfoData query;
        initStringInfo(&query);
        List* relations = NIL;
        foreach (cell, sources) {
            const auto* source = static_cast<GroupSource*>(lfirst(cell));
            if (owner_of(source->relation) != owner)
                continue;
            append_source(&query, *source, kind);
            relations = list_append_unique_oid(relations, source->relation);
        }
        const pg::SecurityContext before = pg::act_as_table_owner(owner);
        plans = lappend(
            plans, make_plan(projection, owner, relations, query.data, {&type, 1}, CURSOR_OPT_GENERIC_PLAN));
        pg::restore_security_context(before);
    }
    return plans;
}

Datum array_of_keys(KeyKind kind, Datum* keys, int count) {
    const Oid type = key_type_of(kind);
    int16 length = 0;
    bool by_value = false;
    char align = 0;
    get_typlenbyvalalign(type, &length, &by_value, &align);
    return PointerGetDatum(construct_array(keys, count, type, length, by_value, align));
}

}  // namespace rolecall::projection
