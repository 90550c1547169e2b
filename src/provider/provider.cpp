#include "provider/provider.h"

#include "core/error.h"
#include "http/file_reader.h"
#include "http/url.h"
#include "pg/guard.h"
#include "pg/json_path.h"
#include "pg/process.h"
#include "pg/security_context.h"
#include "pg/settings.h"
#include "provider/option_checks.h"
#include "provider/options.h"

extern "C" {
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "utils/acl.h"
#include "utils/syscache.h"
}

namespace rolecall::provider {

namespace {

using http::Credentials;

pg::WaitEvent wait_for_secret{"RolecallSecretFile"};

// Returns the options of the server owner's own mapping, never those of PUBLIC.
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

struct FoundMapping {
    ForeignServer* server;
    List* mapping;
    bool ours;
    const char* owner;  // the server's owner if it may not write grants, else nullptr
};

// Returns whether a role may write grants. Otherwise a role that may only create servers could take the name
// of a provider that has no server, and its answers would give roles to users.
bool may_write_grants(Oid role) {
    constexpr AclMode grants = ACL_INSERT | ACL_UPDATE | ACL_DELETE;
    return pg_class_aclmask(pg::extension_relation("user_roles"), role, grants, ACLMASK_ALL) == grants &&
           pg_class_aclmask(pg::extension_relation("users"), role, ACL_UPDATE, ACLMASK_ALL) == ACL_UPDATE;
}

FoundMapping find_server(const std::string& name) {
    return pg::call([&] {
        FoundMapping found{GetForeignServerByName(name.c_str(), true), NIL, false, nullptr};
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
    // Earlier versions of the validator accepted control characters; they would end the header.
    if (std::any_of(value.begin(), value.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }))
        throw Error("28000", "provider \"" + server + "\" has no credentials that can be sent",
                    std::string("The option \"") + option + "\" holds control characters.",
                    "Use ALTER USER MAPPING.");
}

[[noreturn]] void bad_secret_file(const std::string& server, const std::string& detail,
                                  const std::string& hint = {}) {
    throw Error("28000", "the secret file of provider \"" + server + "\" cannot be used", detail, hint);
}

// Interruptible, with a short limit, because the file may be on a mount that does not respond. Until it
// responds, no second thread is started for the same file.
std::string content_of(const ForeignServer& server, const std::string& path) {
    constexpr std::size_t limit = 8192;
    constexpr std::chrono::milliseconds most_wait{1000};
    if (http::FileRead::is_stuck(path))
        bad_secret_file(server.servername,
                        "\"" + path + "\": an earlier attempt to read it has not ended yet.");
    const http::FileRead file(path, limit);
    const auto deadline = std::chrono::steady_clock::now() + most_wait;
    while (!file.is_done()) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0)
            bad_secret_file(server.servername, "\"" + path + "\" could not be read within " +
                                                   std::to_string(most_wait.count()) + " ms.");
        pg::call([&] { pg::wait_for_latch(static_cast<long>(left.count()), file.fd(), wait_for_secret); });
    }
    if (file.error() == EINVAL)
        bad_secret_file(server.servername, "\"" + path + "\" is not a regular file.");
    if (file.error() != 0)
        bad_secret_file(server.servername, "\"" + path + "\": " + strerror(file.error()) + ".");
    return file.content();
}

// The file has one line: the token or the password, which must never be part of a message.
std::string read_secret_file(const ForeignServer& server, const std::string& path) {
    // An owner that may change base_url could have the secret sent to another server.
    if (!superuser_arg(server.owner))
        bad_secret_file(server.servername, "The server's owner is not a superuser.",
                        "Use ALTER SERVER ... OWNER TO, or a user mapping.");
    std::string secret = content_of(server, path);
    while (secret.ends_with('\n') || secret.ends_with('\r'))
        secret.pop_back();
    if (secret.empty() ||
        std::any_of(secret.begin(), secret.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }))
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

void mark_more(core::JsonShape& shape) {
    shape.marks_more = true;
    for (auto& entry : shape.members)
        mark_more(entry.second);
}

// Adds the parts that are read of an answer about one user, or of one user on a list.
void add_user_shape(Mapping& m, core::JsonShape& user) {
    user.counts_anew = true;
    (void)pg::json_add_to_shape(user, m.subject);
    (void)pg::json_add_to_shape(user, m.active);
    core::JsonShape* role = pg::json_add_to_shape(user, m.roles);
    if (role == nullptr) {  // the path does not tell the parts of a role
        m.role_item.whole = true;
        return;
    }
    for (const std::string* path : {&m.role, &m.scope_kind, &m.scope_id})
        (void)pg::json_add_to_shape(*role, *path);
    if (!m.has_scope_paths()) {
        role->members["on"].whole = true;
        mark_more(*role);
    }
    role->counted = true;
    m.role_item = *role;
}

// Returns whether a path has the form $.a.b[*].
bool picks_all(const std::string& path) {
    constexpr std::string_view all = "[*]";
    return path.ends_with(all) && http::MemberPath::parse(path.substr(0, path.size() - all.size()));
}

Mapping mapping_of(const Options& server) {
    Mapping m;
    m.roles = "strict " + server.get("roles_path");
    m.role = server.get("role_path");
    m.scope_kind = server.get("scope_kind_path");
    m.scope_id = server.get("scope_id_path");
    const std::string absent = server.get("scope_absent");
    m.scope_absent = absent == "skip"     ? Mapping::ScopeAbsent::skip
                     : absent == "global" ? Mapping::ScopeAbsent::global
                                          : Mapping::ScopeAbsent::error;
    m.subject = server.get("subject_path");
    m.active = server.has("active_path") ? "strict " + server.get("active_path") : "";
    m.users = "strict " + server.get("users_path");
    m.total = server.get("total_path");
    m.event = "strict " + server.get("event_path");
    m.roles_picks_all = picks_all(server.get("roles_path"));
    m.roles_may_be_absent = pg::json_path_fits_nothing(m.roles);
    m.roles_unknown = pg::json_unknown_paths(m.roles);
    m.users_unknown = pg::json_unknown_paths(m.users);
    m.event_unknown = pg::json_unknown_paths(m.event);
    add_user_shape(m, m.answer);
    (void)pg::json_add_to_shape(m.list, m.total);
    if (core::JsonShape* user = pg::json_add_to_shape(m.list, m.users); user != nullptr)
        add_user_shape(m, *user);
    return m;
}

Rules rules_of(const Options& server) {
    Rules rules;
    rules.max_revocation = server.share("max_revocation");
    rules.max_revocation_users = std::stoi(server.get("max_revocation_users"));
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
    const FoundMapping found = find_server(name);
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
    p.base_url = http::check_base_url(server.get("base_url"));
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
    p.max_roles = std::stoi(server.get("max_roles"));
    p.max_list_size = server.bytes("max_list_size");
    p.mapping = mapping_of(server);
    p.rules = rules_of(server);
    return p;
}

}  // namespace rolecall::provider
