// What trigger functions are called with. A trigger of any timing, on any table, with any arguments can name
// such a function: its data are reached through these types only, whose constructors raise
// e_r_i_e_trigger_protocol_violated for a call of another kind.
#pragma once

#include "pg/function.h"

extern "C" {
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "utils/rel.h"
}

namespace rolecall::pg {

/// What every trigger call has.
class TriggerCall {
 public:
    Relation relation() const { return data_->tg_relation; }
    TupleDesc columns() const { return RelationGetDescr(data_->tg_relation); }
    const Trigger& trigger() const { return *data_->tg_trigger; }

    /// An argument of CREATE TRIGGER; nullptr: it has none at this place.
    const char* argument(int place) const {
        return place < trigger().tgnargs ? trigger().tgargs[place] : nullptr;
    }

    /// The same as a number other than 0; raises an error where there is none.
    std::uint64_t id_argument(int place) const;

    /// The number of a column that the relation must have.
    AttrNumber column(const char* name, Oid type) const;

    const TriggerData& data() const { return *data_; }

 protected:
    enum class Level { row, statement };
    TriggerCall(FunctionCallInfo fcinfo, Level level);

 private:
    const TriggerData* data_;
};

/// A call by a trigger AFTER INSERT, UPDATE or DELETE FOR EACH ROW.
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

/// A call by a trigger AFTER ... FOR EACH STATEMENT.
class StatementTrigger : public TriggerCall {
 public:
    explicit StatementTrigger(FunctionCallInfo fcinfo) : TriggerCall(fcinfo, Level::statement) {}
};

/// A call by an event trigger.
class EventTrigger {
 public:
    explicit EventTrigger(FunctionCallInfo fcinfo);

    /// nullptr: the event is none of a statement.
    const Node* statement() const { return data_->parsetree; }

 private:
    const EventTriggerData* data_;
};

}  // namespace rolecall::pg
