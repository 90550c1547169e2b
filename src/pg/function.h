// How SQL calls a C function of this library. A role that may create C functions can declare each symbol in
// any way: with other arguments, another result, or without STRICT. ROLECALL_FUNCTION states what a body
// relies on, and a call that does not match raises an error before the body runs. What is not part of a
// declaration is checked here too: the columns of result rows and, in pg/trigger.h, the events that call
// trigger functions. PG_FUNCTION_INFO_V1 is used in this file only.
#pragma once

#include "pg/pg.h"

namespace rolecall::pg {

/// What a function's body relies on. Use the functions below to make one.
struct Declaration {
    static constexpr int most_arguments = 7;

    Oid result;  // RECORDOID: a row, whose columns result_row() or result_set() checks
    bool is_set;
    bool takes_nulls;
    int count;
    Oid arguments[most_arguments];  // ANYARRAYOID: an array whose element type the body checks
};

/// A function whose arguments are never NULL. A NULL raises an error even if the function was not declared
/// STRICT.
template <typename... Types>
constexpr Declaration takes(Oid result, Types... arguments) {
    return {result, false, false, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// A function whose body checks for NULL arguments itself.
template <typename... Types>
constexpr Declaration takes_null(Oid result, Types... arguments) {
    return {result, false, true, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// A function that returns a set of rows.
template <typename... Types>
constexpr Declaration gives_rows(Types... arguments) {
    return {RECORDOID, true, false, sizeof...(arguments), {static_cast<Oid>(arguments)...}};
}

/// Raises invalid_function_definition unless the function is declared like that. Reads the catalog.
void check_declaration(FunctionCallInfo fcinfo, const Declaration& declaration);

/// Raises invalid_function_definition for a wrong number of arguments and null_value_not_allowed for a NULL.
[[noreturn]] void refuse_arguments(FunctionCallInfo fcinfo, const Declaration& declaration);

/// Checks a call. `known` is the SQL function that was checked last: its types cannot change, but its
/// strictness can.
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

/// Returns the row type that this call must return. Raises datatype_mismatch unless it has these columns.
TupleDesc result_row(FunctionCallInfo fcinfo, std::span<const Oid> columns);

template <typename... Types>
TupleDesc result_row(FunctionCallInfo fcinfo, Types... columns) {
    const Oid types[] = {static_cast<Oid>(columns)...};
    return result_row(fcinfo, std::span<const Oid>(types));
}

/// Returns the set of rows that this call must fill (setResult, setDesc). Its columns are checked in the same
/// way.
const ReturnSetInfo& result_set(FunctionCallInfo fcinfo, std::span<const Oid> columns);

template <typename... Types>
const ReturnSetInfo& result_set(FunctionCallInfo fcinfo, Types... columns) {
    const Oid types[] = {static_cast<Oid>(columns)...};
    return result_set(fcinfo, std::span<const Oid>(types));
}

}  // namespace rolecall::pg

/// Defines a function that SQL can call; its body follows. The variable arguments are a pg::Declaration.
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
