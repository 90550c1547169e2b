// One role of a provider's answer, or of what is given in SQL: its name and its scope.
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
    skipped,    ///< has no scope, which the option scope_absent says to skip
    unscoped,   ///< has no scope, and is never taken for a role on everything
    odd,        ///< has an unexpected shape, or is longer than an index can hold
    ambiguous,  ///< has several values where a path should find one
};

/// Reads a role of an answer, or of an event. It is global where it says so, is a name and nothing else, or
/// scope_absent says so.
RoleIs read_mapped_role(const Mapping& mapping, JsonbValue& element, core::OwnedGrant& grant);

/// Reads a role that is given in SQL; false: it is none.
bool read_given_role(const JsonbValue& element, core::OwnedGrant& grant);

enum class Fit { fits, of_another_type, several };

/// What a path finds: a string, or a number as text; nullopt for null and nothing. `fit` changes for anything
/// else.
std::optional<std::string> text_at(const Jsonb* json, const std::string& path, Fit& fit);

}  // namespace rolecall::provider
