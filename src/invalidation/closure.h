// Finds the projections that depend on a relation. Only catalogs and the extension's own tables are read: no
// relation of the application is opened or locked, and no query is planned.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
}

namespace rolecall::invalidation {

struct Affected {
    bool all = false;         // all projections of this database; `projections` is then incomplete
    List* projections = NIL;  // of std::uint64_t *, the ids
};

/// Returns the projections of this database whose results may depend on one of `relations` (oids). Such a
/// relation is the view, is watched, is read by the view through other views, functions, policies or
/// generated columns, is a child of such a relation, or its row type is used there. The result may contain
/// more projections than these. It is allocated in the current memory context.
Affected projections_over(List* relations, Snapshot snapshot);

/// Returns whether a relation is a child, at any level, of a watched relation.
bool is_below_watched(Oid relation, Snapshot snapshot);

/// Returns the oids of a relation's parents at all levels, in the current memory context.
List* ancestors_of(Oid relation, Snapshot snapshot);

/// Returns the oid in column `wanted` of an object's catalog row. `index` is the catalog's index on `own`,
/// the column with the object's oid. Returns InvalidOid if there is no such object.
Oid look_up(Oid catalog, Oid index, AttrNumber own, Oid object, AttrNumber wanted, Snapshot snapshot);

/// Returns whether another object, such as a column, a function or a type, depends on a relation's row type
/// or on the array type over it.
bool is_row_type_used(Oid relation, Snapshot snapshot);

/// Returns whether this is a schema for temporary objects. The current statement may have created it.
bool is_temporary_schema(Oid schema);

/// Finds the relation that a default, constraint, policy, rule, extended statistics object or trigger belongs
/// to. Returns false if objects of this catalog never belong to a relation. Otherwise returns true and sets
/// `relation`, to InvalidOid if this object belongs to none or is not found.
bool part_of_relation(Oid catalog, Oid object, Snapshot snapshot, Oid& relation);

}  // namespace rolecall::invalidation
