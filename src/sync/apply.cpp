#include "sync/apply.h"

#include "core/access.h"
#include "core/backoff.h"
#include "core/error.h"
#include "pg/spi.h"
#include "sync/clock.h"

extern "C" {
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"
}

namespace rolecall::sync {

namespace {

// Grants as the arrays that statements take.
struct Columns {
    std::vector<std::string> roles, kinds, scopes;

    explicit Columns(const std::vector<core::OwnedGrant>& grants) {
        for (const core::OwnedGrant& grant : grants) {
            roles.push_back(grant.role);
            kinds.push_back(grant.kind);
            scopes.push_back(grant.scope);
        }
    }
};

pg::Statement find_statement(
    "SELECT u.provider, u.institutional_id, s.last_roles_sync_at, s.etag, s.last_modified, s.fingerprint,"
    "       u.is_active, EXISTS (SELECT FROM rolecall.stopped_providers p WHERE p.provider = u.provider)"
    " FROM rolecall.users u LEFT JOIN rolecall.sync_state s ON s.user_id = u.id WHERE u.id = $1",
    {INT8OID});

pg::Statement subject_statement("SELECT id FROM rolecall.users WHERE provider = $1 AND institutional_id = $2",
                                {TEXTOID, TEXTOID});

pg::Statement held_statement(
    "SELECT role, scope_kind, scope_id FROM rolecall.user_roles WHERE user_id = $1 AND source = 'provider'",
    {INT8OID});

pg::Statement create_roles_statement(
    "INSERT INTO rolecall.roles (name) SELECT DISTINCT n FROM unnest($1) n"
    " WHERE NOT EXISTS (SELECT FROM rolecall.roles r WHERE r.name = n) ON CONFLICT DO NOTHING",
    {TEXTARRAYOID});

// NOT IN is a hashed subplan whatever the planner believes of the tables: 10,000 roles are no 10,000 scans.
pg::Statement revoke_statement(
    "DELETE FROM rolecall.user_roles g WHERE g.user_id = $1 AND g.source = 'provider'"
    " AND (g.role, g.scope_kind, g.scope_id) NOT IN (SELECT w.* FROM unnest($2, $3, $4) w(role, kind, "
    "scope))",
    {INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID});

pg::Statement grant_statement(
    "INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id, source)"
    " SELECT $1, w.role, w.kind, w.scope, 'provider' FROM unnest($2, $3, $4) w(role, kind, scope)",
    {INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID});

// One row: how many of the named units are known, and whether memberships changed.
pg::Statement units_statement(
    "WITH wanted AS ("
    "    SELECT DISTINCT ON (n.id) n.id AS unit_id, r.name AS role"
    "    FROM unnest($3, $4) w(role, scope)"
    "    JOIN rolecall.units n ON n.institutional_id = w.scope AND (n.provider IS NULL OR n.provider = $2)"
    "    JOIN rolecall.roles r ON r.name = w.role"
    "    ORDER BY n.id, r.priority, r.name COLLATE \"C\""
    "), gone AS ("
    "    DELETE FROM rolecall.user_units m WHERE m.user_id = $1"
    "    AND NOT EXISTS (SELECT FROM wanted w WHERE w.unit_id = m.unit_id) RETURNING 1"
    "), put AS ("
    "    INSERT INTO rolecall.user_units AS m (user_id, unit_id, role)"
    "    SELECT $1, w.unit_id, w.role FROM wanted w"
    "    WHERE NOT EXISTS (SELECT FROM rolecall.user_units h"
    "                      WHERE h.user_id = $1 AND h.unit_id = w.unit_id AND h.role = w.role)"
    "    ON CONFLICT (user_id, unit_id) DO UPDATE SET role = excluded.role RETURNING 1"
    ") SELECT EXISTS (SELECT FROM wanted), EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM put)",
    {INT8OID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID});

pg::Statement flags_statement(
    "UPDATE rolecall.users SET roles_synced = true, roles_stale = false"
    " WHERE id = $1 AND (NOT roles_synced OR roles_stale)",
    {INT8OID});

pg::Statement deactivate_statement("UPDATE rolecall.users SET is_active = false WHERE id = $1", {INT8OID});

pg::Statement protection_statement("SELECT rolecall.protection($1, $2, $3, $4, $5, $6)",
                                   {TEXTOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, BOOLOID, BOOLOID});

pg::Statement note_statement(
    "INSERT INTO rolecall.sync_state AS s (user_id, provider, last_roles_sync_at, next_sync_at, etag,"
    "     last_modified, fingerprint)"
    " SELECT id, CASE WHEN institutional_id IS NOT NULL THEN provider END, $2, $3, $4, $5, $6 FROM "
    "rolecall.users WHERE "
    "id = $1"
    " ON CONFLICT (user_id) DO UPDATE SET last_roles_sync_at = excluded.last_roles_sync_at,"
    "     next_sync_at = excluded.next_sync_at, etag = excluded.etag, last_modified = excluded.last_modified,"
    "     fingerprint = excluded.fingerprint, requested_at = NULL, force = false, attempts = 0,"
    "     last_error = NULL, last_error_at = NULL, leased_by = NULL, leased_at = NULL, leased_until = NULL",
    {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, INT8OID});

pg::Parameter text_or_null(const std::string& text) {
    return text.empty() ? std::nullopt : pg::text_parameter(text);
}

// A class of advisory locks that SQL cannot take: nobody else can stop a user's syncs.
LOCKTAG locktag_of(std::int64_t user) {
    constexpr std::uint16_t lock_class = 0x7263;
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId,
                         static_cast<std::uint32_t>(static_cast<std::uint64_t>(user) >> 32),
                         static_cast<std::uint32_t>(user), lock_class);
    return tag;
}

void apply_roles(std::int64_t user, const core::GrantDiff& difference,
                 const std::vector<core::OwnedGrant>& wanted) {
    const pg::Parameter id = pg::bigint_parameter(user);
    if (!difference.removed.empty()) {
        const Columns kept(wanted);
        revoke_statement.run({id, pg::text_array_parameter(kept.roles), pg::text_array_parameter(kept.kinds),
                              pg::text_array_parameter(kept.scopes)});
    }
    if (!difference.added.empty()) {
        const Columns added(difference.added);
        create_roles_statement.run({pg::text_array_parameter(added.roles)});
        grant_statement.run({id, pg::text_array_parameter(added.roles), pg::text_array_parameter(added.kinds),
                             pg::text_array_parameter(added.scopes)});
    }
}

// What a sync is to do to a user.
struct Change {
    std::vector<core::OwnedGrant> wanted;
    core::GrantDiff difference;
    bool deactivates = false;

    Loss loss() const {
        return {.grants = static_cast<std::int64_t>(difference.removed.size()), .deactivated = deactivates};
    }
    bool takes_away() const { return !difference.removed.empty() || deactivates; }
};

void warn_of_kept_role(std::int64_t user, const std::string& role) {
    pg::call([&] {
        ereport(WARNING, (errcode(ERRCODE_WARNING),
                          errmsg("user " INT64_FORMAT " keeps role \"%s\"", user, role.c_str()),
                          errdetail("It is protected, and the user is its last holder."),
                          errhint("Grant it to somebody else; the next sync takes it away then.")));
    });
}

// free, keep, keep global, or busy.
std::string protection(const std::string& role, const User& user, const Change& change, bool deactivating,
                       Patience patience) {
    std::vector<core::OwnedGrant> lost;
    for (const core::OwnedGrant& grant : change.difference.removed)
        if (grant.role == role)
            lost.push_back(grant);
    if (lost.empty() && !deactivating)
        return "free";
    const Columns columns(lost);
    return protection_statement
        .run({pg::text_parameter(role), pg::bigint_parameter(user.id),
              pg::text_array_parameter(columns.kinds), pg::text_array_parameter(columns.scopes),
              pg::bool_parameter(deactivating), pg::bool_parameter(patience == Patience::wait)})
        .string(0, 1)
        .value_or("");
}

// Takes out of a change what would leave a protected role without holder. False: busy.
bool protect(const User& user, const Rules& rules, Patience patience, Change& change,
             const std::vector<core::OwnedGrant>& held) {
    for (const std::string& role : rules.protected_roles) {
        if (!change.deactivates)
            break;
        const std::string verdict = protection(role, user, change, true, patience);
        if (verdict == "busy")
            return false;
        if (verdict != "free") {
            change.deactivates = false;
            warn_of_kept_role(user.id, role);
        }
    }
    for (const std::string& role : rules.protected_roles) {
        const std::string verdict = protection(role, user, change, false, patience);
        if (verdict == "busy")
            return false;
        if (verdict == "free")
            continue;
        for (const core::OwnedGrant& grant : change.difference.removed)
            if (grant.role == role && (verdict == "keep" || grant.kind == core::global_kind))
                change.wanted.push_back(grant);
        warn_of_kept_role(user.id, role);
    }
    core::normalize(change.wanted);
    change.difference = core::diff(held, change.wanted);
    return true;
}

}  // namespace

void lock_user(std::int64_t id, std::chrono::milliseconds patience) {
    if (try_lock_user(id))
        return;
    const LOCKTAG tag = locktag_of(id);
    const bool impatient = LockTimeout > 0 && LockTimeout < patience.count();  // the session itself
    try {
        pg::call([&] {
            const int level = NewGUCNestLevel();
            if (!impatient)
                (void)set_config_option("lock_timeout", psprintf("%d", static_cast<int>(patience.count())),
                                        PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
            (void)LockAcquire(&tag, ExclusiveLock, false, false);
            AtEOXact_GUC(true, level);
        });
    } catch (const pg::PgError& error) {
        if (impatient || error.report()->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
            throw;
        throw Error("55P03", "user " + std::to_string(id) + " is being synchronized by another session",
                    "It was waited for for " + std::to_string(patience.count()) + " ms, the request timeout.",
                    "Try again, or leave it to the worker by trigger_role_sync_for_user().");
    }
}

bool try_lock_user(std::int64_t id) {
    const LOCKTAG tag = locktag_of(id);
    return pg::call([&] { return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL; });
}

std::optional<User> find_user(std::int64_t id) {
    const pg::Rows rows = find_statement.run({pg::bigint_parameter(id)});
    if (rows.size() == 0)
        return std::nullopt;
    User user{.id = id,
              .provider = rows.string(0, 1).value_or(""),
              .institutional_id = rows.string(0, 2).value_or(""),
              .is_active = rows.boolean(0, 7),
              .stopped = rows.boolean(0, 8),
              .last_sync = std::nullopt,
              .version = read_version(rows, 0, 4)};
    if (!rows.is_null(0, 3))
        user.last_sync = rows.time(0, 3);
    return user;
}

std::optional<std::int64_t> find_subject(const std::string& provider, const std::string& subject) {
    const pg::Rows rows = subject_statement.run({pg::text_parameter(provider), pg::text_parameter(subject)});
    return rows.size() == 0 ? std::nullopt : std::optional(rows.bigint(0, 1));
}

std::vector<core::OwnedGrant> provider_grants(std::int64_t user) {
    const pg::Rows rows = held_statement.run({pg::bigint_parameter(user)});
    std::vector<core::OwnedGrant> grants(rows.size());
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        grants[row] = {rows.string(row, 1).value_or(""), rows.string(row, 2).value_or(""),
                       rows.string(row, 3).value_or("")};
    core::normalize(grants);
    return grants;
}

UnitsOutcome apply_units(const User& user, const std::vector<core::OwnedGrant>& roles) {
    std::vector<std::string> names;
    std::vector<std::string> units;
    for (const core::OwnedGrant& grant : roles) {
        if (grant.kind == "institutional") {
            names.push_back(grant.role);
            units.push_back(grant.scope);
        }
    }
    const pg::Rows rows =
        units_statement.run({pg::bigint_parameter(user.id), pg::text_parameter(user.provider),
                             pg::text_array_parameter(names), pg::text_array_parameter(units)});
    return {.changed = rows.boolean(0, 2), .none_known = !units.empty() && !rows.boolean(0, 1)};
}

void warn_of_unknown_units(std::int64_t user) {
    pg::call([&] {
        ereport(WARNING,
                (errcode(ERRCODE_WARNING),
                 errmsg("none of the units that the roles of user " INT64_FORMAT " name is known", user),
                 errhint("Add them to rolecall.units; the next sync links the user.")));
    });
}

Version read_version(const pg::Rows& rows, std::uint64_t row, int column) {
    return {.validators = {.etag = rows.string(row, column).value_or(""),
                           .last_modified = rows.string(row, column + 1).value_or("")},
            .fingerprint = rows.bigint(row, column + 2)};
}

bool is_fresh(const User& user, std::int64_t ttl_seconds, TimestampTz time) {
    return user.last_sync && *user.last_sync + ttl_seconds * USECS_PER_SEC > time;
}

TimestampTz due_after(TimestampTz time, std::int64_t ttl_seconds) {
    return time + core::after_success(ttl_seconds * USECS_PER_SEC, chance());
}

Outcome apply(const User& user, const ProviderUser& said, const Rules& rules, Patience patience,
              TimestampTz time, TimestampTz next) {
    Outcome outcome{.old_roles = provider_grants(user.id), .new_roles = {}};
    Change change{
        .wanted = said.roles,
        .difference = core::diff(outcome.old_roles, said.roles),
        .deactivates = said.gone && user.is_active && rules.on_not_found == Rules::OnNotFound::deactivate};
    if (change.takes_away() && !protect(user, rules, patience, change, outcome.old_roles))
        return {.hindrance = Hindrance::busy};
    if (change.takes_away() && !user.provider.empty()) {
        if (!lock_revocations(user.provider, patience))
            return {.hindrance = Hindrance::busy};
        if (const auto excess = count_revocation(user.provider, rules, user.id, change.loss(), time))
            return {.hindrance = Hindrance::brake, .excess = *excess};
    }
    apply_roles(user.id, change.difference, change.wanted);
    outcome.roles_changed = !change.difference.empty();
    const UnitsOutcome units = apply_units(user, change.wanted);
    outcome.units_changed = units.changed;
    outcome.deactivated = change.deactivates;
    outcome.no_unit_known = units.none_known && outcome.changed();
    flags_statement.run({pg::bigint_parameter(user.id)});
    if (change.deactivates)
        deactivate_statement.run({pg::bigint_parameter(user.id)});
    const bool known = !said.version.validators.empty();
    note_statement.run({pg::bigint_parameter(user.id), pg::time_parameter(time), pg::time_parameter(next),
                        text_or_null(said.version.validators.etag),
                        text_or_null(said.version.validators.last_modified),
                        known ? pg::bigint_parameter(said.version.fingerprint) : std::nullopt});
    outcome.new_roles = std::move(change.wanted);
    return outcome;
}

}  // namespace rolecall::sync
