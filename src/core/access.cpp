#include "core/access.h"

#include <algorithm>
#include <cstring>

namespace rolecall::core {

namespace {

// The block: Head, then a GrantHead for each grant, then tenant, e-mail and the grants' bytes, three strings
// each.
struct Head {
    std::uint32_t flags;
    std::uint32_t tenant_bytes;
    std::uint32_t email_bytes;
    std::uint32_t grants;
};

struct GrantHead {
    std::uint32_t offset;  // of its strings in the block
    std::uint32_t role_bytes;
    std::uint32_t kind_bytes;
    std::uint32_t scope_bytes;
};

// Nothing is said about the alignment of the block, so everything is read by memcpy.
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

// Up to here grants are looked through by their lengths, which lie side by side; beyond, bisected.
constexpr std::uint32_t few_grants = 16;

GrantHead grant_head(const char* block, std::uint32_t i) {
    return get<GrantHead>(block + sizeof(Head) + i * sizeof(GrantHead));
}

std::uint32_t length(std::string_view text) { return static_cast<std::uint32_t>(text.size()); }

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

Access::Access(const char* block) : block_(block) {}

std::uint32_t Access::flags() const { return get<Head>(block_).flags; }

std::uint32_t Access::size() const { return get<Head>(block_).grants; }

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

// The first grant that is not less, by a predicate on grants; size() when all are.
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

// Is one of few grants this one, or the role held globally?
bool Access::has_one_of(const Grant& wanted) const {
    const std::uint32_t count = size();
    for (std::uint32_t i = 0; i < count; ++i) {
        const GrantHead lengths = grant_head(block_, i);
        if (lengths.role_bytes != wanted.role.size())
            continue;
        const bool fits =
            lengths.kind_bytes == wanted.kind.size() && lengths.scope_bytes == wanted.scope.size();
        const bool may_be_global = lengths.scope_bytes == 0 && lengths.kind_bytes == global_kind.size();
        if (!fits && !may_be_global)
            continue;
        const Grant held = grant(i);
        if (held.role == wanted.role && ((held.scope == wanted.scope && held.kind == wanted.kind) ||
                                         (held.scope.empty() && held.kind == global_kind)))
            return true;
    }
    return false;
}

bool Access::has_role(std::string_view role, std::string_view scope, std::string_view kind) const {
    if (!active())
        return false;
    if (size() <= few_grants)
        return has_one_of({role, kind, scope});
    const auto holds = [&](const Grant& wanted) {
        const std::uint32_t i = lower_bound([&](const Grant& g) { return g < wanted; });
        return i < size() && grant(i) == wanted;
    };
    return holds({role, kind, scope}) || holds({role, global_kind, {}});
}

}  // namespace rolecall::core
