// A packed block answers role checks as a plain search through its grants does.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/access.h"

using namespace rolecall::core;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view input(reinterpret_cast<const char*>(data), size);
    std::vector<Grant> grants;
    std::size_t at = 1;
    const auto take = [&] {
        const std::size_t length = at < size ? data[at] % 8 : 0;
        const std::string_view text = input.substr(std::min(at + 1, size), length);
        at += 1 + length;
        return text;
    };
    while (at < size) {
        const std::string_view role = take();
        const std::string_view kind = take();
        grants.push_back(
            {role, kind.empty() ? global_kind : kind, kind.empty() ? std::string_view() : take()});
    }
    std::vector<Grant> sorted = grants;
    AccessFacts facts;
    facts.active = size == 0 || data[0] % 4 != 0;
    facts.email = input.substr(0, std::min<std::size_t>(size, 5));
    facts.has_email = true;
    facts.grants = sorted;
    std::string block(prepare(facts), '\0');
    pack(facts, block.data());
    const Access access(block.data());

    const auto holds = [&](const auto& matches) {
        return facts.active && std::any_of(grants.begin(), grants.end(), matches);
    };
    for (const Grant& asked : grants) {
        for (const Grant& other :
             {asked, Grant{asked.kind, asked.role, asked.scope}, Grant{asked.role, asked.kind, asked.role}}) {
            const bool anywhere = holds([&](const Grant& g) { return g.role == other.role; });
            const bool there = holds([&](const Grant& g) {
                return g.role == other.role && ((g.kind == other.kind && g.scope == other.scope) ||
                                                (g.kind == global_kind && g.scope.empty()));
            });
            if (access.has_role(other.role) != anywhere ||
                access.has_role(other.role, other.scope, other.kind) != there)
                std::abort();
        }
    }
    if (access.email() != facts.email)
        std::abort();
    return 0;
}
