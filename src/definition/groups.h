// Which groups documents belong to: what the rows of their keys refer to. Read from those rows, not from the
// view: a row that does not find its group yet belongs to it all the same. No policy hides rows here: it may
// ask the group.
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
    std::uint64_t lookup;  // its watch's id
};

/// How documents come to belong to groups: by columns of a table that holds their keys.
struct GroupSource {
    Oid relation;
    NameData key_column;
    AttrNumber key_number;
    std::span<GroupColumn> columns;
};

/// The hash of the group of a lookup that a value names, of this type and kind: by its text, as v::text has
/// it.
std::uint64_t group_hash(std::uint64_t lookup, KeyKind kind, Oid type, Datum value);

/// Plans that say what the rows of keys refer to: $1 is an array of keys; rows (lookup, key, value as text).
/// One for all of the sources (of GroupSource *) whose relations have one owner: they run as the owner, who
/// may have put functions into indexes. Call it inside SPI.
List* make_group_plans(const NameData& projection, KeyKind kind, List* sources);

/// The array that these plans want, in the current memory context.
Datum array_of_keys(KeyKind kind, Datum* keys, int count);

/// Calls `each(key, stamp)` for each group that one of the keys belongs to, perhaps more than once: the key
/// as canonical_key() wants it, the stamp of the group. Call it inside SPI.
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
