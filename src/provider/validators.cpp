#include "provider/validators.h"

#include "core/hash.h"

namespace rolecall::provider {

namespace {

std::int64_t fingerprint_of(const Provider& p, const std::vector<core::OwnedGrant>& roles) {
    std::string text;
    const auto add = [&](const std::string& part) {
        text += part;
        text += '\0';
    };
    for (const std::string* part :
         {&p.base_url, &p.request_path, &p.roles_request_path, &p.credentials.username, &p.mapping.roles,
          &p.mapping.role, &p.mapping.scope_kind, &p.mapping.scope_id, &p.mapping.subject, &p.mapping.active})
        add(*part);
    add(std::to_string(static_cast<int>(p.mapping.scope_absent)));
    for (const std::string& header : p.headers)
        add(header);
    for (const core::OwnedGrant& role : roles) {
        add(role.role);
        add(role.kind);
        add(role.scope);
    }
    return static_cast<std::int64_t>(core::hash(0, 0, 0, text));
}

}  // namespace

Version version_of(const http::Completion& answer, const Provider& provider,
                   const std::vector<core::OwnedGrant>& roles) {
    if (answer.validators.empty())
        return {};
    return {.validators = answer.validators, .fingerprint = fingerprint_of(provider, roles)};
}

bool gives(const Version& version, const Provider& provider, const std::vector<core::OwnedGrant>& held) {
    return !version.validators.empty() && version.fingerprint == fingerprint_of(provider, held);
}

}  // namespace rolecall::provider
