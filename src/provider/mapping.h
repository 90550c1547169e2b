// From a provider's answers to what it says of a user.
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

/// What a provider says of one user; 000-25 of the requirements.
struct ProviderUser {
    std::optional<std::string> code;
    std::vector<core::OwnedGrant> roles;  ///< normalized
    std::optional<std::string> gone{};    ///< why the subject counts as not there; then there are no roles
    bool unchanged = false;               ///< instead of roles: the answer is the one that was known
    bool silent = false;                  ///< about roles: there are none where they may be absent
    Version version{};                    ///< of the answer
};

/// Maps the answers about one subject: who it is from the first one, the roles from all pages of the last,
/// which may be the same. What nobody reads may hold anything. Throws Error RC104 where one is not JSON, is
/// about another subject, has no roles member, more than max_roles, a role of the wrong shape or without
/// scope, an item of which a condition of roles_path is unknown, or holds what the database cannot where it
/// is read; names the provider.
ProviderUser map_answers(const Provider& provider, const std::string& subject,
                         const std::vector<http::Pages>& answers);

/// The first half of it: whom the answer is about, and whether that subject is gone.
ProviderUser map_subject(const Provider& provider, const std::string& subject, const http::Pages& answer);

/// A user on a list of whom nothing can be made.
struct OddUser {
    std::string name;  ///< the subject, clipped, or where on the page it stands
    std::string why;   ///< a sentence
};

/// A page of a provider's list.
struct ListPage {
    std::vector<ProviderUser> users;    ///< each with a code
    std::vector<OddUser> odd;           ///< they stop nobody else
    std::optional<std::int64_t> total;  ///< how many there are on all pages, where the provider says so
};

/// Maps a page of the list, likewise; what is wrong with one user is no error.
ListPage map_list_page(const Provider& provider, const std::string& page);

/// Maps an event about a user; `has_roles` says whether it names the roles. Throws Error 22023.
ProviderUser map_event(const Provider& provider, const Jsonb* event, bool& has_roles);

/// The same for a user given as {email, code, display_name, function, roles: [{role, on}]}. Throws Error
/// 22023.
ProviderUser read_provider_user(const Jsonb* jsonb);

/// The roles of [{role, on}, ...], ["name", "name@kind:id", "name@global", ...]. Throws Error 22023.
std::vector<core::OwnedGrant> read_roles(const Jsonb* roles);

/// [{"role": ..., "on": ...}, ...] in the current memory context.
Jsonb* roles_to_jsonb(const std::vector<core::OwnedGrant>& roles);

}  // namespace rolecall::provider
