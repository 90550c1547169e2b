// Reads out of a document what role checks need, by the contract of `me`:
//
//   roles: ["name", ...], which are global, or objects as pg/role_json.h has them
//   tenant_id, email: strings or null; is_active (true when absent), is_superuser (false): booleans
#pragma once

#include "pg/pg.h"

#include "core/access.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::projection {

/// Views into `document`, with grants allocated in the current memory context. A document that breaks the
/// contract gives facts that are not well formed.
core::AccessFacts read_access(const Jsonb* document);

/// The compact block of these facts, in the current memory context.
std::span<char> pack_access(core::AccessFacts& facts);

/// The document as text, in the current memory context.
text* document_text(const Jsonb* document);

}  // namespace rolecall::projection
