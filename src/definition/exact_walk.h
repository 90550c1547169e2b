// What the walk over a projection's queries is made of: exactness.cpp looks at nodes, exact_functions.cpp at
// functions, exact_types.cpp at types. Each says what is allowed, and notes what is not.
#pragma once

#include "pg/pg.h"

#include "definition/execution.h"

extern "C" {
#include "access/tupdesc.h"
#include "nodes/primnodes.h"
}

namespace rolecall::projection {

struct ExactWalk {
    Execution& found;
    List** bodies;  // functions whose bodies were looked at, of this walk and those around it
    bool may_ask_time;

    List* written = NIL;  // types that are turned into text or json, or compared
    List* read = NIL;     // types that are made of text or json
    // Records say nothing of their columns. These are some expression's value, or a function's; so where a
    // record is met, all of them are.
    bool has_records = false;
    List* columns = NIL;                   // types of what may be a column of a record
    const char* unknown_record = nullptr;  // a function whose columns are not known
    bool makes_records = false;            // a function may make records like those that it is given
};

/// Notes why the result is not exact, where nothing was noted yet.
void note(ExactWalk& walk, const char* text);

/// Notes that nobody knows what runs there.
void refuse_unknown(ExactWalk& walk, const char* name);

/// Adds what is known only when all of an expression, or all queries, have been visited.
void finish(ExactWalk& walk);

/// For expression_tree_walker() and its kin: `context` is a ExactWalk. Never ends early: whose code runs must
/// be known of everything.
bool visit(Node* node, void* context);

// ---- Functions

/// A function runs.
void run_function(ExactWalk& walk, Oid function);

/// The same for what an aggregate or window function consists of, and for an operator's function with those
/// that the planner may use instead of it, or with it.
void run_aggregate(ExactWalk& walk, Oid aggregate);
void run_operator(ExactWalk& walk, Oid number);

/// Arguments of these types go to a function: what is polymorphic there may be turned into text, or compared.
void pass_types(ExactWalk& walk, Oid function, const List* arguments);
void pass_arguments(ExactWalk& walk, Oid function, const List* arguments);

bool is_polymorphic(Oid function);

/// A call of a function, with its arguments: defaults are put in and visited.
void visit_call(ExactWalk& walk, Node* call, Oid function, List* arguments, Oid result, Oid collation);

/// Is it one whose result is known to depend on its arguments only, types apart?
bool is_exact(Oid function, bool may_ask_time);

// ---- What is not written where a function is called

/// Notes what a function may run that its name does not say: it may make values of the types that it is
/// declared with, or run what its arguments name.
void run_unseen(ExactWalk& walk, Oid function);

/// A polymorphic function is given, or returns, a value of a type.
void take_value(ExactWalk& walk, Oid function, Oid type);
void make_value(ExactWalk& walk, Oid function, Oid type);

/// The same for the result of a call, which may be a record.
void make_result(ExactWalk& walk, Node* call, Oid function, Oid result);

// ---- Types

/// Values of a type are turned into text or json, or compared, by functions that look the type up.
void write_type(ExactWalk& walk, Oid type);

/// Values of a type are made of text or json likewise.
void read_type(ExactWalk& walk, Oid type);

/// Values are checked against the constraints of a domain.
void check_domain(ExactWalk& walk, Oid domain);

/// Values of a range type are made: its functions run.
void run_range(ExactWalk& walk, Oid type);

/// Adds the types of a row's columns to walk.columns.
void add_columns(ExactWalk& walk, TupleDesc columns);

}  // namespace rolecall::projection
