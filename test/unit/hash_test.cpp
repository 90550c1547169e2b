#include "core/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

namespace rolecall::core {
namespace {

TEST(Hash, EveryPartCounts) {
    const std::uint64_t base = hash(1, 2, 3, "key");
    EXPECT_EQ(base, hash(1, 2, 3, "key"));
    EXPECT_NE(base, hash(9, 2, 3, "key"));
    EXPECT_NE(base, hash(1, 9, 3, "key"));
    EXPECT_NE(base, hash(1, 2, 9, "key"));
    EXPECT_NE(base, hash(1, 2, 3, "kez"));
    EXPECT_NE(hash(1, 2, 3, {"a\0", 2}), hash(1, 2, 3, "a"));
}

TEST(Hash, LengthsAroundAWordDiffer) {
    std::set<std::uint64_t> seen;
    std::string key;
    for (int i = 0; i < 64; ++i) {
        seen.insert(hash(1, 2, 3, key));
        key += 'x';
    }
    EXPECT_EQ(seen.size(), 64U);
}

// Consecutive integers, the usual keys, spread evenly over high and low bits alike.
TEST(Hash, SpreadsConsecutiveKeys) {
    constexpr int keys = 1 << 16;
    std::array<int, 256> high{};
    std::array<int, 256> low{};
    for (std::uint64_t i = 0; i < keys; ++i) {
        const std::uint64_t h = hash(77, 5, 6, {reinterpret_cast<const char*>(&i), 8});
        ++high[h >> 56];
        ++low[h & 255];
    }
    for (int i = 0; i < 256; ++i) {
        EXPECT_NEAR(high[i], keys / 256, keys / 256 / 2);
        EXPECT_NEAR(low[i], keys / 256, keys / 256 / 2);
    }
}

}  // namespace
}  // namespace rolecall::core
