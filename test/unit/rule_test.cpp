#include "core/rule.h"

#include <gtest/gtest.h>

#include <vector>

namespace rolecall::core {
namespace {

TEST(Widen, ComesBackWithinTwoToTheThirtyOneOfTheReference) {
    EXPECT_EQ(widen(100, 100), 100U);
    EXPECT_EQ(widen(90, 100), 90U);
    EXPECT_EQ(widen(110, 100), 110U);
    const FullXid epoch5 = FullXid{5} << 32;
    EXPECT_EQ(widen(7, epoch5 + 10), epoch5 + 7);
    EXPECT_EQ(widen(0xfffffff0U, epoch5 + 10), epoch5 - 16);  // the id before the wraparound
    EXPECT_EQ(widen(10, epoch5 - 16), epoch5 + 10);           // the reference before it
}

TEST(Widen, AnOldReferenceErrsLowAndNeverHigh) {
    // The true id is less than 2^31 behind the next id, and the reference is any next id of the past.
    const FullXid span = FullXid{1} << 31;
    for (const FullXid next : {FullXid{1000}, span - 1, span + 1000, 3 * span, (FullXid{7} << 32) + 5}) {
        for (const FullXid behind : {FullXid{0}, FullXid{1}, FullXid{500}, span - 1}) {
            if (behind >= next)
                continue;
            const FullXid id = next - behind;
            for (const FullXid age :
                 {FullXid{0}, FullXid{1}, FullXid{999}, span - 1, span, span + 1, 3 * span, next - 1}) {
                if (age >= next)
                    continue;
                const FullXid wide = widen(static_cast<std::uint32_t>(id), next - age);
                EXPECT_LE(wide, id) << "next " << next << " behind " << behind << " age " << age;
                if (age + behind < span) {
                    EXPECT_EQ(wide, id) << "next " << next << " behind " << behind << " age " << age;
                }
            }
        }
    }
}

TEST(Rule, AStampNeedsItsWriterFinished) {
    const FullXid writer = 500;
    const FullXid needs = required(stamp_of(writer), 0, 0);
    // xmin == writer: the writer is the oldest transaction still running.
    EXPECT_FALSE(may_install(needs, writer));
    EXPECT_TRUE(may_install(needs, writer + 1));
    EXPECT_FALSE(may_use(needs, writer + 1, writer));  // the reader's snapshot may not see the writer
    EXPECT_FALSE(may_use(needs, writer, writer + 1));  // the document may not have the writer's change
    EXPECT_TRUE(may_use(needs, writer + 1, writer + 1));
}

TEST(Rule, TheHighestOfStampAndFloorsDecides) {
    EXPECT_EQ(required(1, 2, 3), 3U);
    EXPECT_EQ(required(3, 1, 2), 3U);
    EXPECT_EQ(required(2, 3, 1), 3U);
}

// Every history of one key with three writers, exhaustively: ids are assigned in order; a writer stamps after
// its id and before it finishes; a loader and a reader take their snapshots anywhere. Whatever the rule lets
// pass, the reader must see exactly the writers that the document contains.
TEST(Rule, HoldsInEverySmallHistory) {
    struct Writer {
        int stamped, finished;  // times
    };
    struct Snapshot {
        FullXid xmin;
        unsigned sees;
    };
    constexpr int writers = 3;
    constexpr int times = 7;
    const auto snapshot_at = [&](const std::vector<Writer>& history, int time) {
        Snapshot s{.xmin = writers, .sees = 0};
        for (int w = writers - 1; w >= 0; --w) {
            if (history[w].finished > time)
                s.xmin = static_cast<FullXid>(w);  // running, or not begun: ids are assigned at time 0
            else
                s.sees |= 1U << w;
        }
        return s;
    };
    const auto stamp_at = [&](const std::vector<Writer>& history, int time) {
        FullXid stamp = 0;
        for (int w = 0; w < writers; ++w)
            if (history[w].stamped <= time)
                stamp = std::max(stamp, stamp_of(static_cast<FullXid>(w)));
        return stamp;
    };

    std::vector<Writer> choices;
    for (int stamped = 0; stamped < times; ++stamped)
        for (int finished = stamped; finished <= times; ++finished)
            choices.push_back({stamped, finished});
    long passed = 0;
    for (const Writer& a : choices)
        for (const Writer& b : choices)
            for (const Writer& c : choices) {
                const std::vector<Writer> history{a, b, c};
                for (int load = 0; load < times; ++load)
                    for (int install = load; install < times; ++install) {
                        const Snapshot loader = snapshot_at(history, load);
                        if (!may_install(stamp_at(history, install), loader.xmin))
                            continue;
                        for (int look = 0; look < times; ++look)
                            for (int check = std::max(look, install); check < times; ++check) {
                                // The entry is copied at or after install, the stamp is read at `check`.
                                const Snapshot reader = snapshot_at(history, look);
                                if (!may_use(stamp_at(history, check), loader.xmin, reader.xmin))
                                    continue;
                                ++passed;
                                // Only writers that have stamped by the time of the check can differ.
                                ASSERT_EQ(loader.sees, reader.sees);
                            }
                    }
            }
    EXPECT_GT(passed, 1000);
}

TEST(Window, IsHalfOpen) {
    const Window window{.from = 10, .until = 20};
    EXPECT_FALSE(window.contains(9));
    EXPECT_TRUE(window.contains(10));
    EXPECT_TRUE(window.contains(19));
    EXPECT_FALSE(window.contains(20));
    EXPECT_TRUE(Window{}.contains(0));
}

}  // namespace
}  // namespace rolecall::core
