// Addresses of a provider: a base URL that an administrator gave, and paths with the subject in them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rolecall::http {

/// Returns the URL without trailing slashes. Throws Error 22023 unless it is an absolute http or https URL
/// with a host, and without user, query and fragment.
std::string check_base_url(const std::string& text);

/// Throws Error 22023 unless the path starts with a slash and names "{subject}".
void check_request_path(const std::string& path);

/// base + path with each "{subject}" replaced by the subject, percent-encoded so that it stays one path
/// segment or one query value. Throws Error 22023 for a subject that cannot be one: empty, "." or "..".
std::string request_url(std::string_view base, std::string_view path, const std::string& subject);

/// The URL with "name=value" added to its query, the value percent-encoded.
std::string with_parameter(const std::string& url, const std::string& name, const std::string& value);

/// Where a reference in an answer of `base` points; nullopt: it cannot be one.
std::optional<std::string> resolve_url(const std::string& base, const std::string& reference);

/// Do both have the same scheme, host and port?
bool same_origin(const std::string& a, const std::string& b);

}  // namespace rolecall::http
