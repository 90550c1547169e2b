// Reads one role of a provider's answer, or one given in SQL: its name and its scope.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/grant_set.h"
#include "provider/provider.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::provider {

enum class RoleIs {
    granted,
    skipped,    ///< has no scope, and scope_absent says to skip such roles
    unscoped,   ///< has no scope, and is never treated as global
    odd,        ///< has an unexpected shape, or is longer than an index can hold
    ambiguous,  ///< has several values where a path should find one
};

/// Reads a role of an answer or an event. The role is global if it says so, if it is a name and nothing else,
/// or if scope_absent says so.
RoleIs read_mapped_role(const Mapping& mapping, JsonbValue& element, core::OwnedGrant& grant);

/// Reads a role that is given in SQL. Returns false if `element` is not a role.
bool read_given_role(const JsonbValue& element, core::OwnedGrant& grant);

enum class Fit { fits, of_another_type, several };

/// Returns what a path finds: a string, or a number as text, or nullopt for null and nothing. Anything else
/// changes `fit`.
std::optional<std::string> text_at(const Jsonb* json, const std::string& path, Fit& fit);

}  // namespace rolecall::provider
