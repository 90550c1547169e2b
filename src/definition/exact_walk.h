// What the walk over a projection's queries is made of: exactness.cpp looks at nodes, exact_functions.cpp at
// functions, exact_bodies.cpp into them, exact_types.cpp at types. Each says what is allowed, and notes what
// is not.
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
    List** bodies;  // those that were looked at, by this walk and those around it
    bool may_ask_time;
    bool is_inside = false;   // a function's body: that it is immutable its owner has declared
    bool as_definer = false;  // ... of one that runs as its owner, or is called by such a one

    List* met = NIL;       // types of which it is known whose they are
    List* made = NIL;      // types of which values are made
    List* written = NIL;   // types that are turned into text or json, or compared
    List* read = NIL;      // types that are made of text or json
    List* families = NIL;  // of operators, all of whose functions may run
    // Records say nothing of their columns. These are some expression's value, or a function's; so where a
    // record is met, all of them are.
    bool has_records = false;
    List* columns = NIL;                   // types of what may be a column of a record
    const char* unknown_record = nullptr;  // a function whose columns are not known
    bool makes_records = false;            // a function may make records like those that it is given
};

/// Notes why the result is not exact, where nothing was noted yet.
void note(ExactWalk& walk, const char* text);

/// The same for what counts inside a function too, whatever that is declared to be.
void refuse(ExactWalk& walk, const char* text);

/// Notes that nobody knows what runs there.
void refuse_unknown(ExactWalk& walk, const char* name);

/// For expression_tree_walker() and its kin: `context` is a ExactWalk. Never ends early: whose code runs must
/// be known of everything.
bool visit(Node* node, void* context);

/// What is only known when all was visited.
void finish(ExactWalk& walk);

// ---- Functions

/// A function runs, by whatever way: the one place where that is looked at. `types` are those of its
/// arguments, as far as they are known.
void run_function(ExactWalk& walk, Oid function, List* types = NIL);

/// The same for what an aggregate or window function consists of, and for an operator's function with those
/// that the planner may use instead of it, or with it.
void run_aggregate(ExactWalk& walk, Oid aggregate, List* types);
void run_operator(ExactWalk& walk, Oid number, List* types = NIL);

/// Looks into a function of the application's: at the types in its signature, and at its body where it is
/// written in SQL.
void look_inside(ExactWalk& walk, Oid function, const List* types);

/// The functions of an operator family run, those for support and those of operators, as an index, a
/// partition key, a sort, a hash table or the planner may run them. `in_index`: an index or a partition key
/// is of it.
void run_family(ExactWalk& walk, Oid family, bool in_index);

/// Notes that a built-in function runs what its arguments name, if it does.
void refuse_named_code(ExactWalk& walk, Oid function);

/// The types of expressions.
List* types_of(const List* expressions);

/// Arguments of these types go to a function: what is polymorphic there may be turned into text, or compared.
void pass_types(ExactWalk& walk, Oid function, const List* types);

bool is_polymorphic(Oid function);

/// A call of a function, with its arguments: defaults are put in and visited.
void visit_call(ExactWalk& walk, Node* call, Oid function, List* arguments, Oid result);

/// Is it one whose result is known to depend on its arguments only, types apart?
bool is_exact(Oid function, bool may_ask_time);

// ---- Types

/// Values of a type are there, or may be: it is nobody's temporary one, nor has it parts of such.
void meet_type(ExactWalk& walk, Oid type);

/// Values of a type are made, from values of its parts.
void make_type(ExactWalk& walk, Oid type);

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
