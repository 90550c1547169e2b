#include "core/rule.h"

#include <gtest/gtest.h>

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

TEST(Snapshot, TellsWhoHadFinished) {
    const std::uint32_t running[] = {12, 15};
    const Snapshot snapshot{.xmin = 12, .xmax = 20, .own = 17, .running = running};
    for (const FullXid finished : {FullXid{3}, FullXid{11}, FullXid{13}, FullXid{19}})
        EXPECT_TRUE(snapshot.finished(finished)) << finished;
    for (const FullXid not_finished : {FullXid{12}, FullXid{15}, FullXid{17}, FullXid{20}, FullXid{1000}})
        EXPECT_FALSE(snapshot.finished(not_finished)) << not_finished;
}

TEST(Snapshot, TellsEpochsApart) {
    const FullXid epoch = FullXid{1} << 32;
    const std::uint32_t running[] = {5};
    const Snapshot snapshot{.xmin = epoch + 5, .xmax = epoch + 9, .own = 0, .running = running};
    EXPECT_TRUE(snapshot.finished(5));  // of the epoch before
    EXPECT_FALSE(snapshot.finished(epoch + 5));
    EXPECT_TRUE(snapshot.finished(epoch + 6));
    EXPECT_FALSE(snapshot.finished(2 * epoch + 6));
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
