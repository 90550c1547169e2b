#include "sync/attribution.h"

#include <array>
#include <span>

#include "pg/function.h"
#include "pg/guard.h"
#include "pg/settings.h"

namespace rolecall::sync {

namespace {

const Attribution* current = nullptr;

const char* to_string(Cause cause) {
    switch (cause) {
        case Cause::sync:
            return "sync";
        case Cause::given:
            return "given";
        case Cause::bulk:
            return "bulk";
        case Cause::event:
            break;
    }
    return "event";
}

}  // namespace

Attribution::Attribution(Cause cause, std::string actor, std::string provider, std::string request_id)
    : cause(cause),
      actor(std::move(actor)),
      provider(std::move(provider)),
      request_id_(std::move(request_id)),
      outer_(std::exchange(current, this)) {}

Attribution::Attribution(Cause cause, std::string actor, std::string provider,
                         std::unordered_map<std::int64_t, std::string> request_ids)
    : cause(cause),
      actor(std::move(actor)),
      provider(std::move(provider)),
      request_ids_(std::move(request_ids)),
      outer_(std::exchange(current, this)) {}

const std::string& Attribution::request_id(std::int64_t user) const {
    const auto own = request_ids_.find(user);
    return own != request_ids_.end() ? own->second : request_id_;
}

Attribution::~Attribution() { current = outer_; }

std::string current_request_id() {
    return *settings::request_id != '\0' ? settings::request_id : new_request_id();
}

std::string new_request_id() {
    // Draw bytes for many ids at once, because each draw is expensive.
    constexpr std::size_t size = 16;
    static std::array<std::uint8_t, 64 * size> bytes;
    static std::size_t used = bytes.size();
    if (used == bytes.size()) {
        pg::call([] {
            if (!pg_strong_random(bytes.data(), bytes.size()))
                ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
        });
        used = 0;
    }
    constexpr const char* digits = "0123456789abcdef";
    std::string id;
    for (const std::uint8_t byte : std::span(bytes).subspan(used, size)) {
        id += digits[byte >> 4];
        id += digits[byte & 15];
    }
    used += size;
    return id;
}

}  // namespace rolecall::sync

using namespace rolecall;
using namespace rolecall::sync;

extern "C" {

// change_context(user_id, OUT changed_by, cause, provider, request_id)
ROLECALL_FUNCTION(rolecall_change_context, pg::takes_null(RECORDOID, INT8OID)) {
    TupleDesc columns = pg::result_row(fcinfo, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
    const char* id =
        current != nullptr ? current->request_id(PG_GETARG_INT64(0)).c_str() : settings::request_id;
    const bool by_other = current != nullptr && !current->actor.empty();
    const char* actor = by_other ? current->actor.c_str() : GetUserNameFromId(GetSessionUserId(), false);
    Datum values[] = {CStringGetTextDatum(actor),
                      CStringGetTextDatum(current != nullptr ? to_string(current->cause) : "sql"),
                      CStringGetTextDatum(current != nullptr ? current->provider.c_str() : ""),
                      CStringGetTextDatum(id)};
    bool nulls[] = {false, false, current == nullptr || current->provider.empty(), *id == '\0'};
    PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(columns, values, nulls)));
}

}  // extern "C"
