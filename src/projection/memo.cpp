#include "projection/memo.h"

#include "cache/shared.h"
#include "pg/settings.h"
#include "pg/snapshot.h"
#include "pg/testing.h"
#include "projection/document.h"

extern "C" {
#include "access/parallel.h"
#include "catalog/partition.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace rolecall::projection {

using testing::Fault;

namespace {

// The documents that were read under one snapshot at one moment.
struct Page {
    MemoryContext context;  // nullptr: empty
    SnapshotData* snapshot;
    Moment moment;
    Remembered* last;    // the document found or kept last
    Remembered** table;  // by hash
    std::uint32_t table_size;
    std::uint32_t count;
};

// A cursor, a query beside it, and functions in that query: a few snapshots alternate.
constexpr int page_count = 4;
constexpr std::uint32_t first_table_size = 64;

struct Memo {
    MemoryContext context;
    Page pages[page_count];
    int newest;
    MemoryContextCallback on_end;
};

Memo* memo = nullptr;  // lives in the transaction's memory, with all that it contains

Memo& the_memo() {
    if (memo != nullptr)
        return *memo;
    MemoryContext context =
        AllocSetContextCreate(TopTransactionContext, "rolecall memo", ALLOCSET_DEFAULT_SIZES);
    auto* made = static_cast<Memo*>(MemoryContextAllocZero(context, sizeof(Memo)));
    made->context = context;
    made->on_end.func = [](void*) { memo = nullptr; };
    MemoryContextRegisterResetCallback(context, &made->on_end);
    return *(memo = made);
}

void forget_all() {
    if (memo != nullptr)
        MemoryContextDelete(memo->context);
}

// The rollback removes rows without any command, and releases locks that kept other transactions from
// changing what was read.
void on_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB && !testing::fault(Fault::memo_over_rollback))
        forget_all();
}

// ---- Pages

bool is_same(const Moment& a, const Moment& b) {
    return (a.command == b.command || testing::fault(Fault::memo_command_ignored)) &&
           (a.messages == b.messages || testing::fault(Fault::memo_messages_ignored)) &&
           (a.own_id == b.own_id || testing::fault(Fault::memo_first_write_ignored));
}

bool is_same(const SnapshotData* a, const SnapshotData* b) {
    return (pg::see_the_same_transactions(a, b) || testing::fault(Fault::memo_snapshot_ignored)) &&
           (a->curcid == b->curcid || testing::fault(Fault::memo_own_rows_ignored));
}

Page* page_of(const Moment& moment, const SnapshotData* snapshot) {
    if (memo == nullptr)
        return nullptr;
    for (int i = 0; i < page_count; ++i) {
        Page& page = memo->pages[(memo->newest + page_count - i) % page_count];
        if (page.context != nullptr && is_same(page.moment, moment) && is_same(page.snapshot, snapshot))
            return &page;
    }
    return nullptr;
}

Remembered** new_table(const Page& page, std::uint32_t size) {
    return static_cast<Remembered**>(MemoryContextAllocZero(page.context, sizeof(void*) * size));
}

// Replaces the oldest page.
Page& new_page(const Moment& moment, const SnapshotData* snapshot) {
    Memo& all = the_memo();
    all.newest = (all.newest + 1) % page_count;
    Page& page = all.pages[all.newest];
    if (page.context != nullptr)
        MemoryContextDelete(page.context);
    page = {};
    MemoryContext context = AllocSetContextCreate(all.context, "rolecall memo page", ALLOCSET_DEFAULT_SIZES);
    page.snapshot = pg::copy_of(snapshot, context);
    page.moment = moment;
    page.table_size = first_table_size;
    page.context = context;
    page.table = new_table(page, page.table_size);
    return page;
}

Remembered*& slot_of(const Page& page, std::uint64_t hash) {
    return page.table[hash & (page.table_size - 1)];
}

void make_room(Page& page) {
    if (page.count < page.table_size)
        return;
    Remembered** before = page.table;
    const std::uint32_t size = page.table_size;
    page.table = new_table(page, size * 2);
    page.table_size = size * 2;
    for (std::uint32_t i = 0; i < size; ++i)
        while (Remembered* one = before[i]) {
            before[i] = one->next;
            one->next = slot_of(page, one->hash);
            slot_of(page, one->hash) = one;
        }
    pfree(before);
}

bool is_of(const Remembered& one, const core::Key& key) {
    return one.hash == key.hash && one.projection == key.projection && one.key_bytes == key.bytes.size() &&
           memcmp(one.key, key.bytes.data(), key.bytes.size()) == 0;
}

// ---- What may be remembered

// Returns whether this session has the relation open and holds a lock on it under which it may write.
bool is_open_for_writing(Oid relation) {
    LOCKTAG tag;
    SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
    if (!pg::holds_lock(tag, RowExclusiveLock))
        return false;
    Relation opened = RelationIdGetRelation(relation);
    if (!RelationIsValid(opened))
        return true;
    const bool by_others = opened->rd_refcnt > 1;
    RelationClose(opened);
    return by_others;
}

// A statement writes rows with the command id that it started with, even after a trigger or a function that
// it calls has begun a later command, whose snapshot sees these rows. Such a statement keeps its table open,
// or the table whose partitions it opens as rows arrive.
bool is_being_written(const Definition& d) {
    if (IsParallelWorker())
        return false;  // the memo of a parallel worker ends with the worker's scan
    List* asked = NIL;
    for (int i = 0; i < d.relation_count; ++i)
        asked = lappend_oid(asked, d.relations[i]);
    for (int i = 0; i < list_length(asked); ++i) {
        const Oid relation = list_nth_oid(asked, i);
        if (is_open_for_writing(relation))
            return true;
        if (get_rel_relispartition(relation))
            asked = list_append_unique_oid(asked, get_partition_parent(relation, true));
    }
    return false;
}

// Returns whether reading again would give the same result. A definition that is not known to be exact needs
// a ttl.
bool is_repeatable(const Definition& d) {
    return d.ttl > 0 || d.problems == NIL || testing::fault(Fault::memo_of_inexact);
}

bool is_within_ttl(const Definition& d, const Remembered& one, const Moment& now) {
    return d.ttl == 0 || testing::fault(Fault::memo_over_invalidation) ||
           (one.versions == now.versions && GetCurrentStatementStartTimestamp() < one.loaded_at + d.ttl);
}

}  // namespace

void memo_init() { RegisterSubXactCallback(on_subtransaction_end, nullptr); }

Moment memo_moment(const Definition& d, std::uint64_t key_hash) {
    if ((!settings::cache && !testing::fault(Fault::memo_while_off)) || !ActiveSnapshotSet() ||
        GetActiveSnapshot()->snapshot_type != SNAPSHOT_MVCC)
        return {};
    AcceptInvalidationMessages();
    return {.usable = true,
            .command = GetCurrentCommandId(false),
            .messages = SharedInvalidMessageCounter,
            .own_id = GetTopTransactionIdIfAny(),
            .versions = d.ttl > 0
                            ? cache::floor_versions(d.floor) + cache::stamp_versions({key_hash, d.floor, {}})
                            : 0};
}

Remembered* memo_repeat(const Definition& d, std::string_view key) {
    if (memo == nullptr)
        return nullptr;
    const Page& page = memo->pages[memo->newest];
    Remembered* last = page.last;
    if (last == nullptr || last->projection != d.id || last->key_bytes != key.size() ||
        memcmp(last->key, key.data(), key.size()) != 0)
        return nullptr;
    const Moment now = memo_moment(d, last->hash);
    return now.usable && is_same(page.moment, now) && is_same(page.snapshot, GetActiveSnapshot()) &&
                   is_repeatable(d) && is_within_ttl(d, *last, now)
               ? last
               : nullptr;
}

Remembered* memo_find(const Definition& d, const core::Key& key, const Moment& now) {
    if (!now.usable)
        return nullptr;
    Page* page = page_of(now, GetActiveSnapshot());
    if (page == nullptr || !is_repeatable(d))
        return nullptr;
    Remembered* one = page->last;
    if (!is_of(*one, key))
        for (one = slot_of(*page, key.hash); one != nullptr && !is_of(*one, key);)
            one = one->next;
    if (one == nullptr || !is_within_ttl(d, *one, now))
        return nullptr;
    return page->last = one;
}

void memo_keep(const Definition& d, const core::Key& key, const Moment& before, const Loaded& loaded) {
    const std::size_t size = loaded.document != nullptr ? VARSIZE(loaded.document) : 0;
    const std::size_t most = get_hash_memory_limit();
    if (!before.usable || key.projection != d.id || !is_repeatable(d) || size > most / 4)
        return;
    if (!is_same(before, memo_moment(d, key.hash)))
        return;
    if (TransactionIdIsValid(before.own_id) && !testing::fault(Fault::memo_under_writer) &&
        is_being_written(d))
        return;
    if (memo != nullptr && MemoryContextMemAllocated(memo->context, true) > most - size)
        forget_all();
    Page* page = page_of(before, GetActiveSnapshot());
    if (page == nullptr)
        page = &new_page(before, GetActiveSnapshot());
    make_room(*page);

    auto* one = static_cast<Remembered*>(
        MemoryContextAllocZero(page->context, offsetof(Remembered, key) + key.bytes.size()));
    one->projection = key.projection;
    one->hash = key.hash;
    one->versions = before.versions;
    one->loaded_at = GetCurrentTimestamp();
    one->key_bytes = static_cast<std::uint32_t>(key.bytes.size());
    memcpy(one->key, key.bytes.data(), key.bytes.size());
    if (size > 0) {
        auto* document = static_cast<Jsonb*>(MemoryContextAlloc(page->context, size));
        memcpy(document, loaded.document, size);
        one->document = document;
    }
    one->next = slot_of(*page, key.hash);
    slot_of(*page, key.hash) = one;
    page->last = one;
    ++page->count;
}

const char* memo_access(Remembered& found) {
    if (found.access == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(&found));
        core::AccessFacts facts = read_access(found.document);
        found.access = pack_access(facts).data();
        MemoryContextSwitchTo(caller);
    }
    return found.access;
}

const text* memo_text(Remembered& found) {
    if (found.as_text == nullptr) {
        MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(&found));
        found.as_text = document_text(found.document);
        MemoryContextSwitchTo(caller);
    }
    return found.as_text;
}

}  // namespace rolecall::projection
