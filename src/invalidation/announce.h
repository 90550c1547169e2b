// Changes of definitions by this transaction. They are noted while the transaction's statements run. Notes of
// a subtransaction that is rolled back are dropped. The rest is announced when the transaction is about to
// commit or to be prepared. Nothing is locked or stamped before the announcement. So a statement that fails
// changes nothing for other sessions, and a long transaction that changes definitions does not affect other
// sessions until it ends.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "tcop/cmdtag.h"
}

namespace rolecall::invalidation {

/// Registers callbacks for the end of transactions. _PG_init calls it once, while preloading.
void announce_init();

/// Called before each announcement, because a statement that is still running may commit the transaction.
extern void (*before_announcement)();

/// Sets the command tag to which the announcement attributes the transaction's changes.
void note_statement(CommandTag of);

/// Notes a change of one relation or of an object that belongs to it. It affects the projections that depend
/// on the relation.
void note_relation(Oid relation);

/// note_rights() notes that privileges on a relation are granted to, or revoked from, roles; note_grantee()
/// notes one of these roles. A relation so noted counts like one of note_relation() if any of the noted
/// grantees, or a member of one, owns a relation or a function.
void note_rights(Oid relation);
void note_grantee(Oid role);

/// Notes that this transaction creates a relation. Its later changes to the relation do not affect other
/// sessions, so note_relation() and note_rights() ignore them.
void note_created(Oid relation);

/// Notes that the privileges of a role change. This affects all databases if the role, or a member of it,
/// owns a relation or a function.
void note_role(Oid role);

/// Note a change that cannot be attributed to one relation. It affects every projection of this database, or
/// of all databases.
void note_database();
void note_all_databases();

/// Notes that a database is dropped. A new database with the same oid must not use its cached documents.
void note_dropped_database(Oid database);

}  // namespace rolecall::invalidation
