// Synchronizes all users of a provider: one pass through its list, and events that it sends.
#pragma once

#include "pg/pg.h"

#include "provider/provider.h"

namespace rolecall::sync {

/// The result of a pass: the columns of provider_sync_result, in order.
struct FullPass {
    std::int64_t listed = 0;     ///< entries on the list
    std::int64_t unknown = 0;    ///< listed, without a user here
    std::int64_t changed = 0;    ///< users that were changed, including those that are gone
    std::int64_t unchanged = 0;  ///< users that were confirmed
    std::int64_t missing = 0;    ///< users that are not on the list
    bool complete = false;       ///< whether the list is complete
};

/// Fetches a provider's list without assigning a transaction id, and applies it in the caller's transaction:
/// the whole list or, after an error, nothing. Users that are not on a complete list are treated by
/// on_not_found. A user that is listed twice, or whose entry cannot be used, is left unchanged and named in a
/// warning; the list is not complete then. Throws Error 54000 if the list takes more memory than
/// max_list_size, 55000 if the provider has no list, and what fetching, mapping and applying throw.
FullPass sync_provider(const std::string& name);

}  // namespace rolecall::sync
