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

struct Answer {
    const Jsonb* json;
    bool is_odd;  ///< something in it cannot be held: oddity_of() finds it
};

/// Reads an answer in UTF-8, of which `shape` says what is of interest. Throws bad_answer() where it is not
/// JSON.
Answer read_answer(const Provider& provider, const std::string& body, const core::JsonShape& shape);

/// Why something in a part of an answer cannot be held: a sentence; nullptr: all of it can.
const char* oddity_of(const Jsonb* part);

}  // namespace rolecall::provider
