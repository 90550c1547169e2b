// URLs of a provider: a base URL that an administrator configures, and paths that contain the subject.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rolecall::http {

/// Returns the URL without trailing slashes. Throws Error 22023 unless it is an absolute http or https URL
/// with a host, and without user, query and fragment.
std::string check_base_url(const std::string& text);

/// Throws Error 22023 unless the path starts with a slash, contains "{subject}", and is printable ASCII
/// without spaces.
void check_request_path(const std::string& path);

/// Returns base + path, with each "{subject}" replaced by the subject. It is percent-encoded, so that it
/// stays one path segment or one query value. Throws Error 22023 if the subject is empty, "." or "..", which
/// cannot be a path segment.
std::string request_url(std::string_view base, std::string_view path, const std::string& subject);

/// Returns the URL with "name=value" added to its query. The value is percent-encoded.
std::string with_parameter(const std::string& url, const std::string& name, const std::string& value);

/// Resolves a reference in an answer from `base`. Returns nullopt if the reference is invalid.
std::optional<std::string> resolve_url(const std::string& base, const std::string& reference);

/// Returns whether both URLs have the same scheme, host and port. Returns false if one is invalid.
bool same_origin(const std::string& a, const std::string& b);

}  // namespace rolecall::http
