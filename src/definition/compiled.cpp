#include "definition/compiled.h"

#include "cache/shared.h"
#include "definition/own_changes.h"
#include "definition/text_functions.h"
#include "pg/client_session.h"
#include "pg/security_context.h"
#include "pg/testing.h"

extern "C" {
#include "access/transam.h"
#include "access/xlog.h"
#include "fmgr.h"
}

namespace rolecall::projection {

namespace {

needs_fmgr_hook_type previous_needs_hook = nullptr;

// When this process began: how often definitions of its database had changed.
struct Beginning {
    bool is_known;
    Oid database;
    std::uint64_t changes;
};

Beginning beginning{};
bool other_settings = false;  // something may have been compiled under settings that are not the pinned ones

// Who announces a change locks definitions first and counts then. So a change that is not among those counted
// here either has ended by now, and what is compiled from now on knows it, or is found to hold its lock, or
// is counted later. What is replayed on a standby is not counted.
void begin(Oid database) {
    if (!cache::preloaded() || RecoveryInProgress())
        return;
    const std::uint64_t changes = cache::changes_of_names(database);
    beginning = {
        .is_known = cache::definitions_are_quiet_in(database), .database = database, .changes = changes};
}

// Asked for each function that is about to be called and is not the server's own; never by a language for the
// text itself. What has been compiled then stays. Functions of the server's initialization are a language's,
// and may compile whatever they are given.
bool on_lookup(Oid function) {
    if (!other_settings && !pg::compiles_as_pinned() &&
        (function < FirstNormalObjectId || has_text(function)))
        other_settings = true;
    return previous_needs_hook != nullptr && previous_needs_hook(function);
}

}  // namespace

void compiled_init() {
    pg::watch_client_sessions(begin);
    previous_needs_hook = needs_fmgr_hook;
    needs_fmgr_hook = on_lookup;
}

void compiled_nothing_yet() { begin(MyDatabaseId); }

// What the session changed itself and took back is counted nowhere.
bool compiled_before_changes() {
    if (testing::fault(testing::Fault::old_compilations))
        return false;
    return !beginning.is_known || beginning.database != MyDatabaseId || detail::noted_once ||
           beginning.changes != cache::changes_of_names(MyDatabaseId);
}

const char* why_compiled_differs() {
    if (other_settings && !testing::fault(testing::Fault::old_compilations))
        return "this session may have compiled a function of the view under settings of its own";
    if (!compiled_before_changes())
        return nullptr;
    return detail::noted_once
               ? "this session has changed definitions, and may have compiled a function of the view before"
               : "definitions have changed since this session began, which may have compiled a function of "
                 "the view before";
}

}  // namespace rolecall::projection
