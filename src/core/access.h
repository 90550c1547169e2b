// The compact block beside a cached document: what has_role() and auth_projection() need, so that they never
// parse jsonb. One string of bytes, position-independent, native endianness (it never leaves the machine).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace rolecall::core {

/// A role held on a scope. Scope kind "global" has the scope id "".
struct Grant {
    std::string_view role;
    std::string_view kind;
    std::string_view scope;

    auto operator<=>(const Grant&) const = default;  // bytes decide: no collation, no hash
};

/// What a document says about access. Views into memory that the caller owns.
struct AccessFacts {
    bool well_formed = true;  ///< false: the document breaks the contract, and role checks must say so
    bool active = true;
    bool superuser = false;
    bool has_tenant = false;
    bool has_email = false;
    std::string_view tenant;
    std::string_view email;
    std::span<Grant> grants;  ///< pack() sorts them and drops doubles
};

/// Sorts `facts.grants`, drops doubles and returns the bytes that pack() will need.
std::size_t prepare(AccessFacts& facts);

/// Writes prepared facts to `out`, which has prepare()'s number of bytes.
void pack(const AccessFacts& facts, char* out);

/// Reads a packed block. A view: the bytes must outlive it. They must come from pack().
class Access {
 public:
    explicit Access(const char* block) : block_(block) {}

    bool well_formed() const { return (flags() & flag_well_formed) != 0; }
    bool active() const { return (flags() & flag_active) != 0; }
    bool superuser() const { return (flags() & flag_superuser) != 0; }
    bool has_tenant() const { return (flags() & flag_tenant) != 0; }
    bool has_email() const { return (flags() & flag_email) != 0; }
    std::string_view tenant() const;
    std::string_view email() const;

    std::uint32_t size() const { return head().grants; }  ///< number of grants
    Grant grant(std::uint32_t i) const;                   ///< in ascending order

    /// Holds the role on any scope; on that scope or globally. Both: false for an inactive user.
    bool has_role(std::string_view role) const;
    bool has_role(std::string_view role, std::string_view scope, std::string_view kind) const;

    static constexpr std::uint32_t flag_well_formed = 1, flag_active = 2, flag_superuser = 4, flag_tenant = 8,
                                   flag_email = 16;

    /// What a block begins with.
    struct Head {
        std::uint32_t flags;
        std::uint32_t tenant_bytes;
        std::uint32_t email_bytes;
        std::uint32_t grants;
    };

 private:
    Head head() const {
        Head head;
        std::memcpy(&head, block_, sizeof head);
        return head;
    }
    std::uint32_t flags() const { return head().flags; }
    bool has_one_of(std::string_view role, std::string_view scope, std::string_view kind) const;
    template <typename Less>
    std::uint32_t lower_bound(Less less) const;

    const char* block_;
};

/// The scope kind of a grant that holds everywhere.
inline constexpr std::string_view global_kind = "global";

}  // namespace rolecall::core
