#include "pg/json_path.h"

#include <unordered_map>

#include "pg/role_json.h"

extern "C" {
#include "utils/jsonpath.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
}

namespace rolecall::pg {

namespace {

// Paths are few and the same for every document, so compiled paths are kept.
constexpr std::size_t most_paths = 256;

JsonPath* compiled(const std::string& path) {
    static std::unordered_map<std::string, JsonPath*> known;
    if (const auto found = known.find(path); found != known.end())
        return found->second;
    if (known.size() >= most_paths) {
        for (const auto& entry : known)
            pfree(entry.second);
        known.clear();
    }
    JsonPath* result = call([&] {
        MemoryContext caller = CurrentMemoryContext;
        JsonPath* parsed = DatumGetJsonPathP(DirectFunctionCall1(jsonpath_in, CStringGetDatum(path.c_str())));
        MemoryContextSwitchTo(TopMemoryContext);
        JsonPath* kept = DatumGetJsonPathPCopy(PointerGetDatum(parsed));
        MemoryContextSwitchTo(caller);
        return kept;
    });
    known.emplace(path, result);
    return result;
}

// The empty set of jsonpath variables.
Datum empty_object() {
    static Jsonb* empty = call([] {
        MemoryContext caller = MemoryContextSwitchTo(TopMemoryContext);
        Jsonb* made = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
        MemoryContextSwitchTo(caller);
        return made;
    });
    return JsonbPGetDatum(empty);
}

// Calls one of the functions f(target jsonb, path jsonpath, vars jsonb, silent boolean). Returns false if the
// result is NULL.
bool evaluate(PGFunction function, const Jsonb* json, const JsonPath* path, bool silent, Datum& result) {
    const Datum variables = empty_object();
    return call([&] {
        LOCAL_FCINFO(fcinfo, 4);
        InitFunctionCallInfoData(*fcinfo, nullptr, 4, InvalidOid, nullptr, nullptr);
        const Datum arguments[] = {JsonbPGetDatum(json), PointerGetDatum(path), variables,
                                   BoolGetDatum(silent)};
        for (int i = 0; i < 4; ++i)
            fcinfo->args[i] = {.value = arguments[i], .isnull = false};
        result = function(fcinfo);
        return !fcinfo->isnull;
    });
}

enum class Followed { found, nothing, not_at_all };

// Most paths are lax and name members only, $.a.b: they are followed through objects without an executor.
// Anything else, and an array on the way (which is unwrapped), is for jsonb_path_query_first().
Followed follow(const Jsonb* json, JsonPath* path, JsonbValue& value) {
    if ((path->header & JSONPATH_LAX) == 0)
        return Followed::not_at_all;
    return call([&] {
        JsonPathItem item;
        jspInit(&item, path);
        if (item.type != jpiRoot)
            return Followed::not_at_all;
        value = json_value(json);
        JsonPathItem next;
        while (jspGetNext(&item, &next)) {
            if (next.type != jpiKey || value.type != jbvBinary ||
                !JsonContainerIsObject(value.val.binary.data))
                return Followed::not_at_all;
            int length = 0;
            const char* name = jspGetString(&next, &length);
            if (!json_member(value.val.binary.data, {name, static_cast<std::size_t>(length)}, value))
                return Followed::nothing;
            item = next;
        }
        return Followed::found;
    });
}

}  // namespace

bool json_first(const Jsonb* json, const std::string& path, JsonbValue& value) {
    if (path.empty())
        return false;
    JsonPath* expression = compiled(path);
    if (const Followed followed = follow(json, expression, value); followed != Followed::not_at_all)
        return followed == Followed::found;
    Datum found{};
    if (!evaluate(jsonb_path_query_first, json, expression, true, found))
        return false;
    value = json_value(DatumGetJsonbP(found));
    return true;
}

bool json_path_fits(const Jsonb* json, const std::string& path) {
    Datum exists{};
    return !path.empty() && evaluate(jsonb_path_exists, json, compiled(path), true, exists);
}

std::span<JsonbValue> json_all(const Jsonb* json, const std::string& path) {
    Datum array{};
    if (path.empty() || !evaluate(jsonb_path_query_array, json, compiled(path), false, array))
        return {};
    std::span<JsonbValue> elements;
    call([&] { (void)json_elements(json_value(DatumGetJsonbP(array)), elements); });
    return elements;
}

bool json_path_fits_nothing(const std::string& path) {
    return json_path_fits(DatumGetJsonbP(empty_object()), path);
}

std::optional<int> json_number_of(const Jsonb* json, std::string_view member) {
    const int number = call([&] {
        JsonbIterator* it = JsonbIteratorInit(const_cast<JsonbContainer*>(&json->root));
        JsonbValue value;
        bool is_next = false;
        while (const JsonbIteratorToken token = JsonbIteratorNext(&it, &value, false)) {
            if (is_next && token == WJB_VALUE && value.type == jbvNumeric) {
                const char* text =
                    DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
                return strlen(text) < 5 ? std::max(0, atoi(text)) : 0;
            }
            is_next = token == WJB_KEY && json_text(value) == member;
        }
        return -1;
    });
    return number < 0 ? std::nullopt : std::optional(number);
}

Jsonb* json_document(JsonbValue& value) {
    return call([&] { return JsonbValueToJsonb(&value); });
}

JsonbValue json_value(const Jsonb* json) {
    JsonbValue value;
    if (!JsonbExtractScalar(const_cast<JsonbContainer*>(&json->root), &value))
        JsonbToJsonbValue(const_cast<Jsonb*>(json), &value);
    return value;
}

}  // namespace rolecall::pg
