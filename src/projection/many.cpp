// The SQL functions that read many keys, or the key of an e-mail address.
#include "pg/pg.h"

#include "cache/shared.h"
#include "definition/detaching.h"
#include "definition/run.h"
#include "pg/function.h"
#include "pg/security_context.h"
#include "projection/keys.h"
#include "projection/read.h"

extern "C" {
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"
}

namespace rolecall::projection {

namespace {

// Returns one row (key, document) for each element of the array, in its order. `read` returns a key's
// document.
template <typename Read>
Datum answer_many(FunctionCallInfo fcinfo, Definition& d, ArrayType* keys, Read&& read) {
    const Oid type = ARR_ELEMTYPE(keys);
    const ReturnSetInfo& result = pg::result_set(fcinfo, type, JSONBOID);
    int16 length = 0;
    bool by_value = false;
    char align = 0;
    get_typlenbyvalalign(type, &length, &by_value, &align);
    Datum* elements = nullptr;
    bool* missing = nullptr;
    int count = 0;
    deconstruct_array(keys, type, length, by_value, align, &elements, &missing, &count);

    MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "rolecall key", ALLOCSET_DEFAULT_SIZES);
    for (int i = 0; i < count; ++i) {
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(each);
        Datum values[] = {elements[i], Datum{0}};
        bool nulls[] = {missing[i], true};
        if (!missing[i]) {
            const Reading answer = read(d, key_from(d, type, elements[i]));
            values[1] = PointerGetDatum(answer.document);
            nulls[1] = !answer.found;
        }
        tuplestore_putvalues(result.setResult, result.setDesc, values, nulls);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(each);
    }
    return Datum{0};
}

Definition& me() {
    cache::require_preloaded();
    return me_definition_seen();
}

// Returns the plan that finds keys by e-mail address, using the view's own columns.
Plan& email_plan(Definition& d) {
    if (d.email_plan != nullptr)
        return *d.email_plan;
    if (get_attnum(d.view, "email") == InvalidAttrNumber)
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_COLUMN),
                 errmsg("the view of projection \"%s\" has no column \"email\"", NameStr(d.name)),
                 errhint("Give it a column email, and tenant_id if addresses are unique per tenant only.")));
    const AttrNumber tenant = get_attnum(d.view, "tenant_id");
    const bool by_tenant = tenant != InvalidAttrNumber && get_atttype(d.view, tenant) == UUIDOID;
    const char* query = psprintf("SELECT v.%s FROM %s v WHERE v.email = $1%s LIMIT 2",
                                 quote_identifier(NameStr(d.key_column)), qualified_name(d.view),
                                 by_tenant ? " AND ($2 IS NULL OR v.tenant_id = $2)" : " AND $2 IS NULL");
    const Oid types[] = {TEXTOID, UUIDOID};
    Plan* plan = make_plan(d.name, d.view, query, types);
    refuse_unsafe(d, *plan);
    if (d.detaching)
        plan_each_time(*plan);
    keep_plan(plan);
    d.email_plan = plan;
    return *plan;
}

// Finds the key, of the type that read_document() expects, in the current memory context. Returns false if no
// user has the address.
bool find_by_email(Definition& d, Datum email, Datum tenant, bool any_tenant, Datum& key) {
    MemoryContext caller = CurrentMemoryContext;
    definition_ready(d);
    const pg::SecurityContext before = act_as_view_owner(d);
    SPI_connect();
    const Datum values[] = {email, tenant};
    const bool nulls[] = {false, any_tenant};
    run_plan(email_plan(d), values, nulls, true, 2);
    const std::uint64_t found = SPI_processed;
    if (found > 1)
        ereport(ERROR,
                (errcode(ERRCODE_CARDINALITY_VIOLATION), errmsg("several users have this e-mail address"),
                 any_tenant ? errhint("Name the tenant.") : 0));
    if (found == 1) {
        bool is_null = false;
        TupleDesc columns = SPI_tuptable->tupdesc;
        const Oid type = SPI_gettypeid(columns, 1);
        const Datum value = SPI_getbinval(SPI_tuptable->vals[0], columns, 1, &is_null);
        const auto* attribute = TupleDescAttr(columns, 0);
        MemoryContext spi = MemoryContextSwitchTo(caller);
        key = widened_key(type, datumCopy(value, attribute->attbyval, attribute->attlen));
        MemoryContextSwitchTo(spi);
    }
    SPI_finish();
    pg::restore_security_context(before);
    return found == 1;
}

}  // namespace

}  // namespace rolecall::projection

using namespace rolecall::projection;

extern "C" {

// me_many(uids bigint[] | uuid[] | text[])
ROLECALL_FUNCTION(rolecall_me_many, rolecall::pg::gives_rows(ANYARRAYOID)) {
    return answer_many(fcinfo, me(), PG_GETARG_ARRAYTYPE_P(0), read_document);
}

// project_many(projection name, keys text[])
ROLECALL_FUNCTION(rolecall_project_many, rolecall::pg::gives_rows(NAMEOID, TEXTARRAYOID)) {
    return answer_many(fcinfo, readable_projection(*PG_GETARG_NAME(0)), PG_GETARG_ARRAYTYPE_P(1),
                       [](Definition& d, Datum key) { return read_allowed(d, key, read_document); });
}

// me_by_email(email text, tenant uuid)
ROLECALL_FUNCTION(rolecall_me_by_email, rolecall::pg::takes_null(JSONBOID, TEXTOID, UUIDOID)) {
    if (PG_ARGISNULL(0))
        PG_RETURN_NULL();
    Definition& d = me();
    Datum key{0};
    const bool any_tenant = PG_ARGISNULL(1);
    if (!find_by_email(d, PG_GETARG_DATUM(0), any_tenant ? Datum{0} : PG_GETARG_DATUM(1), any_tenant, key))
        PG_RETURN_NULL();
    const Reading answer = read_document(d, key);
    if (!answer.found)
        PG_RETURN_NULL();
    PG_RETURN_POINTER(answer.document);
}

}  // extern "C"
