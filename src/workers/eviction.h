// Empties a database before a statement that requires it: its sync workers leave before and come back after.
#pragma once

namespace rolecall::workers {

/// Installs the utility hook; called once, from _PG_init, while preloading.
void eviction_init();

}  // namespace rolecall::workers
