// try_jsonb(): converts text that may be JSON, for views over texts that no constraint checks.
#include "pg/pg.h"

#include "pg/function.h"
#include "pg/guard.h"

extern "C" {
#include "utils/fmgrprotos.h"
}

namespace rolecall::pg {

namespace {

// The parser is recursive, and the depth that it accepts depends on a setting of the server. A fixed limit
// makes the result independent of the setting, so that the function is immutable.
constexpr int deepest_json = 1000;

// Braces within strings do not count. No byte of a longer character is an ASCII byte in server encodings.
bool is_too_deep(std::string_view json) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char c = json[i];
        if (in_string && c == '\\')
            ++i;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '[' || c == '{') && ++depth > deepest_json)
            return true;
        else if (!in_string && (c == ']' || c == '}'))
            --depth;
    }
    return false;
}

// Returns whether the input function of jsonb raises this error for a text that is not JSON or that jsonb
// cannot store: characters that the database's encoding or jsonb does not have, numbers and strings that are
// too large.
bool is_about_input(int sqlstate) {
    switch (sqlstate) {
        case ERRCODE_INVALID_TEXT_REPRESENTATION:
        case ERRCODE_UNTRANSLATABLE_CHARACTER:
        case ERRCODE_FEATURE_NOT_SUPPORTED:
        case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
        case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
            return true;
        default:
            return false;
    }
}

struct Parsing {
    const char* json;
    Datum result;
};

}  // namespace

}  // namespace rolecall::pg

using namespace rolecall::pg;

extern "C" {

// try_jsonb(text). The input function takes no locks and holds no resources, so its errors need no
// subtransaction.
ROLECALL_FUNCTION(rolecall_try_jsonb, takes(JSONBOID, TEXTOID)) {
    Parsing parsing{.json = text_to_cstring(PG_GETARG_TEXT_PP(0)), .result = Datum{0}};
    if (is_too_deep(parsing.json))
        PG_RETURN_NULL();
    ErrorData* error = run_catching(
        [](void* p) {
            auto* self = static_cast<Parsing*>(p);
            self->result = DirectFunctionCall1(jsonb_in, CStringGetDatum(self->json));
        },
        &parsing);
    if (error == nullptr)
        PG_RETURN_DATUM(parsing.result);
    if (!is_about_input(error->sqlerrcode))
        ReThrowError(error);
    FreeErrorData(error);
    PG_RETURN_NULL();
}

}  // extern "C"
