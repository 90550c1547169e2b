// Reads from a document what role checks need. The document follows the contract of `me`:
//
//     roles: ["name", ...], which are global, or objects as in pg/role_json.h
//     tenant_id, email: strings or null; is_active (default true), is_superuser (default false): booleans
#pragma once

#include "pg/pg.h"

#include "core/access.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::projection {

/// Returns views into `document`, with grants allocated in the current memory context. For a document that
/// breaks the contract, `well_formed` is false.
core::AccessFacts read_access(const Jsonb* document);

/// Returns the compact block of these facts, in the current memory context.
std::span<char> pack_access(core::AccessFacts& facts);

/// Returns the document as text, in the current memory context.
text* document_text(const Jsonb* document);

}  // namespace rolecall::projection
