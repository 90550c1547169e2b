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
    const char* refused = nullptr;  // the first of them that no declaration of an owner covers
    const char* unknown = nullptr;  // a node of which it is not known what it runs
    List* functions = NIL;          // of calls, operators, aggregates, casts, and what types run
    // With the rights of who runs the queries; what a function with SECURITY DEFINER runs is not here:
    List* as_caller = NIL;    // functions
    List* domains = NIL;      // whose constraints are evaluated
    List* policed = NIL;      // relations whose policies apply
    List* read_inside = NIL;  // relations that functions read which are written in SQL
    bool calls_sql = false;   // there are such functions: the planner may put their bodies in place
};

}  // namespace rolecall::projection
