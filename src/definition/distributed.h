// Tables whose rows are somewhere else. To the server a table that Citus manages is an ordinary one, and
// empty: its rows are in shards, on this node or on others, whose changes no watch sees. Known are they by
// Citus' catalogs, wherever it is installed.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Does Citus manage this relation? Distributed tables, reference tables, local tables that it has metadata
/// of, and tables of a distributed schema.
bool is_distributed(Oid relation);

/// Raises object_not_in_prerequisite_state where one of `relations` is a table of the directory that is this
/// node's own while the directory is another node's: on a worker of a cluster, unless
/// rolecall.directory_is_local.
void require_directory(const List* relations);

/// The same for who looks for a user.
void require_directory();

/// Adds the catalogs that the answers above are from: a definition is to be read again when they change.
List* add_distribution_catalogs(List* relations);

}  // namespace rolecall::projection
