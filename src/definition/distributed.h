// Tables whose rows are stored elsewhere. A table that Citus manages looks to the server like an ordinary,
// empty table. Its rows are in shards, on this node or on others, and no watch sees changes of shards. Citus'
// catalogs, wherever Citus is installed, say which tables it manages.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Returns whether Citus manages this relation. That includes distributed tables, reference tables, local
/// tables for which Citus has metadata, and tables of a distributed schema.
bool is_distributed(Oid relation);

/// Raises object_not_in_prerequisite_state if one of `relations` is a table of the directory that belongs to
/// this node only, while the directory of the cluster is on another node. That is the case on a worker of a
/// cluster, unless rolecall.directory_is_local is set.
void require_directory(const List* relations);

/// The same for a caller that looks for a user.
void require_directory();

/// Adds the catalogs that the functions above read, because a definition must be read again when they change.
/// Returns the list.
List* add_distribution_catalogs(List* relations);

}  // namespace rolecall::projection
