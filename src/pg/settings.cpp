#include "pg/settings.h"

#include "pg/background.h"

extern "C" {
#include "utils/guc.h"
}

namespace rolecall::settings {

namespace {

// Only SQL reads these settings (authentication.sql).
bool notify_changes = false;
char* oauth_providers = nullptr;
int refresh_grace = 10;

// Settings that any role may set, and so the owner of a database for that database, apply to sessions only.
// The extension's background processes depend on the server's configuration.
bool is_for_sessions(GucSource source) {
    if (source < PGC_S_GLOBAL || source > PGC_S_DATABASE_USER || !pg::is_background_worker_of_ours())
        return true;
    GUC_check_errmsg("a setting for sessions does not reach the background processes of rolecall");
    GUC_check_errdetail("It was set for the database, or for the role that they run as.");
    GUC_check_errhint("Set it in the server's configuration.");
    return false;
}

template <typename Value>
bool for_sessions(Value*, void**, GucSource source) {
    return is_for_sessions(source);
}

// The request id is sent in a header of requests and stored in the audit.
bool check_request_id(char** value, void**, GucSource source) {
    if (!is_for_sessions(source))
        return false;
    const std::string_view id = *value;
    if (id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 0x7f; }))
        return true;
    GUC_check_errdetail("A request id has at most 128 characters, all of them visible ASCII.");
    return false;
}

// The definitions that this process has read depend on the setting.
void assign_directory_is_local(bool value, void*) {
    if (value != directory_is_local && on_directory_is_local != nullptr)
        on_directory_is_local();
}

const config_enum_entry sync_scopes[] = {{"all", all, false}, {"active", active, false}, {nullptr, 0, false}};

}  // namespace

int active_window = 30 * 24 * 3600;
int audit_retention = 90 * 24 * 3600;
bool cache = true;
int cache_size = 64 * 1024;
int connect_timeout = 5 * 1000;
bool directory_is_local = false;
void (*on_directory_is_local)() = nullptr;
int max_document_size = 64;
int max_in_flight = 64;
int max_response_size = 1024;
double rate_limit = 0;
char* request_id = nullptr;
int request_timeout = 10 * 1000;
bool restoring = false;
int sync_batch_size = 200;
int sync_naptime = 1000;
bool sync_on_subscriber = false;
int sync_scope = all;
int sync_ttl = 15 * 60;
int sync_workers = 1;
char* uid = nullptr;
bool warm_on_start = false;
bool worker = true;

void init() {
    // In alphabetical order; scripts/lint compares the settings with docs/settings.md.
    DefineCustomIntVariable("rolecall.active_window",
                            "Time for which a user counts as active, for providers with sync_scope 'active'.",
                            "A provider's option active_window overrides it.", &active_window, 30 * 24 * 3600,
                            1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.audit_retention", "Age at which rows of the audit are removed.",
                            "-1: they are kept for good.", &audit_retention, 90 * 24 * 3600, -1, INT_MAX,
                            PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.cache", "Answers from shared memory where that is exact.",
                             "When off, every read queries the projection's view.", &cache, true, PGC_USERSET,
                             0, for_sessions<bool>, nullptr, nullptr);
    if (process_shared_preload_libraries_in_progress) {
        DefineCustomIntVariable("rolecall.cache_size", "Shared memory for cached documents.", nullptr,
                                &cache_size, 64 * 1024, 1024, 64 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB,
                                nullptr, nullptr, nullptr);
    }
    DefineCustomIntVariable("rolecall.connect_timeout", "Time to find and reach a provider, TLS included.",
                            nullptr, &connect_timeout, 5 * 1000, 1, 60 * 60 * 1000, PGC_USERSET, GUC_UNIT_MS,
                            for_sessions<int>, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.directory_is_local",
                             "On a worker of a Citus cluster, its own tables are its directory.",
                             "Otherwise reads of users raise an error there.", &directory_is_local, false,
                             PGC_SUSET, 0, nullptr, assign_directory_is_local, nullptr);
    if (process_shared_preload_libraries_in_progress) {
        DefineCustomIntVariable("rolecall.max_document_size", "Largest document to cache.",
                                "Larger ones are served from the view.", &max_document_size, 64, 1, 64 * 1024,
                                PGC_POSTMASTER, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    }
    DefineCustomIntVariable("rolecall.max_in_flight",
                            "Requests that a sync worker has under way with one provider at once.", nullptr,
                            &max_in_flight, 64, 1, 10000, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.max_response_size", "Largest provider response to accept.", nullptr,
                            &max_response_size, 1024, 1, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, nullptr,
                            nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.notify_changes",
                             "Notifies the channel rolecall_changes of changed users.", nullptr,
                             &notify_changes, false, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("rolecall.oauth_providers", "Providers that OAuth states may be for.",
                               "Separated by commas; empty: any.", &oauth_providers, "", PGC_SUSET, 0,
                               nullptr, nullptr, nullptr);
    DefineCustomRealVariable("rolecall.rate_limit", "Requests a second that are made to one provider.",
                             "0: no limit. A provider's option rate_limit overrides it.", &rate_limit, 0, 0,
                             1e6, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.refresh_grace",
                            "Time in which a refresh token may be used again after its first use.",
                            "For clients that lost the answer; after it a second use revokes the login.",
                            &refresh_grace, 10, 0, 3600, PGC_SUSET, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("rolecall.request_id", "What the audit calls the request that causes changes.",
                               nullptr, &request_id, "", PGC_USERSET, 0, check_request_id, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.request_timeout", "Time a provider has to answer one request.", nullptr,
                            &request_timeout, 10 * 1000, 1, 60 * 60 * 1000, PGC_USERSET, GUC_UNIT_MS,
                            for_sessions<int>, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.restoring", "Says that this session restores a dump.",
                             "For tools that do not restore as pg_dump and pg_restore do.", &restoring, false,
                             PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.sync_batch_size",
                            "Users that a sync worker applies in one transaction.", nullptr, &sync_batch_size,
                            200, 1, 10000, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "rolecall.sync_naptime",
        "Shortest pause between a sync worker's looks at the queue when there is nothing to do.", nullptr,
        &sync_naptime, 1000, 1, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.sync_on_subscriber",
                             "Synchronizes roles where the users are a subscription's.",
                             "Otherwise that is the publisher's to do.", &sync_on_subscriber, false,
                             PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable(
        "rolecall.sync_scope", "Whose roles are synchronized by TTL.",
        "All users, or those who were active. A provider's option sync_scope overrides it.", &sync_scope, all,
        sync_scopes, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.sync_ttl", "Time for which synchronized roles count as fresh.",
                            "A provider's option sync_ttl overrides it.", &sync_ttl, 15 * 60, 1,
                            INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("rolecall.sync_workers", "Sync workers in each database that has the extension.",
                            nullptr, &sync_workers, 1, 1, 16, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("rolecall.uid", "The user on whose behalf the session acts.",
                               "What me() and has_role(role) go by; to be set with SET LOCAL.", &uid, "",
                               PGC_USERSET, 0, for_sessions<char*>, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.warm_on_start",
                             "Loads the documents of all projections when the server starts.",
                             "Can be switched on or off for a database by ALTER DATABASE ... SET.",
                             &warm_on_start, false, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("rolecall.worker", "Synchronizes roles in the background.",
                             "Can be switched off for a database by ALTER DATABASE ... SET.", &worker, true,
                             PGC_SUSET, 0, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("rolecall");
}

}  // namespace rolecall::settings
