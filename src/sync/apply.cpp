#include "sync/apply.h"

#include <iterator>
#include <set>

#include "core/access.h"
#include "pg/spi.h"
#include "sync/units.h"

namespace rolecall::sync {

namespace {

// Grants as arrays, for parameters of statements.
struct Columns {
    std::vector<std::int64_t> users;
    std::vector<std::string> roles, kinds, scopes;

    void add(std::int64_t user, const core::OwnedGrant& grant) {
        users.push_back(user);
        roles.push_back(grant.role);
        kinds.push_back(grant.kind);
        scopes.push_back(grant.scope);
    }
    void add(std::int64_t user, const std::vector<core::OwnedGrant>& grants) {
        for (const core::OwnedGrant& grant : grants)
            add(user, grant);
    }
};

pg::Statement create_roles_statement(
    "INSERT INTO rolecall.roles (name) SELECT DISTINCT n FROM unnest($1) n"
    " WHERE NOT EXISTS (SELECT FROM rolecall.roles r WHERE r.name = n) ON CONFLICT DO NOTHING",
    {TEXTARRAYOID});

// NOT IN is a hashed subplan, whatever the planner estimates for the tables: 10,000 roles do not mean 10,000
// scans.
pg::Statement revoke_statement(
    "DELETE FROM rolecall.user_roles g WHERE g.user_id = $1 AND g.source = 'provider'"
    " AND (g.role, g.scope_kind, g.scope_id) NOT IN (SELECT w.* FROM unnest($2, $3, $4) w(role, kind, "
    "scope))",
    {INT8OID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID});

pg::Statement grant_statement(
    "INSERT INTO rolecall.user_roles (user_id, role, scope_kind, scope_id, source)"
    " SELECT w.*, 'provider' FROM unnest($1, $2, $3, $4) w(user_id, role, kind, scope)",
    {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID});

pg::Statement flags_statement(
    "UPDATE rolecall.users SET roles_synced = true, roles_stale = false"
    " WHERE id = ANY ($1) AND (NOT roles_synced OR roles_stale)",
    {INT8ARRAYOID});

pg::Statement deactivate_statement("UPDATE rolecall.users SET is_active = false WHERE id = $1", {INT8OID});

pg::Statement protection_statement("SELECT rolecall.protection($1, $2, $3, $4, $5, $6)",
                                   {TEXTOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID, BOOLOID, BOOLOID});

// $1 now; for each user: $2 id, $3 due next, $4 ETag, $5 Last-Modified, $6 fingerprint.
pg::Statement note_statement(
    "UPDATE rolecall.sync_state s SET last_roles_sync_at = $1, next_sync_at = n.due,"
    "     etag = nullif(n.etag, ''), last_modified = nullif(n.last_modified, ''),"
    "     fingerprint = CASE WHEN n.etag <> '' OR n.last_modified <> '' THEN n.fingerprint END,"
    "     requested_at = NULL, force = false, attempts = 0, last_error = NULL, last_error_at = NULL,"
    "     leased_by = NULL, leased_at = NULL, leased_until = NULL"
    " FROM unnest($2, $3, $4, $5, $6) n(user_id, due, etag, last_modified, fingerprint)"
    " WHERE s.user_id = n.user_id",
    {TIMESTAMPTZOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID});

pg::Statement add_state_statement(
    "INSERT INTO rolecall.sync_state (user_id, provider)"
    " SELECT id, CASE WHEN institutional_id IS NOT NULL THEN provider END FROM rolecall.users"
    " WHERE id = ANY ($1) ON CONFLICT DO NOTHING",
    {INT8ARRAYOID});

// The changes that a sync makes to a user.
struct GrantChange {
    Sync* sync;
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

// Returns free, keep, keep global, or busy.
std::string protection(const std::string& role, const User& user, const GrantChange& change,
                       bool deactivating, LockWait lock_wait) {
    Columns lost;
    for (const core::OwnedGrant& grant : change.difference.removed)
        if (grant.role == role)
            lost.add(user.id, grant);
    if (lost.users.empty() && !deactivating)
        return "free";
    return protection_statement
        .run({pg::text_parameter(role), pg::bigint_parameter(user.id), pg::text_array_parameter(lost.kinds),
              pg::text_array_parameter(lost.scopes), pg::bool_parameter(deactivating),
              pg::bool_parameter(lock_wait != LockWait::none)})
        .string(0, 1)
        .value_or("");
}

// Removes from a change what would leave a protected role without a holder. Returns false if protection()
// returns busy.
bool protect(const provider::Rules& rules, LockWait lock_wait, GrantChange& change) {
    const User& user = change.sync->user;
    for (const std::string& role : rules.protected_roles) {
        if (!change.deactivates)
            break;
        const std::string verdict = protection(role, user, change, true, lock_wait);
        if (verdict == "busy")
            return false;
        if (verdict != "free") {
            change.deactivates = false;
            warn_of_kept_role(user.id, role);
        }
    }
    for (const std::string& role : rules.protected_roles) {
        const std::string verdict = protection(role, user, change, false, lock_wait);
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
    change.difference = core::diff(change.sync->held, change.wanted);
    return true;
}

// Returns the grants that the user holds and the provider names.
std::vector<core::OwnedGrant> kept_of(const Sync& sync) {
    std::vector<core::OwnedGrant> kept;
    std::set_intersection(sync.held.begin(), sync.held.end(), sync.said.roles.begin(), sync.said.roles.end(),
                          std::back_inserter(kept));
    return kept;
}

// This is done immediately and for one user after the other, because the brake and the protection of last
// holders depend on what was taken away before.
void take_away(GrantChange& change, const provider::Rules& rules, LockWait lock_wait, TimestampTz time) {
    const User& user = change.sync->user;
    Outcome& outcome = change.sync->outcome;
    if (!protect(rules, lock_wait, change)) {
        outcome = {.obstacle = Obstacle::busy};
        return;
    }
    if (change.takes_away() && !user.provider.empty()) {
        if (!lock_revocations(user.provider, lock_wait)) {
            outcome = {.obstacle = Obstacle::busy};
            return;
        }
        const auto excess = count_revocation(user.provider, rules, user.id, change.loss(), lock_wait, time);
        if (lock_wait == LockWait::brief)
            unlock_revocations(user.provider);
        if (excess) {
            outcome = {.obstacle = Obstacle::brake, .excess = *excess};
            return;
        }
    }
    const pg::Parameter id = pg::bigint_parameter(user.id);
    if (!change.difference.removed.empty()) {
        Columns kept;
        kept.add(user.id, change.wanted);
        revoke_statement.run({id, pg::text_array_parameter(kept.roles), pg::text_array_parameter(kept.kinds),
                              pg::text_array_parameter(kept.scopes)});
    }
    if (change.deactivates)
        deactivate_statement.run({id});
}

void give(std::span<const GrantChange> changes) {
    Columns added;
    for (const GrantChange& change : changes)
        added.add(change.sync->user.id, change.difference.added);
    if (added.users.empty())
        return;
    const std::set<std::string> names(added.roles.begin(), added.roles.end());
    create_roles_statement.run({pg::text_array_parameter({names.begin(), names.end()})});
    grant_statement.run({pg::bigint_array_parameter(added.users), pg::text_array_parameter(added.roles),
                         pg::text_array_parameter(added.kinds), pg::text_array_parameter(added.scopes)});
}

// Records that the users' roles are confirmed at `time`, and the versions of the answers.
void note(std::span<const GrantChange> changes, TimestampTz time) {
    std::vector<std::int64_t> users, unconfirmed, fingerprints;
    std::vector<std::optional<TimestampTz>> next;
    std::vector<std::string> etags, last_modified;
    for (const GrantChange& change : changes) {
        if (change.sync->only_takes_away)
            continue;
        const provider::Version& version = change.sync->said.version;
        users.push_back(change.sync->user.id);
        if (!change.sync->user.is_confirmed)
            unconfirmed.push_back(change.sync->user.id);
        next.emplace_back(change.sync->next);
        etags.push_back(version.validators.etag);
        last_modified.push_back(version.validators.last_modified);
        fingerprints.push_back(version.fingerprint);
    }
    if (!unconfirmed.empty())
        flags_statement.run({pg::bigint_array_parameter(unconfirmed)});
    const pg::Parameter ids = pg::bigint_array_parameter(users);
    const auto note_all = [&] {
        return note_statement
            .run({pg::time_parameter(time), ids, pg::time_array_parameter(next),
                  pg::text_array_parameter(etags), pg::text_array_parameter(last_modified),
                  pg::bigint_array_parameter(fingerprints)})
            .size();
    };
    if (note_all() < users.size()) {
        add_state_statement.run({ids});
        (void)note_all();
    }
}

}  // namespace

void apply(std::span<Sync> syncs, const provider::Rules& rules, LockWait lock_wait, TimestampTz time,
           const std::function<void()>& meanwhile) {
    std::vector<GrantChange> changes;
    changes.reserve(syncs.size());
    std::optional<Excess> excess;
    for (Sync& sync : syncs) {
        if (excess) {
            sync.outcome = {.obstacle = Obstacle::brake, .excess = *excess};
            continue;
        }
        GrantChange change{.sync = &sync,
                           .wanted = sync.only_takes_away ? kept_of(sync) : sync.said.roles,
                           .difference = {},
                           .deactivates = sync.said.gone && sync.user.is_active &&
                                          rules.on_not_found == provider::Rules::OnNotFound::deactivate};
        change.difference = core::diff(sync.held, change.wanted);
        sync.outcome = {};
        if (change.takes_away()) {
            take_away(change, rules, lock_wait, time);
            meanwhile();
        }
        if (sync.outcome.obstacle == Obstacle::none)
            changes.push_back(std::move(change));
        else if (sync.outcome.obstacle == Obstacle::brake)
            excess = sync.outcome.excess;
    }
    if (changes.empty())
        return;
    give(changes);
    meanwhile();
    std::vector<Linking> linkings;
    linkings.reserve(changes.size());
    for (const GrantChange& change : changes)
        linkings.push_back({.user = change.sync->user.id, .roles = change.wanted});
    auto units = link_units(syncs.front().user.provider, linkings);
    meanwhile();
    note(changes, time);
    for (GrantChange& change : changes) {
        Outcome& outcome = change.sync->outcome;
        const UnitsOutcome& linked = units[change.sync->user.id];
        outcome.roles_changed = !change.difference.empty();
        outcome.units_changed = linked.changed;
        outcome.deactivated = change.deactivates;
        outcome.no_unit_known = linked.none_known && outcome.changed();
        outcome.old_roles = change.sync->held;
        outcome.new_roles = std::move(change.wanted);
    }
}

}  // namespace rolecall::sync
