// The parts of creating projections that SQL cannot do: resolving names with the caller's search_path, since
// functions in SQL set their own, and trying the result.
#include "pg/pg.h"

#include "cache/shared.h"
#include "definition/run.h"
#include "pg/function.h"
#include "projection/keys.h"
#include "projection/load.h"

extern "C" {
#include "catalog/namespace.h"
#include "parser/parse_func.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/varlena.h"
}

namespace rolecall::projection {

namespace {

// A name with its schema means the same under any search_path.
void qualify_key(JsonbValue& key, List** seen) {
    const char* name = pnstrdup(key.val.string.val, static_cast<Size>(key.val.string.len));
    const Oid relation = DatumGetObjectId(DirectFunctionCall1(regclassin, CStringGetDatum(name)));
    if (list_member_oid(*seen, relation))
        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("relation \"%s\" is named twice", name)));
    *seen = lappend_oid(*seen, relation);
    char* qualified = pstrdup(qualified_name(relation));
    key.val.string.val = qualified;
    key.val.string.len = static_cast<int>(strlen(qualified));
}

// Which keys of an object are names of relations: its own only, or also those in members "referencing".
enum class Names { keys, keys_and_referencing };

Datum qualify_names(Datum json, Names which) {
    JsonbIterator* iterator = JsonbIteratorInit(&DatumGetJsonbP(json)->root);
    JsonbParseState* state = nullptr;
    JsonbValue* result = nullptr;
    JsonbValue value;
    List* seen = NIL;
    List* seen_referencing = NIL;
    bool referencing = false;
    int depth = 0;
    while (true) {
        const JsonbIteratorToken token = JsonbIteratorNext(&iterator, &value, false);
        if (token == WJB_DONE)
            break;
        if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
            ++depth;
        else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
            --depth;
        if (token == WJB_KEY && depth == 1) {
            qualify_key(value, &seen);
        } else if (token == WJB_KEY && depth == 2) {
            constexpr std::string_view member = "referencing";
            referencing = which == Names::keys_and_referencing &&
                          std::string_view(value.val.string.val, value.val.string.len) == member;
            seen_referencing = NIL;
        } else if (token == WJB_KEY && depth == 3 && referencing) {
            qualify_key(value, &seen_referencing);
        }
        const bool has_value = token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;
        result = pushJsonbValue(&state, token, has_value ? &value : nullptr);
    }
    return JsonbPGetDatum(JsonbValueToJsonb(result));
}

bool is_object(Datum json) { return JB_ROOT_IS_OBJECT(DatumGetJsonbP(json)); }

constexpr pg::Declaration create_projection_declaration =
    pg::takes_null(VOIDOID, NAMEOID, REGCLASSOID, NAMEOID, NAMEOID, INTERVALOID, BOOLOID, JSONBOID);
constexpr pg::Declaration watch_lookup_declaration =
    pg::takes_null(VOIDOID, NAMEOID, REGCLASSOID, NAMEOID, JSONBOID);

// Calls a function of the extension with the same arguments, except that the last one has numbers in place of
// names.
Datum call_with_schemas(FunctionCallInfo fcinfo, const char* name, const pg::Declaration& same, Names which) {
    List* qualified = list_make2(makeString(pstrdup("rolecall")), makeString(pstrdup(name)));
    const Oid function = LookupFuncName(qualified, same.count, same.arguments, false);
    const auto count = static_cast<short>(same.count);
    FmgrInfo info;
    fmgr_info(function, &info);
    LOCAL_FCINFO(call, pg::Declaration::most_arguments);
    InitFunctionCallInfoData(*call, &info, count, InvalidOid, nullptr, nullptr);
    std::copy(fcinfo->args, fcinfo->args + count, call->args);
    NullableDatum& last = call->args[count - 1];
    if (!last.isnull && is_object(last.value))
        last.value = qualify_names(last.value, which);
    return FunctionCallInvoke(call);
}

Definition& ready_definition(const NameData& name) {
    cache::require_preloaded();
    Definition& d = definition_seen(NameStr(name));
    d.fresh = false;  // changes of this transaction may have sent no message yet
    definition_ready(d);
    return d;
}

// Reads one key of the view, in the current memory context. Returns false if the view has no row. The whole
// row is read, so that errors of any column show.
bool read_any_row(const Definition& d, Datum& key) {
    MemoryContext caller = CurrentMemoryContext;
    const pg::SecurityContext before = act_as_view_owner(d);
    SPI_connect();
    const char* column = quote_identifier(NameStr(d.key_column));
    const char* query = psprintf("SELECT v.%s, v.* FROM %s v WHERE v.%s IS NOT NULL LIMIT 1", column,
                                 qualified_name(d.view), column);
    Plan* plan = make_plan(d.name, d.view, query, {});
    run_plan(*plan, nullptr, nullptr, true, 1);
    const bool found = SPI_processed == 1;
    if (found) {
        TupleDesc columns = SPI_tuptable->tupdesc;
        bool is_null = false;
        const Datum value = SPI_getbinval(SPI_tuptable->vals[0], columns, 1, &is_null);
        const auto* attribute = TupleDescAttr(columns, 0);
        MemoryContext spi = MemoryContextSwitchTo(caller);
        key = widened_key(attribute->atttypid, datumCopy(value, attribute->attbyval, attribute->attlen));
        MemoryContextSwitchTo(spi);
    }
    SPI_finish();
    pg::restore_security_context(before);
    return found;
}

}  // namespace

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

// create_projection(projection name, view regclass, key_column name, doc_column name, ttl interval, strict
// boolean, watches jsonb)
ROLECALL_FUNCTION(rolecall_create_projection, create_projection_declaration) {
    return call_with_schemas(fcinfo, "add_projection", create_projection_declaration,
                             Names::keys_and_referencing);
}

// watch_lookup(projection name, relation regclass, key_column name, referencing jsonb)
ROLECALL_FUNCTION(rolecall_watch_lookup, watch_lookup_declaration) {
    return call_with_schemas(fcinfo, "add_lookup", watch_lookup_declaration, Names::keys);
}

// refuse_unsafe(projection name)
ROLECALL_FUNCTION(rolecall_refuse_unsafe, rolecall::pg::takes(VOIDOID, NAMEOID)) {
    refuse_unsafe(ready_definition(*PG_GETARG_NAME(0)));
    PG_RETURN_VOID();
}

// read_one(projection name)
ROLECALL_FUNCTION(rolecall_read_one, rolecall::pg::takes(VOIDOID, NAMEOID)) {
    Definition& d = ready_definition(*PG_GETARG_NAME(0));
    Datum key{0};
    if (read_any_row(d, key))
        (void)load(d, key, false);
    PG_RETURN_VOID();
}

}  // extern "C"
