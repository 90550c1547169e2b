// A pass: loads all documents of a projection with one query of its view, in the order of keys, instead of
// one query for each. It is cut into steps, each a transaction with a snapshot of its own, so that nobody
// has to wait for it for long, vacuum included.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace rolecall::projection {

/// How far a pass has come.
struct FullLoad {
    NameData projection;
    std::uint64_t id;       ///< of the projection; another one of that name is not loaded
    MemoryContext context;  ///< where it keeps the last key
    bool has_last;          ///< false: nothing was read yet
    Datum last_key;
    double expected;                 ///< documents, as the planner estimates
    std::uint64_t read;              ///< documents ...
    std::uint64_t loaded;            ///< ... of which so many are cached now
    std::uint64_t failed;            ///< the view raised an error
    std::uint64_t refused_in_a_row;  ///< the last so many found no room
};

enum class Step {
    go_on,      ///< there is more
    wait,       ///< definitions are being changed, or who changed them has not finished: later
    done,       ///< every key was read
    full,       ///< what is left would push out what is cached
    unwatched,  ///< documents of this projection are not cached
    gone,       ///< the projection was dropped
    stopped,    ///< by `report`
    outdated,   ///< only a process that begins now may install what functions return (definition/compiled.h)
};

/// Goes on with a pass for two seconds, or ten times as long as its query takes to begin. Under the active
/// snapshot, in a READ COMMITTED transaction that does nothing else. Calls `report` after every few hundred
/// documents; false stops the pass. Raises what the view raises, and cardinality_violation where a key has
/// several rows.
Step load_step(FullLoad& pass, bool (*report)(const FullLoad&));

/// For when the view raised an error: the next keys, few enough to be loaded one by one with load_key(), in
/// the current memory context. Raises what the view raises even so.
std::span<const Datum> next_keys(const FullLoad& pass);

/// Loads one of them, as a session does, and remembers that it was read whatever comes of it.
void load_key(FullLoad& pass, Datum key);

/// A key for people to read, in the current memory context.
const char* key_as_text(const FullLoad& pass, Datum key);

/// Why Step::unwatched: a phrase.
const char* why_unwatched(const FullLoad& pass);

}  // namespace rolecall::projection
