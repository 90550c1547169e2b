#include "core/access.h"

#include <algorithm>
#include <cstring>

namespace rolecall::core {

namespace {

// The block holds Access::Head, then a GrantHead for each grant, then the tenant, the e-mail address and
// three strings for each grant.
using Head = Access::Head;

struct GrantHead {
    std::uint32_t offset;  // where its strings start in the block
    std::uint32_t role_bytes;
    std::uint32_t kind_bytes;
    std::uint32_t scope_bytes;
};

// The block may have any alignment, so everything is read by memcpy.
template <typename T>
T get(const char* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

char* put(char* to, const void* from, std::size_t bytes) {
    if (bytes > 0)
        std::memcpy(to, from, bytes);
    return to + bytes;
}

char* put(char* to, std::string_view text) { return put(to, text.data(), text.size()); }

// Up to this many grants are searched by comparing lengths, which lie side by side; larger sets are bisected.
constexpr std::uint32_t few_grants = 16;

GrantHead grant_head(const char* block, std::uint32_t i) {
    return get<GrantHead>(block + sizeof(Head) + i * sizeof(GrantHead));
}

std::uint32_t length(std::string_view text) { return static_cast<std::uint32_t>(text.size()); }

// Compares in line because names are short: a call of memcmp would cost more than the comparison.
inline bool are_same(const char* at, std::string_view text) {
    const char* other = text.data();
    std::size_t left = text.size();
    for (; left > 8; left -= 8, at += 8, other += 8)
        if (get<std::uint64_t>(at) != get<std::uint64_t>(other))
            return false;
    // The last 4 to 8 bytes are compared as two words that may overlap.
    if (left >= 4)
        return get<std::uint32_t>(at) == get<std::uint32_t>(other) &&
               get<std::uint32_t>(at + left - 4) == get<std::uint32_t>(other + left - 4);
    for (; left > 0; --left)
        if (*at++ != *other++)
            return false;
    return true;
}

}  // namespace

std::size_t prepare(AccessFacts& facts) {
    std::sort(facts.grants.begin(), facts.grants.end());
    const auto end = std::unique(facts.grants.begin(), facts.grants.end());
    facts.grants = facts.grants.first(static_cast<std::size_t>(end - facts.grants.begin()));

    std::size_t bytes = sizeof(Head) + facts.tenant.size() + facts.email.size();
    for (const Grant& grant : facts.grants)
        bytes += sizeof(GrantHead) + grant.role.size() + grant.kind.size() + grant.scope.size();
    return bytes;
}

void pack(const AccessFacts& facts, char* out) {
    const Head head{
        .flags = (facts.well_formed ? Access::flag_well_formed : 0) |
                 (facts.active ? Access::flag_active : 0) | (facts.superuser ? Access::flag_superuser : 0) |
                 (facts.has_tenant ? Access::flag_tenant : 0) | (facts.has_email ? Access::flag_email : 0),
        .tenant_bytes = length(facts.tenant),
        .email_bytes = length(facts.email),
        .grants = static_cast<std::uint32_t>(facts.grants.size()),
    };
    char* heads = put(out, &head, sizeof head);
    char* at = heads + facts.grants.size() * sizeof(GrantHead);
    at = put(at, facts.tenant);
    at = put(at, facts.email);
    for (const Grant& grant : facts.grants) {
        const GrantHead lengths{static_cast<std::uint32_t>(at - out), length(grant.role), length(grant.kind),
                                length(grant.scope)};
        heads = put(heads, &lengths, sizeof lengths);
        at = put(put(put(at, grant.role), grant.kind), grant.scope);
    }
}

std::string_view Access::tenant() const {
    const auto head = get<Head>(block_);
    return {block_ + sizeof(Head) + head.grants * sizeof(GrantHead), head.tenant_bytes};
}

std::string_view Access::email() const {
    const auto head = get<Head>(block_);
    return {block_ + sizeof(Head) + head.grants * sizeof(GrantHead) + head.tenant_bytes, head.email_bytes};
}

Grant Access::grant(std::uint32_t i) const {
    const GrantHead lengths = grant_head(block_, i);
    const char* at = block_ + lengths.offset;
    return {.role = {at, lengths.role_bytes},
            .kind = {at + lengths.role_bytes, lengths.kind_bytes},
            .scope = {at + lengths.role_bytes + lengths.kind_bytes, lengths.scope_bytes}};
}

// Returns the first grant for which `less` is false, or size() when there is none.
template <typename Less>
std::uint32_t Access::lower_bound(Less less) const {
    std::uint32_t low = 0;
    std::uint32_t high = size();
    while (low < high) {
        const std::uint32_t middle = low + (high - low) / 2;
        if (less(grant(middle)))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool Access::has_role(std::string_view role) const {
    if (!active())
        return false;
    const std::uint32_t i = lower_bound([&](const Grant& g) { return g.role < role; });
    return i < size() && grant(i).role == role;
}

// Returns whether the role is held on this scope or globally. For at most few_grants grants.
bool Access::has_one_of(std::string_view role, std::string_view scope, std::string_view kind) const {
    const char* at = block_ + sizeof(Head);
    for (std::uint32_t left = size(); left > 0; --left, at += sizeof(GrantHead)) {
        const auto held = get<GrantHead>(at);
        if (held.role_bytes != role.size())
            continue;
        const char* const held_role = block_ + held.offset;
        const char* const held_kind = held_role + held.role_bytes;
        const char* const held_scope = held_kind + held.kind_bytes;
        const auto is_on = [&](std::string_view this_scope, std::string_view this_kind) {
            return held.scope_bytes == this_scope.size() && held.kind_bytes == this_kind.size() &&
                   are_same(held_scope, this_scope) && are_same(held_kind, this_kind);
        };
        if (are_same(held_role, role) && (is_on(scope, kind) || is_on({}, global_kind)))
            return true;
    }
    return false;
}

bool Access::has_role(std::string_view role, std::string_view scope, std::string_view kind) const {
    if (!active())
        return false;
    if (size() <= few_grants)
        return has_one_of(role, scope, kind);
    const auto holds = [&](const Grant& wanted) {
        const std::uint32_t i = lower_bound([&](const Grant& g) { return g < wanted; });
        return i < size() && grant(i) == wanted;
    };
    return holds({role, kind, scope}) || holds({role, global_kind, {}});
}

}  // namespace rolecall::core
