// A provider as users configure it: a foreign server of the wrapper "rolecall", and its owner's user mapping.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/json_shape.h"
#include "http/pager.h"

namespace rolecall::provider {

/// Where in a provider's answers things are: jsonpath expressions, empty where the kind has none.
struct Mapping {
    /// What a role is whose scope is not there, null or empty.
    enum class ScopeAbsent { error, skip, global };

    std::string roles;  ///< in the answer; strict, so that absent differs from empty
    std::string
        role;  ///< these three in each role; without the last two, scopes are {"on": ...}, pg/role_json.h
    std::string scope_kind;
    std::string scope_id;
    ScopeAbsent scope_absent = ScopeAbsent::error;  ///< where one of the last two is set
    std::string subject;                            ///< these in the answer
    std::string active;                             ///< a boolean; strict, so that absent differs from false
    std::string users;                              ///< on a page of the list; strict
    std::string total;                              ///< there: how many users there are
    std::string event;                              ///< in an event: the user; strict

    // What follows from them.
    bool roles_may_be_absent = false;  ///< `roles` fits an answer without them: nothing found says nothing
    bool roles_picks_all = false;      ///< `roles` leaves out no element of its array
    std::vector<std::string> roles_unknown, users_unknown, event_unknown;  ///< pg::json_unknown_paths()
    core::JsonShape role_item;                                             ///< what is read of each role
    core::JsonShape answer;                                                ///< all that is read of one
    core::JsonShape list;                                                  ///< and of a page of the list

    bool has_scope_paths() const { return !scope_kind.empty() || !scope_id.empty(); }
};

/// What a provider's syncs may do to the directory.
struct Rules {
    enum class UnknownRoles { create, skip, error };
    enum class OnNotFound { keep, revoke, deactivate };

    double max_revocation = 1;      ///< the share of grants, and of users, that a window may cost
    int max_revocation_users = 10;  ///< fewer users may lose more, in all but small directories
    std::int64_t revocation_window_seconds = 0;
    std::vector<std::string> protected_roles;  ///< whose last holder keeps them
    UnknownRoles unknown_roles = UnknownRoles::create;
    OnNotFound on_not_found = OnNotFound::keep;
    std::int64_t max_staleness_seconds = 0;  ///< 0: none
};

struct Provider {
    Oid server = InvalidOid;
    std::string name;
    std::string base_url;
    std::string request_path;
    std::string list_request_path;  ///< of all users; empty: there is none
    http::Paging list_paging;
    std::string roles_request_path;  ///< of a second request, whose answer has the roles; mostly empty
    http::Paging paging;             ///< of the answer that has the roles
    http::Credentials credentials;
    std::string ca_file;
    std::int64_t ttl_seconds = 0;
    std::int64_t active_seconds = 0;        ///< only users who were active so recently are due; 0: everybody
    std::optional<std::string> proxy = "";  ///< as http::Request has it
    std::chrono::milliseconds timeout{0};
    std::chrono::milliseconds connect_timeout{0};
    int max_in_flight = 0;
    int max_roles = 0;                 ///< of one user
    std::size_t max_list_size = 0;     ///< bytes that a pass keeps of a list
    double rate_limit = 0;             ///< requests a second; 0: none
    std::vector<std::string> headers;  ///< "Name: value", also those of the user mapping
    Mapping mapping;
    Rules rules;

    /// Items of an answer that roles_path may look at: those that its conditions leave out are not many
    /// times as many as there are roles.
    std::size_t most_role_items() const {
        constexpr std::size_t left_out = 4;
        return static_cast<std::size_t>(max_roles) * (mapping.roles_picks_all ? 1 : left_out);
    }

    /// rolecall.sync_ttl: where a provider says nothing, and for users without one.
    static std::int64_t default_ttl_seconds();
};

/// Reads a provider's options, as they are now. Throws Error 42704 where there is no such server, 42809 where
/// it belongs to another wrapper, 28000 where its owner's mapping lacks what `auth` needs.
Provider read_provider(const std::string& name);

}  // namespace rolecall::provider
