// What trigger functions are called with. A trigger of any timing, on any table, with any arguments can name
// such a function. Its data are therefore reached through these types only; their constructors raise
// e_r_i_e_trigger_protocol_violated for any other kind of call.
#pragma once

#include "pg/function.h"

extern "C" {
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "utils/rel.h"
}

namespace rolecall::pg {

/// The part that all trigger calls share.
class TriggerCall {
 public:
    Relation relation() const { return data_->tg_relation; }
    TupleDesc columns() const { return RelationGetDescr(data_->tg_relation); }
    const Trigger& trigger() const { return *data_->tg_trigger; }

    /// Returns the argument of CREATE TRIGGER at this place, or nullptr if there is none.
    const char* argument(int place) const {
        return place < trigger().tgnargs ? trigger().tgargs[place] : nullptr;
    }

    /// Returns the argument as a number other than 0. Raises an error if it is not one.
    std::uint64_t id_argument(int place) const;

    /// Returns the number of a column. Raises an error if the relation does not have it with this type.
    AttrNumber column(const char* name, Oid type) const;

    const TriggerData& data() const { return *data_; }

 protected:
    enum class Level { row, statement };
    TriggerCall(FunctionCallInfo fcinfo, Level level);

 private:
    const TriggerData* data_;
};

/// A call by an AFTER INSERT, UPDATE or DELETE trigger, FOR EACH ROW.
class RowTrigger : public TriggerCall {
 public:
    explicit RowTrigger(FunctionCallInfo fcinfo) : TriggerCall(fcinfo, Level::row) {}

    /// nullptr for an INSERT.
    HeapTuple old_row() const {
        return TRIGGER_FIRED_BY_INSERT(data().tg_event) ? nullptr : data().tg_trigtuple;
    }

    /// nullptr for a DELETE.
    HeapTuple new_row() const {
        if (TRIGGER_FIRED_BY_DELETE(data().tg_event))
            return nullptr;
        return TRIGGER_FIRED_BY_UPDATE(data().tg_event) ? data().tg_newtuple : data().tg_trigtuple;
    }
};

/// A call by an AFTER trigger, FOR EACH STATEMENT.
class StatementTrigger : public TriggerCall {
 public:
    explicit StatementTrigger(FunctionCallInfo fcinfo) : TriggerCall(fcinfo, Level::statement) {}
};

/// A call by an event trigger.
class EventTrigger {
 public:
    explicit EventTrigger(FunctionCallInfo fcinfo);

    /// nullptr if the event has no statement.
    const Node* statement() const { return data_->parsetree; }

 private:
    const EventTriggerData* data_;
};

}  // namespace rolecall::pg
