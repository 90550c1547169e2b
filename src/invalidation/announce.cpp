#include "invalidation/announce.h"

#include "cache/shared.h"
#include "definition/definition.h"
#include "definition/own_changes.h"
#include "invalidation/closure.h"
#include "invalidation/members.h"
#include "pg/testing.h"

extern "C" {
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "storage/sinval.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
}

namespace rolecall::invalidation {

using testing::Fault;

void (*before_announcement)() = nullptr;

namespace {

enum class Kind : std::uint32_t {
    relation,
    rights,  // privileges on a relation
    grantee,
    created,
    role,
    database,
    all_databases,
    dropped_database,
};

struct Note {
    // The key of the hash table.
    Kind kind;
    Oid object;

    int level;  // nesting level of the subtransaction that the note belongs to
};

HTAB* table = nullptr;  // in TopTransactionContext
int deepest = 0;        // no note has a higher level
int made = 0;           // number of notes of Kind::created
bool announced = false;
CommandTag tag = CMDTAG_UNKNOWN;

void forget_all() {
    if (projection::detail::noted_changes > 0)
        projection::definitions_expire();
    table = nullptr;
    projection::detail::noted_changes = 0;
    deepest = 0;
    made = 0;
    announced = false;
    tag = CMDTAG_UNKNOWN;
}

bool is_noted(Kind kind, Oid object) {
    const Note key{.kind = kind, .object = object, .level = 0};
    return table != nullptr && hash_search(table, &key, HASH_FIND, nullptr) != nullptr;
}

void announce();

void note(Kind kind, Oid object) {
    if (!cache::preloaded() || !IsTransactionState())
        return;
    projection::detail::noted_once = true;
    if (table == nullptr) {
        HASHCTL control{};
        control.keysize = offsetof(Note, level);
        control.entrysize = sizeof(Note);
        control.hcxt = TopTransactionContext;
        table = hash_create("rolecall notes", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    }
    const Note key{.kind = kind, .object = object, .level = 0};
    bool found = false;
    auto* entry = static_cast<Note*>(hash_search(table, &key, HASH_ENTER, &found));
    if (found)
        return;
    entry->level = GetCurrentTransactionNestLevel();
    deepest = std::max(deepest, entry->level);
    if (kind == Kind::created) {
        ++made;
        return;
    }
    ++projection::detail::noted_changes;
    projection::definitions_expire();
    if (announced)
        announce();  // a later callback of another extension changes definitions
}

template <typename Visit>
void each_note(Visit&& visit) {
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, table);
    while (auto* entry = static_cast<Note*>(hash_seq_search(&scan)))
        visit(*entry);
}

List* noted(Kind kind) {
    List* objects = NIL;
    each_note([&](const Note& n) {
        if (n.kind == kind)
            objects = lappend_oid(objects, n.object);
    });
    return objects;
}

// ---- The announcement

void announce_relations(List* relations, Snapshot snapshot) {
    const Affected affected = projections_over(relations, snapshot);
    if (affected.all) {
        cache::stamp_database(MyDatabaseId);
        cache::note_invalidation_of_database(MyDatabaseId, tag);
        return;
    }
    ListCell* cell = nullptr;
    foreach (cell, affected.projections) {
        const std::uint64_t projection = *static_cast<std::uint64_t*>(lfirst(cell));
        cache::stamp_projection(projection);
        cache::note_invalidation(projection, tag);
    }
}

// Returns whether the text of a function may name a relation in another session. Temporary relations are not
// found there, and no text names an index or a TOAST table.
bool is_named_by_others(Oid relation) {
    switch (get_rel_relkind(relation)) {
        case '\0':
        case RELKIND_INDEX:
        case RELKIND_PARTITIONED_INDEX:
        case RELKIND_TOASTVALUE:
            return false;
        default:
            return get_rel_persistence(relation) != RELPERSISTENCE_TEMP;
    }
}

bool names_were_made() {
    const List* relations = made > 0 ? noted(Kind::created) : NIL;
    const ListCell* cell = nullptr;
    foreach (cell, relations)
        if (is_named_by_others(lfirst_oid(cell)))
            return true;
    return false;
}

void announce_dropped_databases() {
    ListCell* cell = nullptr;
    foreach (cell, noted(Kind::dropped_database)) {
        if (testing::fault(Fault::id_used_again))
            continue;
        cache::stamp_database(lfirst_oid(cell));
        cache::forget_documents(lfirst_oid(cell), 0);
    }
}

// The order matters. The locks come first, so that no loader installs documents from here to the end of the
// transaction. Then the newest catalogs decide what is affected; they contain every projection that another
// session may have cached before the lock. What is affected is stamped before the commit.
void announce_everything() {
    List* roles = noted(Kind::role);
    const bool everywhere = is_noted(Kind::all_databases, InvalidOid);
    const bool database = is_noted(Kind::database, MyDatabaseId);
    List* relations = noted(Kind::relation);
    List* rights = noted(Kind::rights);
    CommandCounterIncrement();  // the transaction's last statement is not followed by one
    const bool names = relations != NIL || names_were_made();
    if (everywhere || roles != NIL)
        cache::lock_all_definitions();
    if (database || names || rights != NIL)
        cache::lock_definitions();
    AcceptInvalidationMessages();
    InvalidateCatalogSnapshot();
    Snapshot newest = testing::fault(Fault::old_catalogs) ? GetTransactionSnapshot()
                                                          : GetCatalogSnapshot(RelationRelationId);
    newest = RegisterSnapshot(newest);
    if (own_what_runs(noted(Kind::grantee), newest))
        relations = list_concat_unique_oid(relations, rights);
    if (everywhere || own_what_runs(roles, newest)) {
        cache::count_change_of_names_everywhere();
        cache::stamp_all_databases();
        cache::note_invalidation_of_all(tag);
    }
    if (database || names || relations != NIL)
        cache::count_change_of_names();
    if (database) {
        cache::stamp_database(MyDatabaseId);
        cache::note_invalidation_of_database(MyDatabaseId, tag);
        if (!OidIsValid(get_extension_oid("rolecall", true)))
            cache::forget_documents(MyDatabaseId, 0);
    } else if (relations != NIL) {
        announce_relations(relations, newest);
    }
    UnregisterSnapshot(newest);
    if (names && !database)
        cache::stamp_texts(tag);
    announce_dropped_databases();
}

// Superusers may change catalogs by UPDATE, and C code may change them without calling the hook. Such changes
// appear in the invalidation messages that this transaction will send. `caches` are those of functions,
// operators and similar objects, whose changes cause no message for a relation.
void note_catalogs_changed_by_hand() {
    static constexpr int caches[] = {AGGFNOID,    AMOID,       AMOPOPID,  AMPROCNUM,   CASTSOURCETARGET,
                                     CLAOID,      COLLOID,     CONVOID,   ENUMOID,     LANGOID,
                                     OPEROID,     OPFAMILYOID, PROCOID,   RANGETYPE,   TRFOID,
                                     TSCONFIGMAP, TSCONFIGOID, TSDICTOID, TSPARSEROID, TSTEMPLATEOID};
    if (is_noted(Kind::database, MyDatabaseId))
        return;
    SharedInvalidationMessage* messages = nullptr;
    bool init_file = false;
    const int count = xactGetCommittedInvalidationMessages(&messages, &init_file);
    for (int i = 0; i < count; ++i) {
        if (std::find(std::begin(caches), std::end(caches), messages[i].id) == std::end(caches))
            continue;
        note_database();
        return;
    }
}

// A transaction without an id has changed nothing.
void announce() {
    if (before_announcement != nullptr)
        before_announcement();
    if (!announced && TransactionIdIsValid(GetTopTransactionIdIfAny()))
        note_catalogs_changed_by_hand();
    announced = true;
    if ((projection::detail::noted_changes == 0 && made == 0) ||
        !TransactionIdIsValid(GetTopTransactionIdIfAny()) || testing::fault(Fault::ddl_not_announced))
        return;
    MemoryContext context =
        AllocSetContextCreate(CurrentMemoryContext, "rolecall announcement", ALLOCSET_SMALL_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(context);
    announce_everything();
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(context);
}

// ---- Transactions

void on_transaction(XactEvent event, void*) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
            announce();
            break;
        case XACT_EVENT_PRE_PREPARE:
            if (!testing::fault(Fault::prepared_not_announced))
                announce();
            break;
        case XACT_EVENT_COMMIT:
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            forget_all();
            break;
        default:  // parallel workers change no definitions
            break;
    }
}

void drop_notes_of(int level) {
    each_note([level](Note& n) {
        if (n.level < level)
            return;
        --(n.kind == Kind::created ? made : projection::detail::noted_changes);
        (void)hash_search(table, &n, HASH_REMOVE, nullptr);
    });
    projection::definitions_expire();
}

void hand_up_notes_of(int level) {
    each_note([level](Note& n) { n.level = std::min(n.level, level - 1); });
}

void on_subtransaction(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (table == nullptr || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
        return;
    const int level = GetCurrentTransactionNestLevel();
    if (deepest < level)
        return;
    deepest = level - 1;
    if (event == SUBXACT_EVENT_ABORT_SUB || testing::fault(Fault::subtransactions_forgotten))
        drop_notes_of(level);
    else
        hand_up_notes_of(level);
}

}  // namespace

void announce_init() {
    RegisterXactCallback(on_transaction, nullptr);
    RegisterSubXactCallback(on_subtransaction, nullptr);
}

void note_statement(CommandTag of) { tag = of; }

void note_relation(Oid relation) {
    if (OidIsValid(relation) && !is_noted(Kind::created, relation))
        note(Kind::relation, relation);
}

void note_rights(Oid relation) {
    if (!is_noted(Kind::created, relation))
        note(Kind::rights, relation);
}

void note_grantee(Oid role) { note(Kind::grantee, role); }

void note_created(Oid relation) { note(Kind::created, relation); }

void note_role(Oid role) { note(Kind::role, role); }

void note_database() { note(Kind::database, MyDatabaseId); }

void note_all_databases() { note(Kind::all_databases, InvalidOid); }

void note_dropped_database(Oid database) { note(Kind::dropped_database, database); }

}  // namespace rolecall::invalidation
