// Who changes grants, and why: what the audit writes down of it (sql/install/code/audit.sql).
#pragma once

#include "pg/pg.h"

#include <unordered_map>

namespace rolecall::sync {

enum class Cause { sync, given, bulk, event };

/// While it lives, what changes in this process is caused by a sync; otherwise by ordinary SQL. Cannot be had
/// from SQL: nobody puts down his own changes to somebody else.
class Attribution {
 public:
    /// `actor` is empty for the user of the session. `request_id` as in rolecall.request_id.
    Attribution(Cause cause, std::string actor, std::string provider, std::string request_id);
    /// Each user's changes come from a request of its own: `request_ids` by user.
    Attribution(Cause cause, std::string actor, std::string provider,
                std::unordered_map<std::int64_t, std::string> request_ids);
    ~Attribution();
    Attribution(const Attribution&) = delete;
    Attribution& operator=(const Attribution&) = delete;

    Cause cause;
    std::string actor;
    std::string provider;
    /// Empty: none.
    const std::string& request_id(std::int64_t user) const;

 private:
    std::string request_id_;
    std::unordered_map<std::int64_t, std::string> request_ids_;
    const Attribution* outer_;
};

/// rolecall.request_id, or where that is not set a new one.
std::string current_request_id();

/// 128 random bits.
std::string new_request_id();

}  // namespace rolecall::sync
