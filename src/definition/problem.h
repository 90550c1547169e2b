// Reasons why the documents of a projection cannot be cached, or why its view must not be run.
// check_projections() shows them.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "nodes/pg_list.h"
}

namespace rolecall::projection {

struct Problem {
    Oid relation;  // or InvalidOid
    bool lasting;  // a watch would not help
    const char* text;
    const char* repair;  // a statement or a sentence, or nullptr
};

struct Verdict {
    List* problems;      // of Problem *, in the current memory context; NIL: everything is in place
    const char* unsafe;  // why the view must not even be run (also in `problems`); nullptr: it may be run
};

/// Adds a problem to a list of them, in the current memory context.
inline void add_problem(List** problems, const Problem& problem) {
    auto* copy = static_cast<Problem*>(palloc(sizeof(Problem)));
    *copy = problem;
    *problems = lappend(*problems, copy);
}

}  // namespace rolecall::projection
