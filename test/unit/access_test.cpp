#include "core/access.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace rolecall::core {
namespace {

std::string packed(AccessFacts facts) {
    std::string block(prepare(facts), '\0');
    pack(facts, block.data());
    return block;
}

TEST(Access, KeepsWhatItWasGiven) {
    std::vector<Grant> grants{
        {"reader", "institutional", "u1"}, {"admin", "global", ""}, {"reader", "institutional", "u1"}};
    const std::string block = packed({.well_formed = true,
                                      .active = true,
                                      .superuser = true,
                                      .has_tenant = true,
                                      .has_email = true,
                                      .tenant = "t-1",
                                      .email = "a@example.org",
                                      .grants = grants});
    const Access access(block.data());
    EXPECT_TRUE(access.well_formed() && access.active() && access.superuser() && access.has_tenant() &&
                access.has_email());
    EXPECT_EQ(access.tenant(), "t-1");
    EXPECT_EQ(access.email(), "a@example.org");
    ASSERT_EQ(access.size(), 2U);  // each once, in order
    EXPECT_EQ(access.grant(0), (Grant{"admin", "global", ""}));
    EXPECT_EQ(access.grant(1), (Grant{"reader", "institutional", "u1"}));
}

TEST(Access, EmptyIsFine) {
    const std::string block = packed({});
    const Access access(block.data());
    EXPECT_FALSE(access.superuser() || access.has_tenant() || access.has_email());
    EXPECT_EQ(access.size(), 0U);
    EXPECT_FALSE(access.has_role("reader"));
    EXPECT_FALSE(access.has_role("", "", ""));
}

TEST(Access, RolesOnScopes) {
    std::vector<Grant> grants{
        {"reader", "institutional", "u1"}, {"admin", "global", ""}, {"editor", "affiliation", "x"}};
    AccessFacts facts;
    facts.grants = grants;
    const std::string block = packed(facts);
    const Access access(block.data());
    EXPECT_TRUE(access.has_role("reader"));
    EXPECT_FALSE(access.has_role("reade"));
    EXPECT_FALSE(access.has_role("readers"));
    EXPECT_TRUE(access.has_role("reader", "u1", "institutional"));
    EXPECT_FALSE(access.has_role("reader", "u2", "institutional"));
    EXPECT_FALSE(access.has_role("reader", "u1", "affiliation"));
    EXPECT_FALSE(access.has_role("reader", "", "global"));
    EXPECT_TRUE(access.has_role("admin", "anything", "institutional"));
    EXPECT_TRUE(access.has_role("admin", "", "global"));
    EXPECT_TRUE(access.has_role("editor", "x", "affiliation"));
}

TEST(Access, AnInactiveUserHasNoRole) {
    std::vector<Grant> grants{{"admin", "global", ""}};
    AccessFacts facts;
    facts.active = false;
    facts.grants = grants;
    const std::string block = packed(facts);
    EXPECT_FALSE(Access(block.data()).has_role("admin"));
    EXPECT_FALSE(Access(block.data()).has_role("admin", "u", "institutional"));
}

TEST(Access, BytesDecide) {
    using namespace std::string_view_literals;
    std::vector<Grant> grants{{"a\0b"sv, "k:l", "m"}, {"a", "k", "l:m"}, {"\xc3\xa9", "global", ""}};
    AccessFacts facts;
    facts.grants = grants;
    const std::string block = packed(facts);
    const Access access(block.data());
    EXPECT_TRUE(access.has_role("a\0b"sv));
    EXPECT_FALSE(access.has_role("a\0c"sv));
    EXPECT_TRUE(access.has_role("a", "l:m", "k"));
    EXPECT_FALSE(access.has_role("a", "m", "k:l"));
    EXPECT_FALSE(access.has_role("e\xcc\x81"));  // the same letter, composed otherwise
}

TEST(Access, FindsEachOfMany) {
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i)
        names.push_back("role" + std::to_string(i * 7919 % 10007));
    std::vector<Grant> grants;
    for (const std::string& name : names)
        grants.push_back({name, "institutional", name});
    AccessFacts facts;
    facts.grants = grants;
    const std::string block = packed(facts);
    const Access access(block.data());
    for (const std::string& name : names) {
        EXPECT_TRUE(access.has_role(name, name, "institutional"));
        EXPECT_FALSE(access.has_role(name + "x"));
        EXPECT_FALSE(access.has_role(name, name + "x", "institutional"));
    }
}

// Few grants are looked through, many bisected: both say what the definition says.
TEST(Access, AgreesWithTheDefinitionForAnyNumber) {
    std::mt19937 random(1);
    const auto pick = [&](std::initializer_list<const char*> from) {
        return std::string_view(from.begin()[random() % from.size()]);
    };
    const auto any = [&] {
        return Grant{pick({"a", "b", "ab", "admin", ""}), pick({"global", "institutional", "glob", ""}),
                     pick({"", "u1", "u2", "u"})};
    };
    for (int round = 0; round < 3000; ++round) {
        std::vector<Grant> grants(random() % 40);
        for (Grant& grant : grants)
            grant = any();
        const std::vector<Grant> all = grants;
        AccessFacts facts;
        facts.grants = grants;
        const std::string block = packed(facts);
        const Grant wanted = any();
        const bool expected = std::any_of(all.begin(), all.end(), [&](const Grant& held) {
            return held == wanted || held == Grant{wanted.role, "global", ""};
        });
        ASSERT_EQ(Access(block.data()).has_role(wanted.role, wanted.scope, wanted.kind), expected);
    }
}

}  // namespace
}  // namespace rolecall::core
