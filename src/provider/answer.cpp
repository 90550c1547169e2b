#include "provider/answer.h"

#include "core/error.h"
#include "http/json_prune.h"
#include "pg/json_path.h"

extern "C" {
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
}

namespace rolecall::provider {

namespace {

// Asked for each text that is not ASCII: nothing is remembered of an encoding that the database cannot
// change.
bool database_can_hold(std::string_view text) {
    const int encoding = GetDatabaseEncoding();
    if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
        return true;
    return pg::call([&] {
        const Oid conversion = FindDefaultConversionProc(PG_UTF8, encoding);
        if (!OidIsValid(conversion))
            return false;
        const auto length = static_cast<int>(text.size());
        const int room = length * MAX_CONVERSION_GROWTH + 1;
        auto* from = static_cast<unsigned char*>(palloc(text.size() + 1));
        auto* to = static_cast<unsigned char*>(palloc(static_cast<std::size_t>(room)));
        memcpy(from, text.data(), text.size());
        from[length] = '\0';
        const int converted =
            pg_do_encoding_conversion_buf(conversion, PG_UTF8, encoding, from, length, to, room, true);
        pfree(from);
        pfree(to);
        return converted == length;
    });
}

}  // namespace

void bad_answer(const Provider& provider, const std::string& detail, const std::string& hint) {
    throw Error("RC104", "provider \"" + provider.name + "\" gave an answer that cannot be used", detail,
                hint);
}

// What PostgreSQL says of a text that it does not like may quote it, and is not passed on: it goes to logs.
Answer read_answer(const Provider& provider, const std::string& body, const core::JsonShape& shape) {
    http::Pruned pruned;
    try {
        pruned = http::prune_json(body, shape, database_can_hold);
    } catch (const Error& error) {
        bad_answer(provider, "The response is not valid JSON. " + error.detail());
    }
    try {
        const Jsonb* json = pg::call([&] {
            char* text = pg_any_to_server(pruned.json.c_str(), static_cast<int>(pruned.json.size()), PG_UTF8);
            return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
        });
        return {.json = json, .is_odd = pruned.oddities > 0};
    } catch (const pg::PgError& error) {
        bad_answer(provider, std::string("The response is not valid JSON: ") + error.what() + ".");
    }
}

const char* oddity_of(const Jsonb* part) {
    const std::optional<int> number = pg::json_number_of(part, http::odd_member);
    return number ? http::to_string(static_cast<http::Oddity>(*number)) : nullptr;
}

}  // namespace rolecall::provider
