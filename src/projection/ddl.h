// Definitions change under DDL: event triggers and a utility hook raise floors for what is behind a
// projection.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// Installs the utility hook; called once, from _PG_init, while preloading.
void ddl_init();

/// Raises the floors of the projections behind which an object (of a catalog) is, as the extension's owner.
void announce_object(Oid catalog, Oid object);

}  // namespace rolecall::projection
