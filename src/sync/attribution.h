// The actor and the cause of changes to grants, as the audit records them (sql/install/code/audit.sql).
#pragma once

#include "pg/pg.h"

#include <unordered_map>

namespace rolecall::sync {

enum class Cause { sync, given, bulk, event };

/// While this object lives, changes made in this process are attributed to a sync, otherwise to ordinary SQL.
/// SQL cannot create one, so that no user can attribute changes to another user.
class Attribution {
 public:
    /// An empty `actor` is the user of the session. `request_id` is as in rolecall.request_id.
    Attribution(Cause cause, std::string actor, std::string provider, std::string request_id);
    /// Here each user's changes come from a separate request: `request_ids` are by user.
    Attribution(Cause cause, std::string actor, std::string provider,
                std::unordered_map<std::int64_t, std::string> request_ids);
    ~Attribution();
    Attribution(const Attribution&) = delete;
    Attribution& operator=(const Attribution&) = delete;

    Cause cause;
    std::string actor;
    std::string provider;
    /// Returns "" if there is none.
    const std::string& request_id(std::int64_t user) const;

 private:
    std::string request_id_;
    std::unordered_map<std::int64_t, std::string> request_ids_;
    const Attribution* outer_;
};

/// Returns rolecall.request_id, or a new one if that is not set.
std::string current_request_id();

/// Returns 128 random bits.
std::string new_request_id();

}  // namespace rolecall::sync
