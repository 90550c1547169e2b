// The walk over a projection's queries. exactness.cpp handles nodes, exact_functions.cpp functions,
// exact_bodies.cpp the bodies of functions, and exact_types.cpp types. Each file lists what is allowed and
// notes everything else.
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
    List** bodies;  // bodies already visited, by this walk or by a walk that contains it
    bool may_ask_time;
    bool is_inside = false;   // in a function's body; the function's owner has declared the volatility
    bool as_definer = false;  // in the body of a SECURITY DEFINER function, or called from one

    List* met = NIL;       // types checked by meet_type()
    List* made = NIL;      // types whose values are made
    List* written = NIL;   // types whose values are turned into text or json, or compared
    List* read = NIL;      // types whose values are made from text or json
    List* families = NIL;  // operator families; all their functions may run
    // The type record does not say which columns a record has. Every record is the value of some expression
    // or the result of some function, so a record may have any of the columns collected here.
    bool has_records = false;
    List* columns = NIL;                   // types of values that may be a column of a record
    const char* unknown_record = nullptr;  // a function whose result columns are unknown
    bool makes_records = false;            // a function may return records like its arguments
};

/// Notes why the result is not exact. Only the first reason is kept.
void note(ExactWalk& walk, const char* text);

/// The same for a reason that also counts inside a function, whatever volatility the function is declared
/// with.
void refuse(ExactWalk& walk, const char* text);

/// Notes that it is unknown what code the construct `name` runs.
void refuse_unknown(ExactWalk& walk, const char* name);

/// A callback for expression_tree_walker() and similar functions; `context` is an ExactWalk. Always returns
/// false, so that the walk never ends early: the code that runs must be known for every node.
bool visit(Node* node, void* context);

/// Notes what is known only after all nodes were visited.
void finish(ExactWalk& walk);

// ---- Functions

/// Handles a function that runs, in whatever way it is called: all such checks are made here. `types` are the
/// types of its arguments, as far as they are known.
void run_function(ExactWalk& walk, Oid function, List* types = NIL);

/// The same for the functions that an aggregate or window function consists of, and for an operator's
/// function together with the functions that the planner may use instead of it or in addition to it.
void run_aggregate(ExactWalk& walk, Oid aggregate, List* types);
void run_operator(ExactWalk& walk, Oid number, List* types = NIL);

/// Visits a function of an application: the types in its signature, and its body if it is written in SQL.
void look_inside(ExactWalk& walk, Oid function, const List* types);

/// Handles an operator family whose functions run: both its support functions and the functions of its
/// operators, as an index, a partition key, a sort, a hash table or the planner may run them. `in_index`: an
/// index or a partition key uses the family.
void run_family(ExactWalk& walk, Oid family, bool in_index);

/// Notes that a built-in function runs code that its arguments name, if it does.
void refuse_named_code(ExactWalk& walk, Oid function);

/// Returns the types of expressions, in the current memory context.
List* types_of(const List* expressions);

/// Handles arguments of these types that are passed to a function. The function may turn an argument whose
/// declared type is polymorphic into text, or compare it.
void pass_types(ExactWalk& walk, Oid function, const List* types);

bool is_polymorphic(Oid function);

/// Handles a call of a function with its arguments. Default arguments are added, and all arguments are
/// visited.
void visit_call(ExactWalk& walk, Node* call, Oid function, List* arguments, Oid result);

/// Returns whether a name is in a list that is in alphabetical order.
bool is_among(std::span<const char* const> names, const char* name);

/// Returns whether the result of the function is known to depend only on its arguments, and on the time if
/// `may_ask_time`. What the types of its arguments run is not considered.
bool is_exact(Oid function, bool may_ask_time);

// ---- Types

/// Handles a type whose values are present or may be. Refuses the type if it, or a type that it consists of,
/// is temporary in any session.
void meet_type(ExactWalk& walk, Oid type);

/// Handles a type whose values are made from values of its parts.
void make_type(ExactWalk& walk, Oid type);

/// Handles a type whose values are turned into text or json, or compared, by functions that look the type up.
void write_type(ExactWalk& walk, Oid type);

/// Handles a type whose values are made from text or json, by functions that look the type up.
void read_type(ExactWalk& walk, Oid type);

/// Handles a domain whose constraints values are checked against.
void check_domain(ExactWalk& walk, Oid domain);

/// Handles a range type whose values are made, which runs the functions of the type.
void run_range(ExactWalk& walk, Oid type);

/// Adds the types of a row's columns to walk.columns.
void add_columns(ExactWalk& walk, TupleDesc columns);

}  // namespace rolecall::projection
