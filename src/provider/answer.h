// A provider's answer as jsonb: what anybody reads of it, and nothing else.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "provider/provider.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::provider {

/// The error of an answer, RC104; names the provider.
[[noreturn]] void bad_answer(const Provider& provider, const std::string& detail,
                             const std::string& hint = {});

/// Likewise, of more roles than max_roles.
[[noreturn]] void refuse_so_many_roles(const Provider& provider);

struct Answer {
    const Jsonb* json;
    bool is_odd;  ///< something in it cannot be held: refuse_oddity() finds it
};

/// Reads an answer about one user, or a page of a list, in UTF-8: what the mapping says is of interest.
/// Interruptible. Memory and time are bounded by max_roles, or by max_list_size. Throws bad_answer() where it
/// is not JSON.
Answer read_answer(const Provider& provider, const std::string& body);
Answer read_list_page(const Provider& provider, const std::string& body);

/// Throws bad_answer() where something in a part of an answer cannot be held.
void refuse_oddity(const Provider& provider, const Jsonb* part);

}  // namespace rolecall::provider
