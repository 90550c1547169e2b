#include "pg/utility.h"

extern "C" {
#include "tcop/utility.h"
}

namespace rolecall::pg {

namespace {

constexpr int most_watchers = 3;

const UtilityWatcher* watchers[most_watchers];
int watcher_count = 0;
ProcessUtility_hook_type previous_hook = nullptr;

void end(void* const* states, bool failed) {
    for (int i = 0; i < watcher_count; ++i)
        if (states[i] != nullptr)
            watchers[i]->at_end(states[i], failed);
}

void on_utility(PlannedStmt* statement, const char* text, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    const bool is_alone = context == PROCESS_UTILITY_TOPLEVEL && !IsTransactionBlock();
    void* states[most_watchers] = {};
    volatile bool failed = true;
    PG_TRY()
        ;
        {
            for (int i = 0; i < watcher_count; ++i)
                watchers[i]->before(statement->utilityStmt, is_alone, states[i]);
            auto* next = previous_hook != nullptr ? previous_hook : standard_ProcessUtility;
            next(statement, text, read_only_tree, context, parameters, environment, destination, completion);
            for (int i = 0; i < watcher_count; ++i)
                if (states[i] != nullptr)
                    watchers[i]->after(states[i]);
            failed = false;
        }
        PG_FINALLY();
        { end(states, failed); }
        PG_END_TRY();
}

}  // namespace

void watch_utility(const UtilityWatcher& watcher) {
    if (watcher_count == 0) {
        previous_hook = ProcessUtility_hook;
        ProcessUtility_hook = on_utility;
    }
    watchers[watcher_count++] = &watcher;
}

}  // namespace rolecall::pg
