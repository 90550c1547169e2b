#include "core/grant_set.h"

#include <gtest/gtest.h>

namespace rolecall::core {
namespace {

const OwnedGrant a{"a", "global", ""};
const OwnedGrant b{"b", "institutional", "u1"};
const OwnedGrant b2{"b", "institutional", "u2"};
const OwnedGrant c{"c", "affiliation", "x"};

TEST(GrantSet, NormalizesOrderAndDoubles) {
    std::vector<OwnedGrant> grants{c, a, b, a, c};
    normalize(grants);
    EXPECT_EQ(grants, (std::vector<OwnedGrant>{a, b, c}));
}

TEST(GrantSet, EqualSetsHaveNoDifference) {
    EXPECT_TRUE(diff({}, {}).empty());
    EXPECT_TRUE(diff({a, b, c}, {a, b, c}).empty());
}

TEST(GrantSet, SaysWhatToAddAndWhatToRemove) {
    const GrantDiff d = diff({a, b}, {a, b2, c});
    EXPECT_EQ(d.added, (std::vector<OwnedGrant>{b2, c}));
    EXPECT_EQ(d.removed, (std::vector<OwnedGrant>{b}));
    EXPECT_EQ(diff({a}, {}).removed, (std::vector<OwnedGrant>{a}));
    EXPECT_EQ(diff({}, {a}).added, (std::vector<OwnedGrant>{a}));
}

}  // namespace
}  // namespace rolecall::core
