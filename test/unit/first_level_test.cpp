#include "core/first_level.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/hash.h"

namespace rolecall::core {
namespace {

class FirstLevelTest : public testing::Test {
 protected:
    static Key key_of(std::uint64_t projection, const std::string& key) {
        return {7, projection, key, hash(1, 7, projection, key)};
    }
    static EntryHead head_of(FullXid xmin, const std::string& block) {
        return {.versions = xmin,
                .window = {},
                .loaded_at = 0,
                .document_bytes = 1,
                .access_bytes = static_cast<std::uint32_t>(block.size()),
                .group_bytes = 0};
    }
    void keep(std::uint64_t projection, const std::string& key, const std::string& block, FullXid xmin = 1) {
        level->keep(key_of(projection, key), head_of(xmin, block), {}, block.data());
    }
    std::unique_ptr<FirstLevel> level = std::make_unique<FirstLevel>();
};

TEST_F(FirstLevelTest, ReturnsWhatIsKept) {
    EXPECT_EQ(level->find(9, "12345678"), nullptr);
    keep(9, "12345678", "block", 17);
    const FirstLevel::LocalEntry* copy = level->find(9, "12345678");
    ASSERT_NE(copy, nullptr);
    EXPECT_EQ(copy->head.versions, 17U);
    EXPECT_EQ(copy->hash, key_of(9, "12345678").hash);
    EXPECT_EQ(std::string(copy->block, copy->head.access_bytes), "block");
}

TEST_F(FirstLevelTest, TellsKeysAndProjectionsApart) {
    for (const std::string key : {"12345678", "a", "", "123e4567-e89b-12d3-a456-426614174000"}) {
        keep(9, key, "block");
        EXPECT_NE(level->find(9, key), nullptr);
        EXPECT_EQ(level->find(10, key), nullptr);
        EXPECT_EQ(level->find(9, key + "x"), nullptr);
        std::string other = key;
        if (!other.empty()) {
            other[0] ^= 1;
            EXPECT_EQ(level->find(9, other), nullptr);
        }
    }
}

TEST_F(FirstLevelTest, AsksTheSharedEntryNowAndThen) {
    keep(9, "a", "block");
    std::uint32_t found = 0;
    while (level->find(9, "a") != nullptr)
        ++found;
    EXPECT_EQ(found, FirstLevel::uses - 1);
    keep(9, "a", "newer");
    EXPECT_NE(level->find(9, "a"), nullptr);
}

TEST_F(FirstLevelTest, KeepsGroupsToo) {
    const std::vector<std::uint32_t> groups{3, 5, 8};
    EntryHead head = head_of(1, "block");
    head.group_bytes = 12;
    const std::string name = "a";
    level->keep(key_of(9, name), head, groups, "block");
    const FirstLevel::LocalEntry* copy = level->find(9, "a");
    ASSERT_NE(copy, nullptr);
    EXPECT_EQ(std::vector<std::uint32_t>(copy->group_stamps().begin(), copy->group_stamps().end()), groups);
    const std::vector<std::uint32_t> many(FirstLevel::most_groups + 1, 7);
    head.group_bytes = static_cast<std::uint32_t>(many.size() * 4);
    const std::string other = "b";
    level->keep(key_of(9, other), head, many, "block");
    EXPECT_EQ(level->find(9, "b"), nullptr);
}

TEST_F(FirstLevelTest, IsBounded) {
    keep(9, "a", std::string(FirstLevel::largest_block + 1, 'x'));
    EXPECT_EQ(level->find(9, "a"), nullptr);
    keep(9, std::string(FirstLevel::largest_key + 1, 'k'), "block");
    EXPECT_EQ(level->find(9, std::string(FirstLevel::largest_key + 1, 'k')), nullptr);
    for (int i = 0; i < 1000; ++i)
        keep(9, std::to_string(i), "block");
    std::uint32_t found = 0;
    for (int i = 0; i < 1000; ++i)
        found += level->find(9, std::to_string(i)) != nullptr ? 1 : 0;
    EXPECT_LE(found, FirstLevel::slots);
    EXPECT_GT(found, FirstLevel::slots / 2);
}

}  // namespace
}  // namespace rolecall::core
