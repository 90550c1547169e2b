// What the queries behind a projection execute.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// What some queries execute. Lists of Oids, and texts, in the current memory context.
struct Execution {
    const char* inexact = nullptr;  // the first thing that depends on more than rows; nullptr: nothing
    const char* unknown = nullptr;  // a node of which it is not known what it runs
    List* functions = NIL;          // of calls, operators, aggregates, casts, and what types run
    List* domains = NIL;            // whose constraints are evaluated
    List* made = NIL;               // types of which functions may make values: what reading one runs, runs
    List* families = NIL;           // of operators, that were looked at
    List* policed = NIL;            // relations whose policies apply
    List* read_inside = NIL;        // relations that functions read which are written in SQL
    bool calls_sql = false;         // there are such functions: the planner may put their bodies in place
};

}  // namespace rolecall::projection
