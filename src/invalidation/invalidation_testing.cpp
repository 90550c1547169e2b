#include "invalidation/invalidation_testing.h"

#ifdef ROLECALL_TESTING

#include "cache/shared.h"
#include "definition/definition.h"
#include "invalidation/reach.h"
#include "pg/function.h"

extern "C" {
#include "executor/spi.h"
}

namespace rolecall::testing {

void stamp_lookup_by_query(const TriggerData& data) {
    char* relation = SPI_getrelname(data.tg_relation);
    if (strcmp(relation, "units") != 0)
        return;
    bool is_null = false;
    const int column = SPI_fnumber(RelationGetDescr(data.tg_relation), "id");
    const Datum unit = SPI_getbinval(data.tg_trigtuple, RelationGetDescr(data.tg_relation), column, &is_null);
    Oid types[] = {INT8OID};
    Datum values[] = {unit};
    SPI_connect();
    SPI_execute_with_args("SELECT user_id FROM rolecall.user_units WHERE unit_id = $1", 1, types, values,
                          nullptr, false, 0);
    const projection::Definition& d = projection::me_definition_seen();
    for (std::uint64_t i = 0; i < SPI_processed; ++i) {
        projection::KeyBuffer buffer;
        const Datum user = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &is_null);
        cache::stamp(cache::key_hash(d.id, projection::canonical_key(d.key_kind, user, buffer)));
    }
    SPI_finish();
}

}  // namespace rolecall::testing

using namespace rolecall;

extern "C" {

// reach(tag int): returns the name of the reach of statements with this node tag.
ROLECALL_FUNCTION(rolecall_test_reach, pg::takes(TEXTOID, INT4OID)) {
    constexpr const char* names[] = {"nothing", "relation", "roles", "database", "all databases"};
    const auto reach = invalidation::reach_of_tag(static_cast<NodeTag>(PG_GETARG_INT32(0)));
    PG_RETURN_TEXT_P(cstring_to_text(names[static_cast<int>(reach)]));
}

}  // extern "C"

#endif
