// What this process may have compiled of functions. A language keeps, for as long as the process lives, what
// it has once made of a function's text: PL/pgSQL the types of variables and what an ambiguous name means.
// That is not dropped when a name or a type comes to mean something else. So what functions return here may
// differ from what they return in a session that begins now, and only that is what others are to see.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// Registers for the beginning of sessions and for calls of functions; called once, from _PG_init, while
/// preloading.
void compiled_init();

/// A process of ours that is no client's session begins, in a transaction, before it calls any function of an
/// application's. Where nobody says so of a process, what it has compiled is not known.
void compiled_nothing_yet();

/// Was something compiled here, or might it have been, before the last change of definitions? Another
/// process, which begins now, would not have.
bool compiled_before_changes();

/// How many calls there were of functions that may have been compiled here in one of two ways: under another
/// search_path than now, or other settings of their language. A load compares this with what it was before
/// the view was run.
std::uint64_t ambiguous_calls();

/// May what functions with a text have returned since then differ from what they return elsewhere? Then it
/// must not be shown to others. Asked under a snapshot taken before.
bool compiled_differs(std::uint64_t ambiguous_calls_before);

/// Why it does, for people; `did`: it did the last time. nullptr: it need not.
const char* why_compiled_differs(bool did);

}  // namespace rolecall::projection
