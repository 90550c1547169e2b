// What a view may use if its result is to be the same for everybody until a row behind it changes.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// Says what in these rewritten queries depends on more than the rows they read, or returns nullptr.
/// `may_ask_time`: the result carries the time in which it holds, so that now() is allowed. Settings that
/// change a result are pinned (pg/acting.h) and do not count.
const char* inexactness(List* queries, bool may_ask_time);

}  // namespace rolecall::projection
