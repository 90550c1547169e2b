// Which projections a relation is behind, by the catalogs alone: no relation of an application's is opened or
// locked, nothing is planned.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
#include "utils/snapshot.h"
}

namespace rolecall::invalidation {

struct Affected {
    bool all = false;         // of this database, known by name or not
    List* projections = NIL;  // of std::uint64_t *: their ids
};

/// The projections of this database whose views a relation of `relations` (oids) may decide about: it is the
/// view, is watched, is read by it through other views, functions, policies or generated columns, is a child
/// of what is, or is a type in it. A superset. In the current memory context.
Affected projections_over(List* relations, Snapshot snapshot);

/// Is a relation a child, on whatever level, of one that is watched?
bool is_below_watched(Oid relation, Snapshot snapshot);

/// The parents of a relation, on every level.
List* ancestors_of(Oid relation, Snapshot snapshot);

/// A column, an oid, of an object's row in a catalog, by the index of the column that has its own oid;
/// InvalidOid: there is no such object.
Oid look_up(Oid catalog, Oid index, AttrNumber own, Oid object, AttrNumber wanted, Snapshot snapshot);

/// Has something else the row type of a relation, or the array of it: a column, an argument, another type?
bool is_row_type_used(Oid relation, Snapshot snapshot);

/// Is this the schema of a session's temporary objects? One that this statement creates too.
bool is_temporary_schema(Oid schema);

/// The relation that an object is a part of: a default, constraint, trigger, policy, rule or statistics.
/// False: objects of this catalog are parts of none. `relation` is InvalidOid where this object is part of
/// none.
bool part_of_relation(Oid catalog, Oid object, Snapshot snapshot, Oid& relation);

}  // namespace rolecall::invalidation
