#include "core/rate_limit.h"

#include <gtest/gtest.h>

namespace rolecall::core {
namespace {

constexpr std::int64_t second = 1'000'000;

// Requests in `seconds` by somebody who asks whenever that is allowed, each of `size`.
int made(RateLimit& limit, std::int64_t start, std::int64_t seconds, double per_second, int size = 1) {
    int count = 0;
    for (std::int64_t now = start; now < start + seconds * second;
         now = std::max(now, limit.next(now, per_second))) {
        if (limit.next(now, per_second) > now)
            continue;
        limit.take(now, per_second, size);
        count += size;
    }
    return count;
}

TEST(RateLimit, ZeroIsNone) {
    RateLimit limit;
    for (int i = 0; i < 1000; ++i) {
        EXPECT_EQ(limit.next(5 * second, 0), 5 * second);
        limit.take(5 * second, 0, 1);
    }
}

TEST(RateLimit, HoldsOverTimeWithASmallBurst) {
    RateLimit limit;
    EXPECT_NEAR(made(limit, second, 10, 100), 1000, 10);
    EXPECT_NEAR(made(limit, 11 * second, 10, 100), 1000, 1);  // no burst without a pause before
    RateLimit slow;
    EXPECT_EQ(made(slow, second, 100, 0.1), 10);
}

TEST(RateLimit, APauseAllowsNoMoreThanTheBurst) {
    RateLimit limit;
    made(limit, second, 1, 100);
    const std::int64_t now = 3600 * second;
    int at_once = 0;
    while (limit.next(now, 100) == now) {
        limit.take(now, 100, 1);
        ++at_once;
    }
    EXPECT_EQ(at_once, 10);
    EXPECT_EQ(limit.next(now, 100), now + second / 100);
}

TEST(RateLimit, SeveralRequestsCountAsSeveral) {
    RateLimit limit;
    EXPECT_NEAR(made(limit, second, 10, 100, 5), 1000, 15);
}

// Whoever takes ahead of time goes when it was told; who comes after goes after.
TEST(RateLimit, CanBeReserved) {
    RateLimit limit;
    const std::int64_t now = second;
    std::int64_t last = 0;
    for (int i = 0; i < 5; ++i) {
        const std::int64_t at = limit.next(now, 2);
        EXPECT_EQ(at, now + i * second / 2);
        EXPECT_GT(at, last);
        last = at;
        limit.take(now, 2, 1);
    }
}

TEST(RateLimit, TakesPlacesBack) {
    RateLimit limit;
    limit.take(second, 1, 1);
    limit.take(second, 1, 5);
    EXPECT_EQ(limit.next(second, 1), 7 * second);
    limit.give_back(1, 5);
    EXPECT_EQ(limit.next(second, 1), 2 * second);
}

TEST(RateLimit, SurvivesAClockThatWasAhead) {
    constexpr std::int64_t day = 86'400 * second;
    RateLimit limit;
    limit.take(day, 1, 3);
    EXPECT_EQ(limit.next(second, 1), 4 * second);
}

}  // namespace
}  // namespace rolecall::core
