// Finds the groups that documents belong to: those which the rows with their keys refer to. Groups are read
// from these rows and not from the view, because a row that does not find its group yet belongs to the group
// all the same. Row security does not hide rows here, because a policy may read the group.
#pragma once

#include "pg/pg.h"

#include "cache/shared.h"
#include "definition/key_kinds.h"
#include "definition/plan.h"
#include "pg/security_context.h"

extern "C" {
#include "utils/builtins.h"
}

namespace rolecall::projection {

/// A column by which rows refer to a lookup.
struct GroupColumn {
    NameData name;
    AttrNumber number;
    std::uint64_t lookup;  // id of its watch
};

/// The way in which documents belong to groups: by columns of a table that holds their keys.
struct GroupSource {
    Oid relation;
    NameData key_column;
    AttrNumber key_number;
    std::span<GroupColumn> columns;
};

/// Returns the hash of the group of a lookup that a value of this type and kind names. The hash is made from
/// the value's text, as v::text returns it.
std::uint64_t group_hash(std::uint64_t lookup, KeyKind kind, Oid type, Datum value);

/// Returns plans of queries that find what the rows with given keys refer to. $1 is an array of keys; the
/// result columns are lookup, key, and value as text. One plan serves all `sources` (of GroupSource *) whose
/// relations have the same owner, and must run as this owner, because the owner may have put functions into
/// indexes. Call it inside SPI.
List* make_group_plans(const NameData& projection, KeyKind kind, List* sources);

/// Returns the array that these plans take, in the current memory context.
Datum array_of_keys(KeyKind kind, Datum* keys, int count);

/// Calls `each(key, stamp)` for each group that one of the keys belongs to, perhaps more than once. `key` is
/// in the form that canonical_key() takes; `stamp` is the index of the group's stamp. Call it inside SPI.
template <typename Each>
void each_group(const List* plans, Datum keys, Each&& each) {
    MemoryContext caller = CurrentMemoryContext;
    ListCell* cell = nullptr;
    foreach (cell, plans) {
        const auto* plan = static_cast<const Plan*>(lfirst(cell));
        const pg::SecurityContext before = pg::act_as_table_owner(plan->owner);
        run_plan(*plan, &keys, nullptr, true, 0);
        MemoryContextSwitchTo(caller);
        SPITupleTable* rows = SPI_tuptable;
        const Oid type = SPI_gettypeid(rows->tupdesc, 2);
        for (std::uint64_t i = 0; i < rows->numvals; ++i) {
            bool is_null = false;
            const Datum lookup = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null);
            const Datum key = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null);
            const Datum value = SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &is_null);
            if (is_null)
                continue;
            const text* bytes = DatumGetTextPP(value);
            const std::uint64_t hash =
                key_hash(static_cast<std::uint64_t>(DatumGetInt64(lookup)), KeyKind::text,
                         {VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)});
            each(widened_key(type, key), cache::shared.stamps.index(hash));
        }
        SPI_freetuptable(rows);
        pg::restore_security_context(before);
    }
}

}  // namespace rolecall::projection
