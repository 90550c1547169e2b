// How SQL may call a C function of ours. Whoever may create C functions can declare each symbol in any way:
// with other arguments, another result, not strict. ROLECALL_FUNCTION says what its body relies on, and a
// call of any other kind is an error before the body runs. What is not part of a declaration is checked here
// too: the columns of rows, and what trigger functions are called by (pg/trigger.h). PG_FUNCTION_INFO_V1 is
// used here only.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// What a function's body relies on. Made by the functions below.
struct Declaration {
    static constexpr int most_arguments = 7;

    Oid result;  // RECORDOID: a row, whose columns result_row() or result_set() checks
    bool is_set;
    bool takes_nulls;
    int count;
    Oid arguments[most_arguments];  // ANYARRAYOID: an array of whatever the body looks at
};

/// A function whose arguments are not NULL, whether or not it was declared STRICT: NULL is an error.
template <typename... Types>
constexpr Declaration takes(Oid result, Types... arguments) {
    return {result, false, false, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// The same for a body that looks whether its arguments are NULL.
template <typename... Types>
constexpr Declaration takes_null(Oid result, Types... arguments) {
    return {result, false, true, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// A function that returns a set of rows.
template <typename... Types>
constexpr Declaration gives_rows(Types... arguments) {
    return {RECORDOID, true, false, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// Raises invalid_function_definition unless the function is declared like that. Looks into the catalog.
void check_declaration(FunctionCallInfo fcinfo, const Declaration& declaration);

/// Raises invalid_function_definition for another number of arguments, null_value_not_allowed for a NULL.
[[noreturn]] void refuse_arguments(FunctionCallInfo fcinfo, const Declaration& declaration);

/// `known`: the function of SQL that was checked last. Its types cannot change; whether it is strict can.
inline void check_call(FunctionCallInfo fcinfo, const Declaration& declaration, Oid& known) {
    bool fits = fcinfo->nargs == declaration.count;
    if (!declaration.takes_nulls)
        for (int i = 0; fits && i < declaration.count; ++i)
            fits = !fcinfo->args[i].isnull;
    if (!fits) [[unlikely]]
        refuse_arguments(fcinfo, declaration);
    if (fcinfo->flinfo->fn_oid != known) [[unlikely]] {
        check_declaration(fcinfo, declaration);
        known = fcinfo->flinfo->fn_oid;
    }
}

/// The row type that this call is to return; raises datatype_mismatch unless it has these columns.
TupleDesc result_row(FunctionCallInfo fcinfo, std::span<const Oid> columns);

template <typename... Types>
TupleDesc result_row(FunctionCallInfo fcinfo, Types... columns) {
    const Oid types[] = {static_cast<Oid>(columns)...};
    return result_row(fcinfo, std::span<const Oid>(types));
}

/// The set of rows that this call is to fill (setResult, setDesc), checked likewise.
const ReturnSetInfo& result_set(FunctionCallInfo fcinfo, std::span<const Oid> columns);

template <typename... Types>
const ReturnSetInfo& result_set(FunctionCallInfo fcinfo, Types... columns) {
    const Oid types[] = {static_cast<Oid>(columns)...};
    return result_set(fcinfo, std::span<const Oid>(types));
}

}  // namespace rolecall::pg

/// Defines a function that SQL can call; its body follows. `declaration` is a pg::Declaration.
#define ROLECALL_FUNCTION(name, ...)                                           \
    PG_FUNCTION_INFO_V1(name);                                                 \
    static Datum name##_body(FunctionCallInfo fcinfo);                         \
    Datum name(PG_FUNCTION_ARGS) {                                             \
        static constexpr ::rolecall::pg::Declaration declaration{__VA_ARGS__}; \
        static Oid known = InvalidOid;                                         \
        ::rolecall::pg::check_call(fcinfo, declaration, known);                \
        return name##_body(fcinfo);                                            \
    }                                                                          \
    static Datum name##_body([[maybe_unused]] FunctionCallInfo fcinfo)
