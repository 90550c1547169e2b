// The compact block beside a cached document. It holds what has_role() and auth_projection() need, so that
// these functions never parse jsonb. A block is one string of bytes, position-independent and in native byte
// order (it never leaves the machine).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace rolecall::core {

/// A role held on a scope. The scope kind "global" has the scope id "".
struct Grant {
    std::string_view role;
    std::string_view kind;
    std::string_view scope;

    auto operator<=>(const Grant&) const = default;  // compares bytes: no collation, no hash
};

/// What a document says about access. The members are views into memory that the caller owns.
struct AccessFacts {
    bool well_formed = true;  ///< false: the document breaks the contract, and role checks must report it
    bool active = true;
    bool superuser = false;
    bool has_tenant = false;
    bool has_email = false;
    std::string_view tenant;
    std::string_view email;
    std::span<Grant> grants;  ///< pack() sorts them and drops duplicates
};

/// Sorts `facts.grants`, drops duplicates, and returns the number of bytes that pack() will write.
std::size_t prepare(AccessFacts& facts);

/// Writes prepared facts to `out`, which has room for the number of bytes that prepare() returned.
void pack(const AccessFacts& facts, char* out);

/// Reads a block that pack() wrote. This is a view: the block must outlive it.
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

    /// The first returns whether the user holds the role on any scope, the second whether the user holds it
    /// on this scope or globally. Both return false for an inactive user.
    bool has_role(std::string_view role) const;
    bool has_role(std::string_view role, std::string_view scope, std::string_view kind) const;

    static constexpr std::uint32_t flag_well_formed = 1, flag_active = 2, flag_superuser = 4, flag_tenant = 8,
                                   flag_email = 16;

    /// The first bytes of a block.
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
