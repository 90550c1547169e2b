// What a projection is: its row in rolecall.projections, the relations behind its view, and whether their
// watches are in place. Kept per backend, dropped when an invalidation message says that something changed.
#pragma once

#include "pg/pg.h"

#include "core/stamps.h"
#include "definition/key_kinds.h"
#include "definition/plan.h"

namespace rolecall::projection {

struct Definition {
    NameData name;
    bool fresh;               // false: something it was read from has changed here
    bool quiet;               // no change of definitions was about to be committed when it was read
    std::uint64_t read_at;    // the versions of its floors, added up, from before it was read
    std::uint64_t usable_at;  // the same where documents may be used while they are so; else never
    std::uint64_t id;         // random, never reused; 0 before it was read
    Oid view;
    KeyKind key_kind;
    NameData key_column;
    NameData doc_column;
    Plan* plan;                // of the view: $1 is the key; one row: document, valid_from, valid_until
    List* group_sources;       // of GroupSource *, groups.h
    List* group_plans;         // of Plan *, of these sources
    Plan* email_plan;          // me_by_email()'s, made when it is asked for
    int counters;              // its place among the counters
    const core::Stamp* floor;  // its floor; the database's is the same for all (shared.h)
    std::int64_t ttl;          // microseconds; 0: none, documents are exact
    List* problems;            // of Problem * (check.h): why exact documents cannot be cached; NIL: they can
    const char* unsafe;        // why the view must not be run; nullptr: it may be
    bool runs_text;            // functions that are read when they run (text_functions.h)
    bool differs_here;         // this session has temporary objects, which those may find
    bool differs_by_calls;     // so did what they returned here the last time (compiled.h)
    bool detaching;            // a partition behind the view is being detached: plans are not kept
    int written;               // the place among its relations of one that this backend has written
    int relation_count;
    Oid* relations;  // behind the view, partitions and children included, and the extension's own tables
    List* named;     // Oids of those that the view's queries name: what running it locks
    MemoryContext context;
    Definition* next;
};

/// Registers for invalidation messages; called once, from _PG_init.
void definition_init();

/// The definition by name as this backend last saw it, fresh or not: enough to look for a cached document,
/// because a definition that is gone left no usable one behind. Reads it the first time; raises
/// undefined_object where there is no such projection. Lives as long as the backend.
Definition& definition_seen(const char* name);

/// The same for "me", without a search.
Definition& me_definition_first_seen();
namespace detail {
extern Definition* me;
}
inline Definition& me_definition_seen() {
    return detail::me != nullptr ? *detail::me : me_definition_first_seen();
}

/// No definition is fresh any more: this transaction changes, or has changed, what they are read from.
void definitions_expire();

/// Makes it fresh: reads the row, plans the load query, checks every watch; raises as definition_seen().
/// False: it changes faster than it can be read, and nothing may be installed under it. `to_install`: it must
/// have been read while definitions were quiet, too; who is about to install must have accepted invalidation
/// messages before.
bool definition_refresh(Definition& definition, bool to_install = false);

/// The same for who holds a key already: raises datatype_mismatch where the keys are of another type now.
bool definition_refresh_same_key(Definition& definition, bool to_install = false);

/// Refreshes it for who has found no document to use. False: there was nothing to refresh, or documents must
/// not be used; true: look again.
bool definition_becomes_usable(Definition& definition);

/// Raises datatype_mismatch: a key of type `given` is none of this projection's.
[[noreturn]] void complain_of_key_type(const Definition& definition, Oid given);

}  // namespace rolecall::projection
