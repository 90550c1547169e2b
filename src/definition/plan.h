// Kept plans of queries of an application's relations. A plan that is made anew looks its relations up by
// name; these refuse to find others there, before anything of them is evaluated with somebody else's rights.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "executor/spi.h"
}

namespace rolecall::projection {

struct Plan {
    SPIPlanPtr saved;
    NameData projection;  // for messages
    List* relations;      // Oids: every column of the query is one of these relations'
    Oid owner;            // of all of them, as whom the query is to run
    int parameters;
    Oid types[2];
};

/// Registers for the end of transactions; called once, from _PG_init.
void plan_init();

/// A plan that lives to the end of the transaction, or longer if keep_plan() says so: what fails half-way
/// leaves none behind. Call it inside SPI, acting as it will be run. `cursor_options` as in
/// SPI_prepare_cursor().
Plan* make_plan(const NameData& projection, Oid owner, const List* relations, const char* query,
                std::span<const Oid> types, int cursor_options = 0);

/// The same for a query of one relation.
Plan* make_plan(const NameData& projection, Oid relation, const char* query, std::span<const Oid> types,
                int cursor_options = 0);

/// Lets a plan live until it is retired.
void keep_plan(Plan* plan);

/// Frees a plan at the end of the transaction: it may be running further up the stack. nullptr: nothing.
void retire_plan(Plan* plan);

/// Runs it inside SPI; `values` and `nulls` have one element for each parameter. At most `most` rows, 0: all.
/// Raises object_not_in_prerequisite_state where another relation has the name now.
void run_plan(const Plan& plan, const Datum* values, const bool* nulls, bool read_only, long most);

/// Opens a cursor over it instead, likewise, which reads under the active snapshot.
Portal open_plan(const Plan& plan, const Datum* values);

/// The rewritten queries of a plan, and the relations they name.
List* plan_queries(const Plan& plan);
List* plan_relations(const Plan& plan);

/// The relations that it reads as it is planned: where functions were put in place, theirs too. Call it
/// inside SPI, acting as it will be run: planning evaluates calls of immutable functions of constants.
List* planned_relations(const Plan& plan);

/// The schema-qualified name of a relation, quoted.
const char* qualified_name(Oid relation);

/// The owner of a relation; InvalidOid: there is no such relation.
Oid owner_of(Oid relation);

}  // namespace rolecall::projection
