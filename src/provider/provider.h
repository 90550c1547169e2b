// A provider as users configure it: a foreign server of the wrapper "rolecall", and its owner's user mapping.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/json_shape.h"
#include "http/pager.h"

namespace rolecall::provider {

/// The places of things in a provider's answers, as jsonpath expressions; empty if the kind has none.
struct Mapping {
    /// What a role is if its scope is absent, null or empty.
    enum class ScopeAbsent { error, skip, global };

    std::string roles;  ///< in the answer; strict, so that absent differs from empty
    /// This path and the next two are in each role. If the other two are empty, scopes are {"on": ...},
    /// pg/role_json.h.
    std::string role;
    std::string scope_kind;
    std::string scope_id;
    ScopeAbsent scope_absent = ScopeAbsent::error;  ///< used if scope_kind or scope_id is set
    std::string subject;                            ///< in the answer
    std::string active;  ///< in the answer: a boolean; strict, so that absent differs from false
    std::string users;   ///< on a page of the list; strict
    std::string total;   ///< on the same page: the number of users on all pages
    std::string event;   ///< in an event: the user; strict

    // Derived from the members above.
    bool roles_may_be_absent = false;  ///< `roles` also matches an answer that says nothing about roles
    bool roles_picks_all = false;      ///< `roles` picks every element of its array
    std::vector<std::string> roles_unknown, users_unknown, event_unknown;  ///< pg::json_unknown_paths()
    core::JsonShape role_item;  ///< the parts of a role that are read
    core::JsonShape answer;     ///< the parts of an answer that are read
    core::JsonShape list;       ///< the parts of a page of the list that are read

    bool has_scope_paths() const { return !scope_kind.empty() || !scope_id.empty(); }
};

/// What a provider's syncs may do to the directory.
struct Rules {
    enum class UnknownRoles { create, skip, error };
    enum class OnNotFound { keep, revoke, deactivate };

    double max_revocation = 1;      ///< the share of grants, and of users, that one window may take away
    int max_revocation_users = 10;  ///< fewer users may exceed the share, except in small directories
    std::int64_t revocation_window_seconds = 0;
    std::vector<std::string> protected_roles;  ///< their last holder keeps them
    UnknownRoles unknown_roles = UnknownRoles::create;
    OnNotFound on_not_found = OnNotFound::keep;
    std::int64_t max_staleness_seconds = 0;  ///< 0: none
};

struct Provider {
    Oid server = InvalidOid;
    std::string name;
    std::string base_url;
    std::string request_path;
    std::string list_request_path;  ///< for all users; empty: there is no list
    http::Paging list_paging;
    std::string roles_request_path;  ///< for a second request, whose answer has the roles; usually empty
    http::Paging paging;             ///< of the answer that has the roles
    http::Credentials credentials;
    std::string ca_file;
    std::int64_t ttl_seconds = 0;
    std::int64_t active_seconds = 0;  ///< only users that were active within this time are due; 0: all users
    std::optional<std::string> proxy = "";  ///< as in http::Request
    std::chrono::milliseconds timeout{0};
    std::chrono::milliseconds connect_timeout{0};
    int max_in_flight = 0;
    int max_roles = 0;                 ///< of one user
    std::size_t max_list_size = 0;     ///< bytes that a pass keeps of a list
    double rate_limit = 0;             ///< requests a second; 0: none
    std::vector<std::string> headers;  ///< "Name: value", also those of the user mapping
    Mapping mapping;
    Rules rules;

    /// Returns how many items of an answer roles_path may examine. The items that its conditions exclude may
    /// be a few times as many as the roles, but not more.
    std::size_t most_role_items() const {
        constexpr std::size_t left_out = 4;
        return static_cast<std::size_t>(max_roles) * (mapping.roles_picks_all ? 1 : left_out);
    }

    /// rolecall.sync_ttl: for providers that set no TTL, and for users without a provider.
    static std::int64_t default_ttl_seconds();
};

/// Reads the current options of a provider. Throws Error 42704 if there is no such server, 42809 if it
/// belongs to another wrapper, 28000 if its owner's mapping lacks what `auth` needs.
Provider read_provider(const std::string& name);

}  // namespace rolecall::provider
