// Built-in functions that run code which their arguments name. It is not known which role owns this code.
#include "definition/exact_walk.h"

extern "C" {
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
}

namespace rolecall::projection {

namespace {

// These functions run a query that an argument contains or names, or the expressions, operators or
// constraints of an object that an argument names; in alphabetical order. All other functions run only their
// own code and that of their arguments' types.
constexpr const char* named_code[] = {
    "brin_summarize_new_values",
    "brin_summarize_range",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "gin_clean_pending_list",
    "pg_get_partition_constraintdef",
    "pg_input_error_info",
    "pg_input_is_valid",
    "pg_restore_attribute_stats",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "satisfies_hash_partition",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",  // the variant that takes the text of a query; the other is immutable
    "ts_stat",
};

// Returns whether this is an input function of arrays, records, domains or ranges. These take the OID of the
// type, which may belong to any role.
bool takes_text_of_a_type(Oid function, std::span<const Oid> types) {
    return std::find(types.begin(), types.end(), CSTRINGOID) != types.end() && !is_exact(function, false);
}

bool runs_what_is_named(Oid function, std::span<const Oid> types) {
    const char* name = get_func_name(function);
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
        return strcmp(name, "satisfies_hash_partition") == 0;
    return takes_text_of_a_type(function, types) || is_among(named_code, name);
}

}  // namespace

void refuse_named_code(ExactWalk& walk, Oid function) {
    Oid* types = nullptr;
    int count = 0;
    (void)get_func_signature(function, &types, &count);
    if (runs_what_is_named(function, {types, static_cast<std::size_t>(count)}))
        refuse_unknown(walk, psprintf("function %s", format_procedure(function)));
}

}  // namespace rolecall::projection
