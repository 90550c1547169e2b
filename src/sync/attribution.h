// Who changes grants, and why: what the audit writes down of it (sql/extension/audit.sql).
#pragma once

#include "pg/pg.h"

namespace rolecall::sync {

enum class Cause { sync, given, bulk, event };

/// While it lives, what changes in this process is caused by a sync; otherwise by ordinary SQL. Cannot be had
/// from SQL: nobody puts down his own changes to somebody else.
class Attribution {
 public:
    /// `actor` is empty for the user of the session. `request_id` as in rolecall.request_id.
    Attribution(Cause cause, std::string actor, std::string provider, std::string request_id);
    ~Attribution();
    Attribution(const Attribution&) = delete;
    Attribution& operator=(const Attribution&) = delete;

    Cause cause;
    std::string actor;
    std::string provider;
    std::string request_id;

 private:
    const Attribution* outer_;
};

/// rolecall.request_id, or where that is not set a new one.
std::string current_request_id();

/// 128 random bits.
std::string new_request_id();

}  // namespace rolecall::sync
