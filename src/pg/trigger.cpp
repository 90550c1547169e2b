#include "pg/trigger.h"

#include <charconv>

extern "C" {
#include "executor/spi.h"
#include "utils/regproc.h"
}

namespace rolecall::pg {

TriggerCall::TriggerCall(FunctionCallInfo fcinfo, Level level) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function %s can only be called as a trigger",
                               format_procedure(fcinfo->flinfo->fn_oid))));
    data_ = reinterpret_cast<const TriggerData*>(fcinfo->context);
    const bool is_row = TRIGGER_FIRED_FOR_ROW(data_->tg_event);
    const bool is_level = is_row == (level == Level::row);
    if (!is_level || !TRIGGER_FIRED_AFTER(data_->tg_event))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("trigger \"%s\" must be fired AFTER ... FOR EACH %s", trigger().tgname,
                               level == Level::row ? "ROW" : "STATEMENT")));
}

std::uint64_t TriggerCall::id_argument(int place) const {
    const char* text = argument(place);
    std::int64_t id = 0;
    if (text != nullptr) {
        const char* end = text + strlen(text);
        const auto [stop, error] = std::from_chars(text, end, id);
        if (error != std::errc() || stop != end)
            id = 0;
    }
    if (id == 0)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("argument %d of trigger \"%s\" must be an id", place + 1, trigger().tgname),
                        errhint("Use rolecall.watch() and rolecall.watch_lookup().")));
    return static_cast<std::uint64_t>(id);
}

AttrNumber TriggerCall::column(const char* name, Oid type) const {
    const int number = SPI_fnumber(columns(), name);
    if (number <= 0 || SPI_gettypeid(columns(), number) != type)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("trigger \"%s\" is on a table without a column \"%s\" of type %s",
                               trigger().tgname, name, format_type_be(type))));
    return static_cast<AttrNumber>(number);
}

EventTrigger::EventTrigger(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("function %s can only be called as an event trigger",
                               format_procedure(fcinfo->flinfo->fn_oid))));
    data_ = reinterpret_cast<const EventTriggerData*>(fcinfo->context);
}

}  // namespace rolecall::pg
