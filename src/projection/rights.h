// Rights that are lost. A view whose owner may not read what is behind it any more returns an error, and so
// must its documents, cached or not. Event triggers are not told which objects rights were revoked on, and
// not at all of roles. What is granted on an object changes no document, because errors are not cached.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/nodes.h"
}

namespace rolecall::projection {

/// For the utility hook, before and after each statement: raise the floors of the projections it concerns.
void rights_will_change(const Node* statement);
void rights_have_changed(const Node* statement);

}  // namespace rolecall::projection
