// Running the queries of a projection's view, as the view's owner: the one way to do it, and what must be
// known of the view before.
#pragma once

#include "pg/pg.h"

#include "definition/definition.h"
#include "pg/security_context.h"

namespace rolecall::projection {

/// definition_refresh() for who is about to run the view: what its queries name is locked first, to the end
/// of the transaction, so that the verdict holds for what is run.
bool definition_ready(Definition& definition, bool to_install = false);

/// The same for who holds a key already: raises as definition_refresh_same_key().
bool definition_ready_same_key(Definition& definition, bool to_install = false);

/// Becomes the view's owner. Raises insufficient_privilege where running the view would run code of roles
/// that have not the owner's rights. The definition must be ready.
pg::SecurityContext act_as_view_owner(const Definition& definition);

/// Raises insufficient_privilege likewise.
void refuse_unsafe(const Definition& definition);

/// The same for another query of the view: it may convert or compare a column in a way of its own.
void refuse_unsafe(const Definition& definition, const Plan& plan);

}  // namespace rolecall::projection
