#include "sync/rules.h"

#include <set>

#include "pg/spi.h"

namespace rolecall::sync {

namespace {

pg::Statement unknown_statement(
    "SELECT DISTINCT n FROM unnest($1) n WHERE NOT EXISTS (SELECT FROM rolecall.roles r WHERE r.name = n)",
    {TEXTARRAYOID});

std::set<std::string> unknown_roles(const std::vector<core::OwnedGrant>& grants) {
    std::vector<std::string> names;
    names.reserve(grants.size());
    for (const core::OwnedGrant& grant : grants)
        names.push_back(grant.role);
    const pg::Rows rows = unknown_statement.run({pg::text_array_parameter(names)});
    std::set<std::string> unknown;
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        unknown.insert(rows.string(row, 1).value_or(""));
    return unknown;
}

}  // namespace

void check_roles(const std::string& provider, const provider::Rules& rules, provider::ProviderUser& said) {
    if (rules.unknown_roles == provider::Rules::UnknownRoles::create || said.roles.empty())
        return;
    const std::set<std::string> unknown = unknown_roles(said.roles);
    if (unknown.empty())
        return;
    if (rules.unknown_roles == provider::Rules::UnknownRoles::error)
        throw Error("RC104", "provider \"" + provider + "\" gave an answer that cannot be used",
                    "Role \"" + *unknown.begin() + "\" does not exist.",
                    "Add it to rolecall.roles, or change the option unknown_roles.");
    std::erase_if(said.roles, [&](const core::OwnedGrant& grant) { return unknown.contains(grant.role); });
}

provider::ProviderUser understand(const provider::Provider& provider, const std::string& subject,
                                  const provider::Answers& answers) {
    provider::ProviderUser said;
    if (!answers.not_found.empty())
        said.gone = answers.not_found;
    else if (!answers.failed)
        said = provider::map_answers(provider, subject, answers.pages);
    else if (said = provider::map_subject(provider, subject, answers.pages.front()); !said.gone)
        throw Error(*answers.failed);
    if (said.gone && provider.rules.on_not_found == provider::Rules::OnNotFound::keep)
        throw Error("RC103", "provider \"" + provider.name + "\" does not know subject \"" + subject + "\"",
                    *said.gone);
    check_roles(provider.name, provider.rules, said);
    return said;
}

bool keep_roles(Sync& sync, const provider::Provider& provider) {
    sync.said.roles = sync.held;
    sync.said.version = sync.user.version;
    return provider::gives(sync.user.version, provider, sync.held);
}

}  // namespace rolecall::sync
