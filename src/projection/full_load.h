// A full load: loads all documents of a projection with one query of its view, ordered by key, instead of one
// query for each document. It is divided into steps. Each is a transaction with a snapshot of its own, so
// that nothing, including vacuum, has to wait long for a full load.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::projection {

/// The progress of a full load.
struct FullLoad {
    NameData projection;
    std::uint64_t id;       ///< of the projection; a new one with the same name is not loaded
    MemoryContext context;  ///< holds the last key
    bool has_last;          ///< false: no key was read yet
    Datum last_key;
    double expected;                 ///< documents, estimated by the planner
    std::uint64_t read;              ///< documents read ...
    std::uint64_t loaded;            ///< ... and those of them that were cached
    std::uint64_t failed;            ///< documents for which the view raised an error
    std::uint64_t refused_in_a_row;  ///< the latest documents in a row that found no room
};

enum class Step {
    go_on,      ///< there are more documents
    wait,       ///< try later: definitions are being changed, or a transaction that changed them still runs
    done,       ///< every key was read
    full,       ///< the rest would evict documents that are cached
    unwatched,  ///< documents of this projection are not cached
    gone,       ///< the projection was dropped
    stopped,    ///< by `report`
    outdated,   ///< only a process that begins now may install what functions return (definition/compiled.h)
};

/// Runs a step of a full load. A step takes two seconds, or ten times as long as its query takes to start, if
/// that is longer. It runs under the active snapshot, in a READ COMMITTED transaction that does nothing else.
/// Calls `report` after every few hundred documents; if it returns false, the step ends with `stopped`.
/// Raises the errors of the view, and cardinality_violation if a key has several rows.
Step load_step(FullLoad& progress, bool (*report)(const FullLoad&));

/// Returns the next keys, few enough to be loaded one by one with load_key(), in the current memory context.
/// For use after the view has raised an error. Raises the error again if the view raises it for the keys
/// alone.
std::span<const Datum> next_keys(const FullLoad& progress);

/// Loads the document of one of these keys, as a session does. The key counts as read even if this raises an
/// error.
void load_key(FullLoad& progress, Datum key);

/// Returns a key as text for messages, in the current memory context.
const char* key_as_text(const FullLoad& progress, Datum key);

/// Returns a phrase that says why the step returned `unwatched`.
const char* why_unwatched(const FullLoad& progress);

}  // namespace rolecall::projection
