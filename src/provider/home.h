// Whether providers may be called from this database. A database that was restored or copied contains the
// credentials of the original. It calls no provider until rolecall.allow_providers() permits it. Needs SPI.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/error.h"

namespace rolecall::provider {

/// Returns why no provider is called from this database, or nullopt if providers are called.
std::optional<std::string> why_no_calls();

/// Returns the error for a caller that needs a provider nevertheless.
Error no_calls_error(const std::string& why);

}  // namespace rolecall::provider
