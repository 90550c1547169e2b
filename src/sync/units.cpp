#include "sync/units.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "pg/spi.h"

namespace rolecall::sync {

namespace {

// Current memberships, and those that the roles require.
pg::Statement memberships_statement(
    "SELECT user_id, unit_id, role FROM rolecall.user_units WHERE user_id = ANY ($1)", {INT8ARRAYOID});

pg::Statement wanted_units_statement(
    "SELECT DISTINCT ON (w.user_id, n.id) w.user_id, n.id, r.name"
    " FROM unnest($2, $3, $4) w(user_id, role, scope)"
    " JOIN rolecall.units n ON n.institutional_id = w.scope AND (n.provider IS NULL OR n.provider = $1)"
    " JOIN rolecall.roles r ON r.name = w.role"
    " ORDER BY w.user_id, n.id, r.priority, r.name COLLATE \"C\"",
    {TEXTOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID});

pg::Statement unlink_statement(
    "DELETE FROM rolecall.user_units m USING unnest($1, $2) g(user_id, unit_id)"
    " WHERE m.user_id = g.user_id AND m.unit_id = g.unit_id",
    {INT8ARRAYOID, INT8ARRAYOID});

pg::Statement link_statement(
    "INSERT INTO rolecall.user_units (user_id, unit_id, role) SELECT * FROM unnest($1, $2, $3)"
    " ON CONFLICT (user_id, unit_id) DO UPDATE SET role = excluded.role",
    {INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID});

struct Membership {
    std::int64_t user;
    std::int64_t unit;
    std::string role;

    auto operator<=>(const Membership&) const = default;
};

std::vector<Membership> memberships(const pg::Rows& rows) {
    std::vector<Membership> result;
    result.reserve(rows.size());
    for (std::uint64_t row = 0; row < rows.size(); ++row)
        result.push_back({rows.bigint(row, 1), rows.bigint(row, 2), rows.string(row, 3).value_or("")});
    std::sort(result.begin(), result.end());
    return result;
}

// Memberships as arrays, for parameters of statements. They are those of `some` that are not in `others`,
// compared by `less`.
struct MembershipColumns {
    std::vector<std::int64_t> users, units;
    std::vector<std::string> roles;

    template <typename Less>
    MembershipColumns(const std::vector<Membership>& some, const std::vector<Membership>& others, Less less) {
        std::vector<Membership> rest;
        std::set_difference(some.begin(), some.end(), others.begin(), others.end(), std::back_inserter(rest),
                            less);
        for (Membership& m : rest) {
            users.push_back(m.user);
            units.push_back(m.unit);
            roles.push_back(std::move(m.role));
        }
    }
};

}  // namespace

std::unordered_map<std::int64_t, UnitsOutcome> link_units(const std::string& provider,
                                                          std::span<const Linking> linkings) {
    std::unordered_map<std::int64_t, UnitsOutcome> outcomes;
    std::vector<std::int64_t> users;
    std::vector<std::int64_t> holders;
    std::vector<std::string> roles, scopes;
    for (const Linking& linking : linkings) {
        users.push_back(linking.user);
        for (const core::OwnedGrant& grant : linking.roles) {
            if (grant.kind == "institutional") {
                holders.push_back(linking.user);
                roles.push_back(grant.role);
                scopes.push_back(grant.scope);
                outcomes[linking.user].none_known = true;
            }
        }
    }
    const std::vector<Membership> held =
        memberships(memberships_statement.run({pg::bigint_array_parameter(users)}));
    std::vector<Membership> wanted;
    if (!holders.empty())
        wanted = memberships(
            wanted_units_statement.run({pg::text_parameter(provider), pg::bigint_array_parameter(holders),
                                        pg::text_array_parameter(roles), pg::text_array_parameter(scopes)}));
    for (const Membership& m : wanted)
        outcomes[m.user].none_known = false;

    const MembershipColumns gone(held, wanted, [](const Membership& a, const Membership& b) {
        return std::tie(a.user, a.unit) < std::tie(b.user, b.unit);
    });
    const MembershipColumns put(wanted, held, std::less<>());
    if (!gone.users.empty())
        unlink_statement.run(
            {pg::bigint_array_parameter(gone.users), pg::bigint_array_parameter(gone.units)});
    if (!put.users.empty())
        link_statement.run({pg::bigint_array_parameter(put.users), pg::bigint_array_parameter(put.units),
                            pg::text_array_parameter(put.roles)});
    for (const MembershipColumns* changed : {&gone, &put})
        for (const std::int64_t user : changed->users)
            outcomes[user].changed = true;
    return outcomes;
}

void warn_of_unknown_units(std::int64_t user) {
    pg::call([&] {
        ereport(WARNING,
                (errcode(ERRCODE_WARNING),
                 errmsg("none of the units that the roles of user " INT64_FORMAT " name is known", user),
                 errhint("Add them to rolecall.units; the next sync links the user.")));
    });
}

}  // namespace rolecall::sync
