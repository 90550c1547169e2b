#include "core/breaker.h"

#include <gtest/gtest.h>

namespace rolecall::core {
namespace {

constexpr std::int64_t second = 1'000'000;

TEST(Backoff, DoublesUpToItsBound) {
    constexpr Backoff backoff{.first = 5 * second, .most = 100 * second};
    for (int failures = 1; failures < 4; ++failures) {
        const std::int64_t ceiling = (10 * second) << (failures - 1);
        EXPECT_EQ(backoff.full_jitter(failures, 0), 0);
        EXPECT_EQ(backoff.full_jitter(failures, 0.5), ceiling / 2);
        EXPECT_EQ(backoff.equal_jitter(failures, 0), ceiling / 2);
        EXPECT_LT(backoff.equal_jitter(failures, 0.999), ceiling);
        EXPECT_LT(backoff.full_jitter(failures, 0.999), ceiling);
    }
    EXPECT_EQ(backoff.equal_jitter(50, 0), 50 * second);
    EXPECT_LE(backoff.full_jitter(1'000'000, 0.9999), 100 * second);
}

TEST(Backoff, SpreadsThoseWhoFailedTogether) {
    constexpr Backoff backoff{.first = 5 * second, .most = 100 * second};
    EXPECT_GT(backoff.full_jitter(3, 0.9) - backoff.full_jitter(3, 0.1), 30 * second);
}

TEST(AfterSuccess, LiesWithinTheTtl) {
    EXPECT_EQ(after_success(100, 0), 100);
    EXPECT_GE(after_success(100, 0.9999), 80);
    EXPECT_EQ(after_success(0, 0.5), 0);
}

TEST(Breaker, OpensAfterFailuresInARow) {
    Breaker breaker;
    for (int i = 1; i < Breaker::failures_to_open; ++i) {
        breaker.failed(0, 0);
        EXPECT_TRUE(breaker.allow(0));
    }
    breaker.succeeded();  // not in a row
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(0, 0);
    EXPECT_EQ(breaker.state(), BreakerState::open);
    EXPECT_FALSE(breaker.allow(0));
    EXPECT_GT(breaker.next(0), 0);
}

TEST(Breaker, LetsOneProbe) {
    Breaker breaker;
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(0, 0);
    const std::int64_t then = breaker.next(0);
    EXPECT_FALSE(breaker.allow(then - 1));
    EXPECT_TRUE(breaker.allow(then));
    EXPECT_FALSE(breaker.allow(then));
    EXPECT_FALSE(breaker.allow(then + second));
    EXPECT_EQ(breaker.next(then), then + second);  // the probe decides soon
    breaker.succeeded();
    EXPECT_EQ(breaker.state(), BreakerState::closed);
    EXPECT_TRUE(breaker.allow(then + second));
}

TEST(Breaker, AsksEverMoreRarely) {
    Breaker breaker;
    std::int64_t now = 0;
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(now, 0);
    std::int64_t last = 0;
    for (int probe = 0; probe < 12; ++probe) {
        const std::int64_t pause = breaker.next(now) - now;
        EXPECT_GE(pause, last);
        EXPECT_LE(pause, Breaker::pauses.most);
        last = pause;
        now += pause;
        EXPECT_TRUE(breaker.allow(now));
        breaker.failed(now, 0);
    }
    EXPECT_EQ(last, Breaker::pauses.most / 2);
}

TEST(Breaker, AProbeThatNeverCameBackIsGivenUp) {
    Breaker breaker;
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(0, 0);
    const std::int64_t then = breaker.next(0);
    EXPECT_TRUE(breaker.allow(then));
    EXPECT_FALSE(breaker.allow(then + 59 * second));
    EXPECT_TRUE(breaker.allow(then + 60 * second));
}

TEST(Breaker, WaitsAsLongAsItIsAskedTo) {
    Breaker breaker;
    breaker.failed(0, 0);
    breaker.wait_until(100 * second);
    breaker.wait_until(50 * second);  // never shortens a wait
    breaker.succeeded();              // another request that was under way
    EXPECT_EQ(breaker.next(1), 100 * second);
    EXPECT_FALSE(breaker.allow(100 * second - 1));
    EXPECT_TRUE(breaker.allow(100 * second));
    EXPECT_EQ(breaker.next(100 * second), 100 * second);
}

TEST(Breaker, CountsOneSubjectOnce) {
    Breaker breaker;
    for (int i = 0; i < 20; ++i)
        breaker.failed(0, 0, 7);
    EXPECT_EQ(breaker.failures(), 1);
    for (std::uint64_t subject = 1; subject < Breaker::failures_to_open; ++subject)
        breaker.failed(0, 0, subject);
    EXPECT_EQ(breaker.state(), BreakerState::open);
}

TEST(Breaker, LetsAWorkerProbeAfterSomebodyGaveUp) {
    Breaker breaker;
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(0, 0);
    const std::int64_t then = breaker.next(0);
    EXPECT_TRUE(breaker.allow(then, Breaker::Asker::session));
    breaker.abandoned(then);
    EXPECT_FALSE(breaker.allow(then, Breaker::Asker::session));
    EXPECT_GT(breaker.next(then, Breaker::Asker::session), then);
    EXPECT_TRUE(breaker.allow(then, Breaker::Asker::worker));
}

TEST(Breaker, SurvivesAClockThatWasAhead) {
    constexpr std::int64_t day = 86'400 * second;
    Breaker breaker;
    for (int i = 0; i < Breaker::failures_to_open; ++i)
        breaker.failed(day, 0);
    const std::int64_t pause = breaker.next(day) - day;
    EXPECT_EQ(breaker.next(second), second + pause);
}

}  // namespace
}  // namespace rolecall::core
