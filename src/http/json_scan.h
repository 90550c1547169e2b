// Looks something up in a JSON text without making a tree of it: what paging needs to know of an answer
// before PostgreSQL sees it. Anything that is not JSON up to there is an error; whether all of it is JSON is
// for PostgreSQL to say.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rolecall::http {

/// The members that lead to a value: "$" is none, "$.a.b" or "$.\"a\".b" two. A part of SQL/JSON's paths.
class MemberPath {
 public:
    /// nullopt for any other path.
    static std::optional<MemberPath> parse(std::string_view text);

    /// The path of the array whose elements `path` picks: what stands before the first "[*]".
    static std::optional<MemberPath> of_array(std::string_view path);

    const std::vector<std::string>& members() const { return members_; }

 private:
    std::vector<std::string> members_;
};

/// How many elements the array there has; nullopt: there is none. Throws Error RC104.
std::optional<std::size_t> count_elements(std::string_view json, const MemberPath& path);

/// The string or number there, as text; nullopt: there is none, or null. Throws Error RC104, also where it is
/// anything else, or something other than an object is on the way.
std::optional<std::string> scalar_at(std::string_view json, const MemberPath& path);

}  // namespace rolecall::http
