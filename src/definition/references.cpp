#include "definition/references.h"

#include "definition/plan.h"

extern "C" {
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
}

namespace rolecall::projection {

namespace {

bool is_keyed(const Watch& watch) { return !watch.lookup && watch.keyed; }

bool is_watched_by_key(const Description& projection, Oid relation) {
    return std::ranges::any_of(projection.watches,
                               [=](const Watch& w) { return is_keyed(w) && w.relation == relation; });
}

struct Collected {
    Description& projection;
    List* found;  // of Reference *
};

bool is_known(const Collected& all, const Reference& one) {
    const auto is_same = [&](const Reference& other) {
        return other.watch == one.watch && other.relation == one.relation &&
               namestrcmp(const_cast<Name>(&other.column), NameStr(one.column)) == 0;
    };
    if (std::ranges::any_of(all.projection.references, is_same))
        return true;
    const ListCell* cell = nullptr;
    foreach (cell, all.found)
        if (is_same(*static_cast<Reference*>(lfirst(cell))))
            return true;
    return false;
}

// The column is recorded as one of the watched table if that has a column of this name, and otherwise as one
// of the partition or child.
void add(Collected& all, int lookup, Oid keyed, Oid member, const char* column) {
    const AttrNumber number = get_attnum(keyed, column);
    auto* reference = static_cast<Reference*>(palloc0(sizeof(Reference)));
    reference->watch = lookup;
    reference->relation = number != InvalidAttrNumber ? keyed : member;
    reference->is_foreign_key = true;
    namestrcpy(&reference->column, column);
    reference->number = number != InvalidAttrNumber ? number : get_attnum(member, column);
    if (!is_known(all, *reference))
        all.found = lappend(all.found, reference);
}

// Returns whether `referenced` is the lookup's table, or a partition or child of it.
bool is_of_lookup(const Watch& lookup, Oid referenced) {
    return relation_exists(lookup.relation) &&
           list_member_oid(find_all_inheritors(lookup.relation, AccessShareLock, nullptr), referenced);
}

void add_of_key(Collected& all, const ForeignKeyCacheInfo& key, Oid keyed) {
    for (std::size_t w = 0; w < all.projection.watches.size(); ++w) {
        const Watch& lookup = all.projection.watches[w];
        if (!lookup.lookup || !lookup.keyed || !is_of_lookup(lookup, key.confrelid))
            continue;
        for (int i = 0; i < key.nkeys; ++i)
            if (get_attnum(key.confrelid, NameStr(lookup.key_column)) == key.confkey[i])
                add(all, static_cast<int>(w), keyed, key.conrelid,
                    get_attname(key.conrelid, key.conkey[i], false));
    }
}

void add_of_member(Collected& all, Oid keyed, Oid member) {
    Relation relation = table_open(member, AccessShareLock);
    const ListCell* cell = nullptr;
    foreach (cell, RelationGetFKeyList(relation))
        add_of_key(all, *static_cast<ForeignKeyCacheInfo*>(lfirst(cell)), keyed);
    table_close(relation, NoLock);
}

}  // namespace

void add_foreign_keys(Description& projection) {
    if (std::ranges::none_of(projection.watches, [](const Watch& w) { return w.lookup && w.keyed; }))
        return;
    Collected all{.projection = projection, .found = NIL};
    for (const Watch& watch : projection.watches) {
        if (!is_keyed(watch) || !relation_exists(watch.relation))
            continue;
        const ListCell* cell = nullptr;
        foreach (cell, find_all_inheritors(watch.relation, AccessShareLock, nullptr))
            if (lfirst_oid(cell) == watch.relation || !is_watched_by_key(projection, lfirst_oid(cell)))
                add_of_member(all, watch.relation, lfirst_oid(cell));
    }
    const std::size_t before = projection.references.size();
    auto* together = static_cast<Reference*>(
        palloc(sizeof(Reference) * (before + static_cast<std::size_t>(list_length(all.found)) + 1)));
    Reference* end = std::copy(projection.references.begin(), projection.references.end(), together);
    const ListCell* cell = nullptr;
    foreach (cell, all.found)
        *end++ = *static_cast<Reference*>(lfirst(cell));
    projection.references = {together, static_cast<std::size_t>(end - together)};
}

}  // namespace rolecall::projection
