// Checks and parses values of options.
#pragma once

#include "pg/pg.h"

#include "http/pager.h"

namespace rolecall::provider {

constexpr std::int64_t longest_interval = std::int64_t{3660} * 86'400'000;  ///< milliseconds

/// Throws Error 22023.
[[noreturn]] void invalid(const std::string& message, const std::string& hint = {});

// Each returns if the value is valid and throws Error 22023 otherwise. check_file() also throws 42501 if the
// user is not a superuser. The messages do not name the option.
void check_not_empty(const std::string& value);
void check_secret(const std::string& value);
void check_username(const std::string& value);
void check_auth(const std::string& value);
void check_base_url(const std::string& value);
void check_proxy(const std::string& value);
void check_interval(const std::string& value);
void check_scope(const std::string& value);
void check_timeout(const std::string& value);
void check_path(const std::string& value);
void check_strict_path(const std::string& value);
void check_file(const std::string& value);
void check_headers(const std::string& value);
void check_list_path(const std::string& value);
void check_window(const std::string& value);
void check_share(const std::string& value);
void check_size(const std::string& value);
void check_scope_absent(const std::string& value);
void check_unknown_roles(const std::string& value);
void check_on_not_found(const std::string& value);
void check_names(const std::string& value);
void check_count(const std::string& value);
void check_rate(const std::string& value);
void check_first_page(const std::string& value);
void check_paging(const std::string& value);
void check_parameter(const std::string& value);
void check_cursor_path(const std::string& value);

/// Returns the milliseconds of a valid interval.
std::int64_t parse_milliseconds(const std::string& text);

/// Returns the kilobytes of a valid size. Throws Error 22023 otherwise.
int parse_kilobytes(const std::string& value);

/// Throws Error 22023 if there is no such style.
http::Paging::Style paging_style(const std::string& name);

/// Splits the option `headers`, which has lines of "Name: value".
std::vector<std::string> split_headers(const std::string& text);

/// Splits a list of names, separated by commas with optional spaces. Returns them sorted, without duplicates.
std::vector<std::string> split_list(const std::string& text);

}  // namespace rolecall::provider
