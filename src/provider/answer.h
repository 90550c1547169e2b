// A provider's answer as jsonb, reduced to the parts that are read.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "provider/provider.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::provider {

/// Throws Error RC104; the message names the provider.
[[noreturn]] void bad_answer(const Provider& provider, const std::string& detail,
                             const std::string& hint = {});

/// Likewise, for an answer with more than max_roles roles.
[[noreturn]] void refuse_so_many_roles(const Provider& provider);

struct Answer {
    const Jsonb* json;
    bool is_odd;  ///< a part of it cannot be stored; refuse_oddity() finds that part
};

/// Each parses an answer about one user, or a page of a list, in UTF-8. Returns the parts that the mapping
/// reads. Interruptible. Memory and time are bounded by max_roles, or by max_list_size. Calls bad_answer() if
/// the text is not JSON.
Answer read_answer(const Provider& provider, const std::string& body);
Answer read_list_page(const Provider& provider, const std::string& body);

/// Calls bad_answer() if something in this part of an answer cannot be stored.
void refuse_oddity(const Provider& provider, const Jsonb* part);

}  // namespace rolecall::provider
