// Kept plans of queries of an application's relations. A plan that is made anew looks its relations up by
// name. These plans raise an error if a name now finds another relation, before anything of that relation is
// evaluated with the rights of a role other than its owner.
#pragma once

#include "pg/pg.h"

extern "C" {
#include "executor/spi.h"
}

namespace rolecall::projection {

struct Plan {
    SPIPlanPtr saved;
    NameData projection;  // for messages
    List* relations;      // Oids; every column in the query belongs to one of these relations
    Oid owner;            // of all these relations; the query must run as this role
    int parameters;
    Oid types[2];
};

/// Registers for the end of transactions. Called once, from _PG_init.
void plan_init();

/// Returns a plan that lives until the end of the transaction, or longer if keep_plan() is called, so that a
/// failure leaves no plan behind. `cursor_options` are those of SPI_prepare_cursor(). Call it inside SPI, as
/// the role that will run the plan.
Plan* make_plan(const NameData& projection, Oid owner, const List* relations, const char* query,
                std::span<const Oid> types, int cursor_options = 0);

/// The same for a query of one relation. The query must run as the owner of this relation.
Plan* make_plan(const NameData& projection, Oid relation, const char* query, std::span<const Oid> types,
                int cursor_options = 0);

/// Makes a plan live until retire_plan() is called.
void keep_plan(Plan* plan);

/// Frees a plan at the end of the transaction, because the plan may be running further up the stack. Ignores
/// nullptr.
void retire_plan(Plan* plan);

/// Runs the plan. `values` and `nulls` have one element for each parameter; `most` is the largest number of
/// rows, or 0 for all. Call it inside SPI. Raises object_not_in_prerequisite_state if a name in the query now
/// means another relation.
void run_plan(const Plan& plan, const Datum* values, const bool* nulls, bool read_only, long most);

/// Opens a cursor over the plan, which reads under the active snapshot. Otherwise like run_plan().
Portal open_plan(const Plan& plan, const Datum* values);

/// Return the rewritten queries of a plan, and the relations that these name.
List* plan_queries(const Plan& plan);
List* plan_relations(const Plan& plan);

/// Returns the relations that the plan reads once it is planned, with the relations of functions that were
/// inlined. Call it inside SPI, as the role that will run the plan, because planning evaluates calls of
/// immutable functions with constant arguments.
List* planned_relations(const Plan& plan);

/// Returns the schema-qualified name of a relation, quoted. Raises undefined_table if there is no such
/// relation.
const char* qualified_name(Oid relation);

bool relation_exists(Oid relation);

/// Returns the owner of a relation, or InvalidOid if there is no such relation.
Oid owner_of(Oid relation);

}  // namespace rolecall::projection
