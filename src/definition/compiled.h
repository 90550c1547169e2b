// Functions that this process may have compiled. A language keeps the result of compiling a function's text
// for as long as the process lives: PL/pgSQL, for example, keeps the types of variables and the meaning of an
// ambiguous name. The result is not dropped when a name or a type gets another meaning. So functions may
// return something else here than in a session that begins now, and other sessions must see only what such a
// new session would return.
#pragma once

#include "pg/pg.h"

namespace rolecall::projection {

/// Registers callbacks for the beginning of sessions and for calls of functions. Called once, from _PG_init,
/// while preloading.
void compiled_init();

/// Declares that this process has compiled nothing yet. A process of the extension that is not a client's
/// session calls this in a transaction, before it calls any function of an application. Without this call it
/// is unknown what the process has compiled.
void compiled_nothing_yet();

/// Returns whether something was compiled here, or may have been, before the last change of definitions.
/// Another process, which begins now, would not have compiled it by then.
bool compiled_before_changes();

/// Returns the number of calls so far of functions that may have been compiled here in one of two ways: the
/// functions were called under different search_paths, or under different settings of their language. A load
/// compares this number with the number from before the view was run.
std::uint64_t ambiguous_calls();

/// Returns whether the results of functions with a text, since ambiguous_calls() returned
/// `ambiguous_calls_before`, may differ from the results in another process. If so, other sessions must not
/// see them. Call it under a snapshot that was taken before.
bool compiled_differs(std::uint64_t ambiguous_calls_before);

/// Returns a reason for users why results may differ, or nullptr if they need not. `did`: they differed the
/// last time.
const char* why_compiled_differs(bool did);

}  // namespace rolecall::projection
