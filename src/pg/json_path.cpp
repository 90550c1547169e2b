#include "pg/json_path.h"

#include <span>
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

// Unwraps an array in the place of an object, as lax paths do. An empty array becomes null. Returns false if
// the array has several items.
bool unwrap(JsonbValue& value) {
    std::span<JsonbValue> items;
    if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data) ||
        JsonContainerIsScalar(value.val.binary.data))
        return true;
    if (JsonContainerSize(value.val.binary.data) > 1)
        return false;
    (void)json_elements(value, items);
    if (items.empty())
        value.type = jbvNull;
    else
        value = items.front();
    return true;
}

// Follows a lax path that only names members, such as $.a.b, without the jsonpath executor. Most paths are of
// this form. Returns nullopt for any other path.
std::optional<Found> follow(const Jsonb* json, JsonPath* path, JsonbValue& value) {
    if ((path->header & JSONPATH_LAX) == 0)
        return std::nullopt;
    return call([&]() -> std::optional<Found> {
        JsonPathItem item;
        JsonPathItem next;
        jspInit(&item, path);
        if (item.type != jpiRoot)
            return std::nullopt;
        for (JsonPathItem at = item; jspGetNext(&at, &next); at = next)
            if (next.type != jpiKey)
                return std::nullopt;
        value = json_value(json);
        for (; jspGetNext(&item, &next); item = next) {
            if (!unwrap(value))
                return Found::several;
            if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
                return Found::nothing;
            int length = 0;
            const char* name = jspGetString(&next, &length);
            if (!json_member(value.val.binary.data, {name, static_cast<std::size_t>(length)}, value))
                return Found::nothing;
        }
        return Found::one;
    });
}

// Likewise finds the elements that a strict path such as $.a.b[*] selects. Returns false if the path has
// another form or does not fit the document.
bool pick_all(const Jsonb* json, JsonPath* path, std::span<JsonbValue>& elements) {
    if ((path->header & JSONPATH_LAX) != 0)
        return false;
    return call([&] {
        JsonPathItem item;
        jspInit(&item, path);
        JsonbValue value = json_value(json);
        JsonPathItem next;
        if (item.type != jpiRoot)
            return false;
        while (jspGetNext(&item, &next)) {
            if (next.type == jpiAnyArray)
                return !jspHasNext(&next) && json_elements(value, elements);
            if (next.type != jpiKey || value.type != jbvBinary)
                return false;
            int length = 0;
            const char* name = jspGetString(&next, &length);
            if (!json_member(value.val.binary.data, {name, static_cast<std::size_t>(length)}, value))
                return false;
            item = next;
        }
        return false;
    });
}

}  // namespace

Found json_single(const Jsonb* json, const std::string& path, JsonbValue& value) {
    if (path.empty())
        return Found::nothing;
    JsonPath* expression = compiled(path);
    if (const auto followed = follow(json, expression, value))
        return *followed;
    const bool is_strict = (expression->header & JSONPATH_LAX) == 0;
    Datum array{};
    if ((is_strict && !json_path_fits(json, path)) ||
        !evaluate(jsonb_path_query_array, json, expression, true, array))
        return Found::nothing;
    std::span<JsonbValue> elements;
    call([&] { (void)json_elements(json_value(DatumGetJsonbP(array)), elements); });
    if (elements.size() != 1)
        return elements.empty() ? Found::nothing : Found::several;
    value = elements.front();
    return Found::one;
}

bool json_path_fits(const Jsonb* json, const std::string& path) {
    Datum exists{};
    return !path.empty() && evaluate(jsonb_path_exists, json, compiled(path), true, exists);
}

std::span<JsonbValue> json_all(const Jsonb* json, const std::string& path) {
    Datum array{};
    std::span<JsonbValue> picked;
    if (!path.empty() && pick_all(json, compiled(path), picked))
        return picked;
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
