// Where providers are called from. A database that was restored or copied holds the credentials of the one it
// came from: it calls nobody until rolecall.allow_providers() says so. Needs SPI.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/error.h"

namespace rolecall::provider {

/// Why no provider is called from this database; nullopt: they are.
std::optional<std::string> why_no_calls();

/// The error of whoever wants to nevertheless.
Error no_calls_error(const std::string& why);

}  // namespace rolecall::provider
