#include "workers/eviction.h"

#include "pg/pg.h"
#include "pg/utility.h"
#include "projection/load_requests.h"
#include "workers/registry.h"

extern "C" {
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/tablespace.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace rolecall::workers {

namespace {

constexpr long poll_ms = 20;
constexpr int polls = 250;  // as long as the server itself waits for others to leave a database

// The subtransaction levels that made these requests, which end if the subtransaction is rolled back. 0:
// none.
int kept_out_level = 0;
int restart_level = 0;

// The request of a statement, carried out after the statement has run.
struct Restart {
    Oid database;
};

// ---- Requests and permissions

const char* option_of(List* options, const char* name) {
    ListCell* cell = nullptr;
    foreach (cell, options) {
        auto* option = static_cast<DefElem*>(lfirst(cell));
        if (strcmp(option->defname, name) == 0 && option->arg != nullptr)
            return defGetString(option);
    }
    return nullptr;
}

// A copy of the server's have_createdb_privilege(), which older minor releases do not export.
bool may_create_databases() {
    if (superuser())
        return true;
    HeapTuple row = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
    if (!HeapTupleIsValid(row))
        return false;
    const bool may = reinterpret_cast<Form_pg_authid>(GETSTRUCT(row))->rolcreatedb;
    ReleaseSysCache(row);
    return may;
}

bool may_use_tablespace(const char* name) {
    if (name == nullptr)
        return true;
    const Oid tablespace = get_tablespace_oid(name, true);
    return OidIsValid(tablespace) && pg::may_create_in_tablespace(tablespace, GetUserId());
}

bool may_give_to(const char* owner) {
    if (owner == nullptr)
        return true;
    const Oid role = get_role_oid(owner, true);
    return OidIsValid(role) && pg::may_give_to(role, GetUserId());
}

bool is_template(Oid database) {
    HeapTuple row = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
    if (!HeapTupleIsValid(row))
        return false;
    const bool found = reinterpret_cast<Form_pg_database>(GETSTRUCT(row))->datistemplate;
    ReleaseSysCache(row);
    return found;
}

// Returns the database if the caller owns it, else InvalidOid.
Oid own_database(const char* name) {
    const Oid database = get_database_oid(name, true);
    return OidIsValid(database) && pg::owns_database(database, GetUserId()) ? database : InvalidOid;
}

Oid model_of(const CreatedbStmt& create) {
    if (!may_create_databases() || !may_give_to(option_of(create.options, "owner")) ||
        !may_use_tablespace(option_of(create.options, "tablespace")))
        return InvalidOid;
    const char* name = option_of(create.options, "template");
    const Oid model = get_database_oid(name != nullptr ? name : "template1", true);
    return is_template(model) || (OidIsValid(model) && pg::owns_database(model, GetUserId())) ? model
                                                                                              : InvalidOid;
}

// Returns the database that must have no connections while the statement runs. Returns InvalidOid if there is
// none, or if the server will refuse the statement because of missing rights or a transaction block, so that
// a refused statement has no effect on workers.
Oid database_to_leave(const Node* statement, bool is_alone) {
    switch (nodeTag(statement)) {
        case T_DropdbStmt:
            return is_alone ? own_database(reinterpret_cast<const DropdbStmt*>(statement)->dbname)
                            : InvalidOid;
        case T_RenameStmt: {
            const auto* rename = reinterpret_cast<const RenameStmt*>(statement);
            return rename->renameType == OBJECT_DATABASE && may_create_databases()
                       ? own_database(rename->subname)
                       : InvalidOid;
        }
        case T_CreatedbStmt:
            return is_alone ? model_of(*reinterpret_cast<const CreatedbStmt*>(statement)) : InvalidOid;
        case T_AlterDatabaseStmt: {
            const auto* alter = reinterpret_cast<const AlterDatabaseStmt*>(statement);
            const char* tablespace = option_of(alter->options, "tablespace");
            return is_alone && tablespace != nullptr && may_use_tablespace(tablespace)
                       ? own_database(alter->dbname)
                       : InvalidOid;
        }
        default:
            return InvalidOid;
    }
}

bool drops_us(const Node* statement) {
    if (!IsA(statement, DropStmt) ||
        reinterpret_cast<const DropStmt*>(statement)->removeType != OBJECT_EXTENSION)
        return false;
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<const DropStmt*>(statement)->objects)
        if (strcmp(strVal(lfirst(cell)), "rolecall") == 0)
            return true;
    return false;
}

bool may_drop_us() {
    const Oid us = get_extension_oid("rolecall", true);
    return OidIsValid(us) && pg::owns_extension(us, GetUserId());
}

// Returns the database whose workers must check again whether they should run, and with which settings.
Oid database_to_restart(const Node* statement) {
    if (IsA(statement, AlterDatabaseSetStmt))
        return get_database_oid(reinterpret_cast<const AlterDatabaseSetStmt*>(statement)->dbname, true);
    return drops_us(statement) ? MyDatabaseId : InvalidOid;
}

// ---- The workers

void wait_until_left(Oid database) {
    kept_out_level = GetCurrentTransactionNestLevel();
    for (int i = 0; i < polls && keep_out_until_end(database) > 0; ++i) {
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, poll_ms, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void before(const Node* statement, bool is_alone, void*& state) {
    if (!IsTransactionState())
        return;
    const Oid database = database_to_leave(statement, is_alone);
    if (OidIsValid(database))
        wait_until_left(database);
    const Oid restart = database_to_restart(statement);
    if (!OidIsValid(restart))
        return;
    if (drops_us(statement) && may_drop_us())
        (void)projection::cancel_load(0);  // the load reads objects that the statement must lock
    auto* wanted = static_cast<Restart*>(MemoryContextAlloc(TopMemoryContext, sizeof(Restart)));
    wanted->database = restart;
    state = wanted;
}

void after(void* state) {
    restart_level = GetCurrentTransactionNestLevel();
    restart_workers_at_commit(static_cast<Restart*>(state)->database);
}

void at_end(void* state, bool) { pfree(state); }

constexpr pg::UtilityWatcher watcher{.before = before, .after = after, .at_end = at_end};

// ---- Subtransactions (the registry handles the end of top-level transactions)

void on_transaction_end(XactEvent event, void*) {
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        kept_out_level = restart_level = 0;
}

void on_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    const int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_COMMIT_SUB) {
        kept_out_level = std::min(kept_out_level, level - 1);
        restart_level = std::min(restart_level, level - 1);
    } else if (event == SUBXACT_EVENT_ABORT_SUB) {
        if (kept_out_level >= level) {
            let_workers_in();
            kept_out_level = 0;
        }
        if (restart_level >= level) {
            restart_workers_at_commit(InvalidOid);
            restart_level = 0;
        }
    }
}

}  // namespace

void eviction_init() {
    pg::watch_utility(watcher);
    RegisterXactCallback(on_transaction_end, nullptr);
    RegisterSubXactCallback(on_subtransaction_end, nullptr);
}

}  // namespace rolecall::workers
