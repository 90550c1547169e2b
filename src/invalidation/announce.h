// What this transaction changes of definitions. Noted while its statements run, dropped with a subtransaction
// that is rolled back, and announced when it is about to commit or to be prepared: then, and not before, is
// anything locked or stamped. So a statement that is refused changes nothing for others, and who changes
// definitions in a long transaction costs others nothing until it ends.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "tcop/cmdtag.h"
}

namespace rolecall::invalidation {

/// Registers for the ends of transactions; called once, from _PG_init, while preloading.
void announce_init();

/// Called before each announcement, which a statement under way may be in the middle of.
extern void (*before_announcement)();

/// The statement of whose changes is told from now on.
void note_statement(CommandTag of);

/// Something bound to one relation changes; it counts where that relation is behind a projection.
void note_relation(Oid relation);

/// Rights on a relation are given to, or taken from, roles; that counts as note_relation() if one of all the
/// roles, or a member of one, owns what projections run.
void note_rights(Oid relation);
void note_grantee(Oid role);

/// A relation is created by this transaction: what happens to it is of no matter to others.
void note_created(Oid relation);

/// What a role may do changes; it counts in all databases, if the role or a member of it owns what
/// projections run.
void note_role(Oid role);

/// What is not shown to be bound to one relation changes: it counts for all of this database, or of all.
void note_database();
void note_all_databases();

/// A database is dropped: what is cached of it is of no use to one that gets its number.
void note_dropped_database(Oid database);

}  // namespace rolecall::invalidation
