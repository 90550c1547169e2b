// Maps a provider's answers to users and their roles.
#pragma once

#include "pg/pg.h"

#include <optional>

#include "core/grant_set.h"
#include "http/fetcher.h"
#include "provider/provider.h"
#include "provider/validators.h"

extern "C" {
#include "utils/jsonb.h"
}

namespace rolecall::provider {

/// A provider's statement about one user; 000-25 of the requirements.
struct ProviderUser {
    std::optional<std::string> code;
    std::vector<core::OwnedGrant> roles;  ///< normalized
    std::optional<std::string> gone{};    ///< why the subject counts as gone; then there are no roles
    bool unchanged = false;               ///< instead of roles: the answer is the known one
    bool silent = false;                  ///< the answer has no roles, and they may be absent
    Version version{};                    ///< of the answer
};

/// Maps the answers about one subject. The subject is read from the first answer, the roles from all pages of
/// the last, which may be the same. Parts that are not read may contain anything. Throws Error RC104, which
/// names the provider, if an answer is not JSON, is about another subject, has no roles member, has more than
/// max_roles roles, has a role of the wrong shape or without scope, has an item for which a condition of
/// roles_path is unknown, or contains something that the database cannot store in a part that is read.
ProviderUser map_answers(const Provider& provider, const std::string& subject,
                         const std::vector<http::Pages>& answers);

/// Does the first half of map_answers(): reads the subject of the answer, and whether that subject is gone.
ProviderUser map_subject(const Provider& provider, const std::string& subject, const http::Pages& answer);

/// A user on a list whose entry cannot be used.
struct OddUser {
    std::string name;  ///< the subject, clipped, or its position on the page
    std::string why;   ///< a sentence
};

/// A page of a provider's list.
struct ListPage {
    std::vector<ProviderUser> users;    ///< each with a code
    std::vector<OddUser> odd;           ///< they do not affect the other users
    std::optional<std::int64_t> total;  ///< the number of users on all pages, if the provider says it
};

/// Maps a page of the list, likewise, except that a wrong entry for one user is not an error.
ListPage map_list_page(const Provider& provider, const std::string& page);

/// Maps an event about a user. `has_roles` returns whether the event contains the roles. Throws Error 22023.
ProviderUser map_event(const Provider& provider, const Jsonb* event, bool& has_roles);

/// Likewise for a user given as {email, code, display_name, function, roles: [{role, on}]}. Throws Error
/// 22023.
ProviderUser read_provider_user(const Jsonb* jsonb);

/// Reads the roles of [{role, on}, ...] or ["name", "name@kind:id", "name@global", ...]. Throws Error 22023.
std::vector<core::OwnedGrant> read_roles(const Jsonb* roles);

/// Returns [{"role": ..., "on": ...}, ...] in the current memory context.
Jsonb* roles_to_jsonb(const std::vector<core::OwnedGrant>& roles);

}  // namespace rolecall::provider
