// Looks values up in a JSON text without building a tree. Paging needs them before PostgreSQL parses the
// answer. A syntax error in the part that is read is an error here. PostgreSQL checks the whole text later.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rolecall::http {

/// The names of the members that lead to a value: "$" has none, "$.a.b" and "$.\"a\".b" have two. This is a
/// subset of the SQL/JSON path language.
class MemberPath {
 public:
    /// Returns nullopt if the path is not in this subset.
    static std::optional<MemberPath> parse(std::string_view text);

    /// Returns the path of the array whose elements `path` selects, which is the part before the first "[*]".
    /// Returns nullopt if there is no "[*]" or that part is not in this subset.
    static std::optional<MemberPath> of_array(std::string_view path);

    const std::vector<std::string>& members() const { return members_; }

 private:
    std::vector<std::string> members_;
};

/// Returns the number of elements of the array at `path`, or nullopt if there is no array. Throws Error RC104
/// if the text is not JSON.
std::optional<std::size_t> count_elements(std::string_view json, const MemberPath& path);

/// Returns the string or number at `path` as text, or nullopt if there is no value or a null. Throws Error
/// RC104 if the text is not JSON, if the value has another type or is not valid text, or if the path leads
/// through a value that is neither an object nor null.
std::optional<std::string> scalar_at(std::string_view json, const MemberPath& path);

}  // namespace rolecall::http
