// Test functions for answers of providers and for presets. They need no provider.
#include "pg/pg.h"

#ifdef ROLECALL_TESTING

#include "pg/function.h"
#include "pg/guard.h"
#include "pg/spi.h"
#include "provider/mapping.h"
#include "provider/options.h"

using namespace rolecall;

extern "C" {

// map(provider name, subject text, answer bytea) returns the roles as jsonb.
ROLECALL_FUNCTION(rolecall_test_map, pg::takes(JSONBOID, NAMEOID, TEXTOID, BYTEAOID)) {
    return pg::guarded([&]() -> Datum {
        MemoryContext result_context = CurrentMemoryContext;
        const std::string name = NameStr(*PG_GETARG_NAME(0));
        const char* subject = pg::call([&] { return text_to_cstring(PG_GETARG_TEXT_PP(1)); });
        const bytea* answer = pg::call([&] { return PG_GETARG_BYTEA_PP(2); });
        http::Completion page;
        page.status = 200;
        page.body.assign(VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
        pg::spi_connect();
        const provider::ProviderUser user =
            provider::map_answers(provider::read_provider(name), subject, {{page}});
        pg::spi_finish();
        return pg::call([&] {
            MemoryContextSwitchTo(result_context);
            return JsonbPGetDatum(provider::roles_to_jsonb(user.roles));
        });
    });
}

// presets() raises an error if a preset is not valid.
ROLECALL_FUNCTION(rolecall_test_presets, pg::takes(VOIDOID)) {
    return pg::guarded([&]() -> Datum {
        provider::check_presets();
        PG_RETURN_VOID();
    });
}

}  // extern "C"

#endif
