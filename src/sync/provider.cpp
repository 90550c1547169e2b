#include "sync/provider.h"

#include "core/error.h"
#include "pg/acting.h"
#include "pg/guard.h"
#include "pg/settings.h"
#include "provider/url.h"
#include "sync/options.h"

extern "C" {
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace rolecall::sync {

namespace {

using provider::Credentials;

// The options of the server owner's own mapping; never those of PUBLIC.
List* owner_mapping(const ForeignServer& server) {
    HeapTuple tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(server.owner),
                                      ObjectIdGetDatum(server.serverid));
    if (!HeapTupleIsValid(tuple))
        return NIL;
    bool is_null = false;
    const Datum options =
        SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &is_null);
    List* list = is_null ? NIL : untransformRelOptions(options);
    ReleaseSysCache(tuple);
    return list;
}

struct Found {
    ForeignServer* server;
    List* mapping;
    bool ours;
    const char* owner;  // who may not write grants; nullptr: who may
};

// May this role say what roles users have, by writing them? Whoever may make servers could else take the name
// of a provider that has none, and say it by answering.
bool may_write_grants(Oid role) {
    constexpr AclMode grants = ACL_INSERT | ACL_UPDATE | ACL_DELETE;
    return pg_class_aclmask(pg::extension_relation("user_roles"), role, grants, ACLMASK_ALL) == grants &&
           pg_class_aclmask(pg::extension_relation("users"), role, ACL_UPDATE, ACLMASK_ALL) == ACL_UPDATE;
}

Found find_server(const std::string& name) {
    return pg::call([&] {
        Found found{GetForeignServerByName(name.c_str(), true), NIL, false, nullptr};
        if (found.server != nullptr) {
            found.ours = found.server->fdwid == get_foreign_data_wrapper_oid("rolecall", true);
            found.mapping = owner_mapping(*found.server);
            if (!may_write_grants(found.server->owner))
                found.owner = GetUserNameFromId(found.server->owner, false);
        }
        return found;
    });
}

void require(const std::string& value, const char* option, const std::string& server) {
    if (value.empty())
        throw Error("28000", "provider \"" + server + "\" has no credentials",
                    std::string("The user mapping of the server's owner has no option \"") + option + "\".",
                    "Use CREATE USER MAPPING FOR the owner, or ALTER USER MAPPING.");
}

[[noreturn]] void bad_secret_file(const std::string& server, const std::string& detail,
                                  const std::string& hint = {}) {
    throw Error("28000", "the secret file of provider \"" + server + "\" cannot be used", detail, hint);
}

// One line: the token, or the password. Never part of a message.
std::string read_secret_file(const ForeignServer& server, const std::string& path) {
    // Whoever may change base_url would be told the secret.
    if (!superuser_arg(server.owner))
        bad_secret_file(server.servername, "The server's owner is not a superuser.",
                        "Use ALTER SERVER ... OWNER TO, or a user mapping.");
    constexpr std::size_t most = 8192;
    char text[most];
    const int failure = pg::call([&] {
        memset(text, 0, sizeof text);
        FILE* file = AllocateFile(path.c_str(), "r");
        if (file == nullptr)
            return errno;
        const std::size_t size = fread(text, 1, sizeof text - 1, file);
        const int error = ferror(file) != 0 ? EIO : size == sizeof text - 1 ? EFBIG : 0;
        FreeFile(file);
        return error;
    });
    if (failure != 0)
        bad_secret_file(server.servername, "\"" + path + "\": " + strerror(failure) + ".");
    std::string secret = text;
    explicit_bzero(text, sizeof text);
    while (secret.ends_with('\n') || secret.ends_with('\r'))
        secret.pop_back();
    if (secret.empty() || std::any_of(secret.begin(), secret.end(), [](unsigned char c) { return c < ' '; }))
        bad_secret_file(server.servername, "\"" + path + "\" must hold one line.");
    return secret;
}

Credentials credentials_of(const ForeignServer& foreign, const Options& server, const Options& mapping) {
    const std::string name = foreign.servername;
    Credentials credentials;
    const std::string file = server.get("secret_file");
    const auto secret = [&](const char* option) {
        return file.empty() ? mapping.get(option) : read_secret_file(foreign, file);
    };
    const std::string auth = server.get("auth");
    if (auth == "basic") {
        credentials.scheme = Credentials::Scheme::basic;
        credentials.username = mapping.get("username");
        credentials.secret = secret("password");
        require(credentials.username, "username", name);
        require(credentials.secret, "password", name);
    } else if (auth == "bearer") {
        credentials.scheme = Credentials::Scheme::bearer;
        credentials.secret = secret("token");
        require(credentials.secret, "token", name);
    }
    return credentials;
}

Rules rules_of(const Options& server) {
    Rules rules;
    rules.max_revocation = server.share("max_revocation");
    rules.revocation_window_seconds = server.seconds("revocation_window");
    if (server.has("max_staleness"))
        rules.max_staleness_seconds = server.seconds("max_staleness");
    rules.protected_roles = split_list(server.get("protected_roles"));
    const std::string unknown = server.get("unknown_roles");
    rules.unknown_roles = unknown == "skip"    ? Rules::UnknownRoles::skip
                          : unknown == "error" ? Rules::UnknownRoles::error
                                               : Rules::UnknownRoles::create;
    const std::string not_found = server.get("on_not_found");
    rules.on_not_found = not_found == "revoke"       ? Rules::OnNotFound::revoke
                         : not_found == "deactivate" ? Rules::OnNotFound::deactivate
                                                     : Rules::OnNotFound::keep;
    return rules;
}

std::optional<std::string> proxy_of(const std::string& option) {
    if (option == "environment")
        return std::nullopt;
    return option == "none" ? std::string() : option;
}

}  // namespace

std::int64_t Provider::default_ttl_seconds() { return settings::sync_ttl; }

Provider read_provider(const std::string& name) {
    const Found found = find_server(name);
    if (found.server == nullptr)
        throw Error("42704", "provider \"" + name + "\" does not exist", {},
                    "Use CREATE SERVER ... FOREIGN DATA WRAPPER rolecall, or correct the user's provider.");
    if (!found.ours)
        throw Error("42809", "server \"" + name + "\" is not a provider",
                    "It does not belong to the foreign data wrapper rolecall.");
    if (found.owner != nullptr)
        throw Error(
            "42501", "the owner of provider \"" + name + "\" may not write grants",
            std::string("Role \"") + found.owner +
                "\" lacks INSERT, UPDATE and DELETE on rolecall.user_roles, or UPDATE on rolecall.users.",
            "Use ALTER SERVER ... OWNER TO a role that may, such as the extension's owner.");
    const Options server = Options::of_server(found.server->options);
    const Options mapping = Options::of_mapping(found.mapping);

    Provider p;
    p.server = found.server->serverid;
    p.name = name;
    p.base_url = provider::check_base_url(server.get("base_url"));
    p.request_path = server.get("request_path");
    p.roles_request_path = server.get("roles_request_path");
    p.paging = paging_of(server, "paging", server.get("roles_path"));
    p.list_request_path = server.get("list_request_path");
    p.list_paging = paging_of(server, "list_paging", server.get("users_path"));
    p.credentials = credentials_of(*found.server, server, mapping);
    p.ca_file = server.get("ca_file");
    p.ttl_seconds = server.has("sync_ttl") ? server.seconds("sync_ttl") : Provider::default_ttl_seconds();
    const bool active_only = server.has("sync_scope") ? server.get("sync_scope") == "active"
                                                      : settings::sync_scope == settings::active;
    if (active_only)
        p.active_seconds =
            server.has("active_window") ? server.seconds("active_window") : settings::active_window;
    p.timeout = std::chrono::milliseconds(
        server.has("request_timeout") ? server.milliseconds("request_timeout") : settings::request_timeout);
    p.connect_timeout = std::chrono::milliseconds(
        server.has("connect_timeout") ? server.milliseconds("connect_timeout") : settings::connect_timeout);
    p.proxy = proxy_of(server.get("proxy"));
    p.max_in_flight =
        server.has("max_in_flight") ? std::stoi(server.get("max_in_flight")) : settings::max_in_flight;
    p.rate_limit = server.has("rate_limit") ? std::stod(server.get("rate_limit")) : settings::rate_limit;
    p.headers = split_headers(server.get("headers"));
    for (std::string& line : split_headers(mapping.get("headers")))
        p.headers.push_back(std::move(line));
    p.mapping = {.roles = "strict " + server.get("roles_path"),
                 .role = server.get("role_path"),
                 .scope_kind = server.get("scope_kind_path"),
                 .scope_id = server.get("scope_id_path"),
                 .subject = server.get("subject_path"),
                 .email = server.get("email_path"),
                 .display_name = server.get("display_name_path"),
                 .function = server.get("function_path"),
                 .users = "strict " + server.get("users_path"),
                 .total = server.get("total_path"),
                 .event = "strict " + server.get("event_path"),
                 .active = server.has("active_path") ? "strict " + server.get("active_path") : ""};
    p.rules = rules_of(server);
    return p;
}

}  // namespace rolecall::sync
