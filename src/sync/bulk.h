// All users of a provider at once: one pass through its list, and events that it sends.
#pragma once

#include "pg/pg.h"

#include "provider/provider.h"

namespace rolecall::sync {

/// What a pass came to; what provider_sync_result has, in its order.
struct FullPass {
    std::int64_t listed = 0;     ///< on the list
    std::int64_t unknown = 0;    ///< of those, without a user here
    std::int64_t changed = 0;    ///< users that were changed, those who are gone included
    std::int64_t unchanged = 0;  ///< users that were confirmed
    std::int64_t missing = 0;    ///< users who are not on the list
    bool complete = false;       ///< is the list all there is?
};

/// Goes through a provider's list, asking without a transaction id, and applies it in the caller's
/// transaction: all of it or, after an error, nothing. Users who are not on a complete list are treated by
/// on_not_found. Who is on it twice, or of whom it says nothing that can be used, is left alone and named by
/// a warning; the list is not complete then. Error 54000 where it takes more memory than max_list_size.
/// Throws Error 55000 where the provider has no list, and what fetching, mapping and applying throw.
FullPass sync_provider(const std::string& name);

}  // namespace rolecall::sync
