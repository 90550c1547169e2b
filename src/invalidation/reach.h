// How far what a statement does to definitions may reach: by a list of what is harmless, and of what is bound
// to one relation. What is on no list counts for the whole database.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/parsenodes.h"
}

namespace rolecall::invalidation {

enum class Reach {
    nothing,        ///< no definition that a projection may depend on
    relation,       ///< what is bound to one relation; which, the statement or the server's hook says
    roles,          ///< what roles may do, in all databases (rights.h)
    database,       ///< anything in this database
    all_databases,  ///< anything in any
};

/// Of a statement; what statements that run inside it do is asked for each of them.
Reach reach_of(const Node* statement);

/// Of statements with this tag, as far as the tag alone says: the farthest of them.
Reach reach_of_tag(NodeTag tag);

/// The relations that a statement of Reach::relation names, beside those that it creates or drops: a list of
/// RangeVar *, parts of the statement.
List* relations_named_by(const Node* statement);

/// How far a change of an object of this catalog reaches, unless it is a part of a relation (closure.h).
Reach reach_of_catalog(Oid catalog);

}  // namespace rolecall::invalidation
