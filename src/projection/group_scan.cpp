#include "projection/group_scan.h"

#include "definition/groups.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_index.h"
#include "executor/spi.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"
}

namespace rolecall::projection {

namespace {

// Finds a column by its number, because it may have been renamed.
const FormData_pg_attribute* find_column(TupleDesc columns, AttrNumber number) {
    if (number < 1 || number > columns->natts)
        return nullptr;
    const FormData_pg_attribute* column = TupleDescAttr(columns, number - 1);
    return column->attisdropped ? nullptr : column;
}

// Returns whether the index has all rows, sorted by `column` first with the type's default comparison and the
// column's collation, and is usable in this transaction. The planner makes the last check for indexes that
// were built while rows changed.
bool finds_all_by(Relation index, const FormData_pg_attribute& column, Oid family) {
    const FormData_pg_index& form = *index->rd_index;
    if (index->rd_rel->relam != BTREE_AM_OID || !form.indisvalid || form.indkey.values[0] != column.attnum ||
        index->rd_opfamily[0] != family || index->rd_indcollation[0] != column.attcollation ||
        !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr))
        return false;
    return !form.indcheckxmin ||
           TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin);
}

Relation open_index(Relation table, const FormData_pg_attribute& column, Oid family) {
    ListCell* cell = nullptr;
    foreach (cell, RelationGetIndexList(table)) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        if (finds_all_by(index, column, family))
            return index;
        index_close(index, AccessShareLock);
    }
    return nullptr;
}

// A column that names a group, at its current place in the table's rows.
struct GroupMember {
    std::uint64_t lookup;
    AttrNumber number;
    Oid type;
    KeyKind kind;
};

bool find_member(TupleDesc columns, const GroupColumn& wanted, GroupMember& member) {
    const FormData_pg_attribute* column = find_column(columns, wanted.number);
    if (column == nullptr || !key_kind_of(column->atttypid, member.kind))
        return false;
    member.lookup = wanted.lookup;
    member.number = column->attnum;
    member.type = column->atttypid;
    return true;
}

void add_rows(Relation table, Relation index, ScanKeyData& wanted, std::span<const GroupMember> members,
              GroupStamps& groups) {
    IndexScanDesc scan = pg::begin_index_scan(table, index, GetActiveSnapshot(), 1);
    index_rescan(scan, &wanted, 1, nullptr, 0);
    TupleTableSlot* row = table_slot_create(table, nullptr);
    while (index_getnext_slot(scan, ForwardScanDirection, row)) {
        CHECK_FOR_INTERRUPTS();
        for (const GroupMember& member : members) {
            bool is_null = false;
            const Datum value = slot_getattr(row, member.number, &is_null);
            if (!is_null)
                groups.add(
                    cache::shared.stamps.index(group_hash(member.lookup, member.kind, member.type, value)));
        }
    }
    ExecDropSingleTupleTableSlot(row);
    index_endscan(scan);
}

bool scan_table(Relation table, const GroupSource& source, KeyKind kind, Datum key, GroupStamps& groups) {
    TupleDesc columns = RelationGetDescr(table);
    const FormData_pg_attribute* column = find_column(columns, source.key_number);
    KeyKind column_kind{};
    if (column == nullptr || !key_kind_of(column->atttypid, column_kind) || column_kind != kind)
        return false;
    auto* members = static_cast<GroupMember*>(palloc(sizeof(GroupMember) * source.columns.size()));
    for (std::size_t i = 0; i < source.columns.size(); ++i)
        if (!find_member(columns, source.columns[i], members[i]))
            return false;

    const Oid family = lookup_type_cache(column->atttypid, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
    Relation index = open_index(table, *column, family);
    if (index == nullptr)
        return false;
    const Oid type = key_type_of(kind);
    const Oid equal = get_opfamily_member(family, index->rd_opcintype[0], type, BTEqualStrategyNumber);
    ScanKeyData wanted;
    ScanKeyEntryInitialize(&wanted, 0, 1, BTEqualStrategyNumber, type, column->attcollation,
                           get_opcode(equal), key);
    add_rows(table, index, wanted, {members, source.columns.size()}, groups);
    index_close(index, NoLock);
    return true;
}

// Locks are kept until the end of the transaction, as those of queries are.
bool scan(const GroupSource& source, KeyKind kind, Datum key, GroupStamps& groups) {
    Relation table = try_table_open(source.relation, AccessShareLock);
    if (table == nullptr)
        return false;
    const bool done = table->rd_rel->relkind == RELKIND_RELATION && !table->rd_rel->relhassubclass &&
                      scan_table(table, source, kind, key, groups);
    table_close(table, NoLock);
    return done;
}

}  // namespace

void GroupStamps::add(std::uint32_t stamp) {
    if (count == room)
        all = static_cast<std::uint32_t*>(repalloc_huge(all, sizeof(std::uint32_t) * (room *= 2)));
    all[count++] = stamp;
}

GroupStamps no_groups(MemoryContext context) {
    constexpr std::size_t usual = 16;
    auto* all = static_cast<std::uint32_t*>(MemoryContextAlloc(context, sizeof(std::uint32_t) * usual));
    return {.all = all, .count = 0, .room = usual};
}

bool scan_groups(const List* sources, KeyKind kind, Datum key, GroupStamps& groups) {
    ListCell* cell = nullptr;
    foreach (cell, sources)
        if (!scan(*static_cast<const GroupSource*>(lfirst(cell)), kind, key, groups))
            return false;
    return true;
}

}  // namespace rolecall::projection
