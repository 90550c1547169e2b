#include "sync/leave.h"

#include "pg/pg.h"
#include "projection/loads.h"
#include "sync/roster.h"

extern "C" {
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/utility.h"
}

namespace rolecall::sync {

namespace {

constexpr long poll_ms = 20;
constexpr int polls = 250;  // as long as the server itself waits for others to leave a database

ProcessUtility_hook_type previous_utility_hook = nullptr;

const char* option_of(List* options, const char* name) {
    ListCell* cell = nullptr;
    foreach (cell, options) {
        auto* option = static_cast<DefElem*>(lfirst(cell));
        if (strcmp(option->defname, name) == 0 && option->arg != nullptr)
            return defGetString(option);
    }
    return nullptr;
}

// The database that nobody may be connected to while the statement runs, or nullptr.
const char* database_to_leave(Node* statement) {
    switch (nodeTag(statement)) {
        case T_DropdbStmt:
            return reinterpret_cast<DropdbStmt*>(statement)->dbname;
        case T_RenameStmt: {
            auto* rename = reinterpret_cast<RenameStmt*>(statement);
            return rename->renameType == OBJECT_DATABASE ? rename->subname : nullptr;
        }
        case T_CreatedbStmt: {
            const char* model = option_of(reinterpret_cast<CreatedbStmt*>(statement)->options, "template");
            return model != nullptr ? model : "template1";
        }
        case T_AlterDatabaseStmt: {
            auto* alter = reinterpret_cast<AlterDatabaseStmt*>(statement);
            return option_of(alter->options, "tablespace") != nullptr ? alter->dbname : nullptr;
        }
        default:
            return nullptr;
    }
}

// The database whose workers must look whether they should still be there, with which settings.
Oid database_to_restart(Node* statement) {
    if (IsA(statement, AlterDatabaseSetStmt))
        return get_database_oid(reinterpret_cast<AlterDatabaseSetStmt*>(statement)->dbname, true);
    if (IsA(statement, DropStmt) && reinterpret_cast<DropStmt*>(statement)->removeType == OBJECT_EXTENSION)
        return MyDatabaseId;
    return InvalidOid;
}

// DROP EXTENSION rolecall, by who is entitled to it.
bool may_drop_us(Node* statement) {
    if (!IsA(statement, DropStmt) || reinterpret_cast<DropStmt*>(statement)->removeType != OBJECT_EXTENSION)
        return false;
    const Oid us = get_extension_oid("rolecall", true);
    ListCell* cell = nullptr;
    foreach (cell, reinterpret_cast<DropStmt*>(statement)->objects)
        if (strcmp(strVal(lfirst(cell)), "rolecall") == 0)
            return OidIsValid(us) && pg::owns_extension(us, GetUserId());
    return false;
}

void wait_until_left(Oid database) {
    for (int i = 0; i < polls && keep_out_until_end(database) > 0; ++i) {
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, poll_ms, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

void on_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    Node* node = statement->utilityStmt;
    const char* name = database_to_leave(node);
    const Oid database = name != nullptr ? get_database_oid(name, true) : InvalidOid;
    if (OidIsValid(database))
        wait_until_left(database);
    if (may_drop_us(node))
        (void)projection::cancel_load(0);  // it reads what is to be locked
    auto* next = previous_utility_hook != nullptr ? previous_utility_hook : standard_ProcessUtility;
    next(statement, text, read_only_tree, context, parameters, environment, destination, completion);
    const Oid restart = database_to_restart(node);
    if (OidIsValid(restart))
        restart_workers_at_commit(restart);
}

}  // namespace

void leave_init() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}

}  // namespace rolecall::sync
