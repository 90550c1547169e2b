// The definition of a projection: its row in rolecall.projections, the relations behind its view, and whether
// their watches are in place. Each backend keeps definitions, and reads one again after an invalidation
// message has reported a change of something that it was read from.
#pragma once

#include "pg/pg.h"

#include "core/stamps.h"
#include "definition/key_kinds.h"
#include "definition/plan.h"

namespace rolecall::projection {

struct Definition {
    NameData name;
    bool fresh;               // false: this backend knows of a change of something it was read from
    bool quiet;               // when it was read, no change of definitions was about to be committed
    std::uint64_t read_at;    // sum of the versions of its floors, from before it was read
    std::uint64_t usable_at;  // read_at if documents may be used at these versions; else never
    std::uint64_t id;         // random, never reused; 0: not yet read
    Oid view;
    KeyKind key_kind;
    NameData key_column;
    NameData doc_column;
    Plan* plan;                // of the view; $1 is the key; one row: document, valid_from, valid_until
    List* group_sources;       // of GroupSource * (groups.h)
    List* group_plans;         // of Plan *, for these sources
    Plan* email_plan;          // for me_by_email(), made at its first use
    int counters;              // index of its counters
    const core::Stamp* floor;  // the projection's own; all projections share the database's (shared.h)
    std::int64_t ttl;          // microseconds; 0: no TTL, documents are exact
    List* problems;         // of Problem * (problem.h): why exact documents cannot be cached; NIL: they can
    const char* unsafe;     // why the view must not be run; nullptr: it may be run
    bool runs_text;         // the view runs functions with a text (text_functions.h)
    bool differs_here;      // this session has temporary objects, which these functions may find
    bool differs_by_calls;  // their last results here may differ from those elsewhere (compiled.h)
    bool detaching;         // a partition behind the view is being detached: plans are not kept
    int written;            // index in `relations` of a relation that this backend has written
    int relation_count;
    Oid* relations;  // behind the view, with partitions and children; the extension's tables
    List* named;     // Oids of the relations that the view's queries name; running the view locks them
    MemoryContext context;
    Definition* next;
};

/// Registers for invalidation messages. Called once, from _PG_init.
void definition_init();

/// Returns the definition with this name as this backend last saw it, fresh or not. This is enough to look
/// for a cached document, because no usable document of a dropped definition is left. Reads the definition
/// the first time. The result lives as long as the backend. Raises undefined_object if there is no such
/// projection.
Definition& definition_seen(const char* name);

/// Returns the definition of "me" in the same way, without a search by name.
Definition& me_definition_first_seen();
namespace detail {
extern Definition* me;
}
inline Definition& me_definition_seen() {
    return detail::me != nullptr ? *detail::me : me_definition_first_seen();
}

/// Marks every definition as not fresh, because this transaction changes, or has changed, what definitions
/// are read from.
void definitions_expire();

/// Makes the definition fresh: reads its row, plans the load query and checks every watch. Returns false if
/// the definition changes faster than it can be read; then nothing may be installed under it. With
/// `to_install`, the definition must also have been read while definitions were quiet, and a caller that is
/// about to install must have accepted invalidation messages before. Raises the same errors as
/// definition_seen().
bool definition_refresh(Definition& definition, bool to_install = false);

/// The same for a caller that already has a key. Raises datatype_mismatch if the keys are now of another
/// type.
bool definition_refresh_same_key(Definition& definition, bool to_install = false);

/// Refreshes the definition for a caller that has found no document to use. Returns true if the caller should
/// look again, and false if there was nothing to refresh or documents must not be used.
bool definition_becomes_usable(Definition& definition);

/// Raises datatype_mismatch for a key of type `given`, which is not the key type of this projection.
[[noreturn]] void complain_of_key_type(const Definition& definition, Oid given);

}  // namespace rolecall::projection
