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

// Called for each text that is not ASCII. It caches nothing, because the encoding of a database cannot
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

namespace {

constexpr std::size_t other_values = 10'000;  // in addition to those that an option limits

// PostgreSQL's detail about an invalid text may quote the text. The detail is not passed on, because errors
// are logged.
Answer read(const Provider& provider, const std::string& body, const core::JsonShape& shape,
            std::size_t most_values) {
    const http::PruneLimits limits{.counted = provider.most_role_items(),
                                   .values = most_values,
                                   .meanwhile = [] { pg::call([] { CHECK_FOR_INTERRUPTS(); }); }};
    http::Pruned pruned;
    try {
        pruned = http::prune_json(body, shape, database_can_hold, limits);
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

}  // namespace

Answer read_answer(const Provider& provider, const std::string& body) {
    constexpr std::size_t values_of_a_role = 8;
    return read(provider, body, provider.mapping.answer,
                values_of_a_role * static_cast<std::size_t>(provider.max_roles) + other_values);
}

Answer read_list_page(const Provider& provider, const std::string& body) {
    constexpr std::size_t bytes_of_a_value = 1024;  // in the server's jsonb, while it is parsed
    return read(provider, body, provider.mapping.list,
                provider.max_list_size / bytes_of_a_value + other_values);
}

void refuse_oddity(const Provider& provider, const Jsonb* part) {
    const std::optional<int> number = pg::json_number_of(part, http::odd_member);
    if (!number)
        return;
    const auto oddity = static_cast<http::Oddity>(*number);
    if (oddity == http::Oddity::too_many)
        refuse_so_many_roles(provider);
    bad_answer(provider, http::to_string(oddity));
}

void refuse_so_many_roles(const Provider& provider) {
    bad_answer(provider, "The response has more than " + std::to_string(provider.max_roles) + " roles.",
               "Raise the option max_roles if that can be right.");
}

}  // namespace rolecall::provider
