// The code that the queries behind a projection execute.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

/// What some queries execute. The lists hold Oids; lists and texts are in the current memory context.
struct Execution {
    const char* inexact = nullptr;  // the first construct that depends on more than rows, or nullptr
    const char* refused = nullptr;  // the first such one that no declared volatility covers
    const char* unknown = nullptr;  // the first construct for which it is unknown what it runs, or nullptr
    List* functions = NIL;          // functions of calls, operators, aggregates, casts and types
    // The following run with the rights of the role that runs the queries. What a SECURITY DEFINER function
    // runs is not included.
    List* as_caller = NIL;    // functions
    List* domains = NIL;      // domains whose constraints are evaluated
    List* policed = NIL;      // relations whose policies apply
    List* read_inside = NIL;  // relations that functions written in SQL read
    bool calls_sql = false;   // there are functions written in SQL, which the planner may inline
};

}  // namespace rolecall::projection
