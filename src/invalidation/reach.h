// The reach of a statement's changes of definitions. There are lists of statements and objects that are
// harmless, and of those that belong to one relation. Everything else reaches the whole database.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace rolecall::invalidation {

enum class Reach {
    nothing,        ///< it changes no definition that a projection may depend on
    relation,       ///< one relation, which the statement or the object access hook names
    roles,          ///< the privileges of roles, in all databases (rights.h)
    database,       ///< any definition in this database
    all_databases,  ///< any definition in any database
};

/// Returns the reach of a statement. Statements that run inside it are not included; each is examined itself.
Reach reach_of(const Node* statement);

/// Returns the farthest reach that a statement with this tag can have.
Reach reach_of_tag(NodeTag tag);

/// Returns the relations that a statement of Reach::relation names, apart from those that it creates or
/// drops. The list is of RangeVar *, which belong to the statement.
List* relations_named_by(const Node* statement);

/// Returns the reach of a change of an object of this catalog. Objects that are parts of a relation are
/// handled by part_of_relation() (closure.h).
Reach reach_of_catalog(Oid catalog);

}  // namespace rolecall::invalidation
