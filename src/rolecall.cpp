// The entry point of the library, which initializes its parts in order.
#include "pg/pg.h"

#include "cache/flight.h"
#include "cache/shared.h"
#include "definition/compiled.h"
#include "definition/definition.h"
#include "definition/subscription.h"
#include "invalidation/ddl.h"
#include "pg/settings.h"
#include "pg/testing.h"
#include "projection/load_requests.h"
#include "projection/memo.h"
#include "provider/statistics.h"
#include "sync/overdue.h"
#include "workers/eviction.h"
#include "workers/launcher.h"
#include "workers/registry.h"

extern "C" {

PG_MODULE_MAGIC;

// NOLINTBEGIN(bugprone-reserved-identifier): the server asks for this name
PGDLLEXPORT void _PG_init(void);

void _PG_init(void) {
    // NOLINTEND(bugprone-reserved-identifier)
    rolecall::testing::init();
    rolecall::settings::init();  // reserves the prefix: all other settings are defined before
    rolecall::projection::definition_init();
    if (!process_shared_preload_libraries_in_progress)
        return;
    rolecall::cache::shared_init();
    rolecall::cache::flight_init();
    rolecall::projection::loads_init();
    rolecall::projection::memo_init();
    rolecall::projection::compiled_init();
    rolecall::invalidation::ddl_init();
    rolecall::projection::subscription_init();
    rolecall::workers::registry_init(rolecall::projection::is_load_requested);
    rolecall::projection::on_load_requested = rolecall::workers::launch_loader;
    rolecall::provider::statistics_init();
    rolecall::sync::overdue_init();
    rolecall::workers::eviction_init();
    rolecall::workers::launcher_init();
}

}  // extern "C"
