// Definitions change under DDL: event triggers and a utility hook raise floors for what is behind a
// projection.
#pragma once

namespace rolecall::projection {

/// Installs the utility hook; called once, from _PG_init, while preloading.
void ddl_init();

}  // namespace rolecall::projection
