#include "core/stamps.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace rolecall::core {
namespace {

constexpr auto nobody_runs = [](FullXid) { return false; };
constexpr auto everybody_runs = [](FullXid) { return true; };

// A snapshot in which nothing from `xmin` on has finished.
Snapshot before(FullXid xmin) { return {.xmin = xmin, .xmax = xmin, .own = 0, .running = {}}; }

bool settled(const Stamp& stamp, const Snapshot& snapshot) {
    std::uint64_t versions = 0;
    return core::settled(stamp, snapshot, versions);
}

std::uint64_t version(const Stamp& stamp) { return stamp.version.load(); }

TEST(Stamp, NeedsItsWriterFinished) {
    Stamp stamp{};
    HighWaterMark high_water{};
    EXPECT_TRUE(settled(stamp, before(3)));
    add_writer(stamp, high_water, 500, before(500), everybody_runs);
    EXPECT_FALSE(settled(stamp, before(500)));
    EXPECT_TRUE(settled(stamp, before(501)));
}

TEST(Stamp, NamesNobodyAboveTheHorizon) {
    Stamp stamp{};
    HighWaterMark high_water{};
    EXPECT_TRUE(high_water.is_behind(0));
    add_writer(stamp, high_water, 500, before(500), everybody_runs);
    EXPECT_FALSE(high_water.is_behind(500));
    EXPECT_TRUE(high_water.is_behind(501));
    add_writer(stamp, high_water, 400, before(400), everybody_runs);
    EXPECT_FALSE(high_water.is_behind(500));
    raise_bound(stamp, high_water, 600);
    EXPECT_FALSE(high_water.is_behind(599));
    EXPECT_TRUE(high_water.is_behind(600));
    const FullXid instead[] = {700, 650};
    replace_bound(stamp, high_water, 600, instead);
    EXPECT_FALSE(high_water.is_behind(700));
    EXPECT_TRUE(high_water.is_behind(701));
}

TEST(Stamp, TransactionsThatDidNotWriteDoNotMatter) {
    Stamp stamp{};
    HighWaterMark high_water{};
    const std::uint32_t idle[] = {100};
    add_writer(stamp, high_water, 200, {.xmin = 100, .xmax = 200, .own = 200, .running = idle},
               everybody_runs);
    EXPECT_TRUE(settled(stamp, {.xmin = 100, .xmax = 201, .own = 0, .running = idle}));
    // Nor do they when many have written and ended since.
    for (std::uint32_t writer = 201; writer < 300; ++writer)
        add_writer(stamp, high_water, writer, {.xmin = 100, .xmax = writer, .own = writer, .running = idle},
                   everybody_runs);
    EXPECT_TRUE(settled(stamp, {.xmin = 100, .xmax = 300, .own = 0, .running = idle}));
    EXPECT_FALSE(settled(stamp, {.xmin = 100, .xmax = 299, .own = 0, .running = idle}));
    // Until one of them does write.
    add_writer(stamp, high_water, 100, before(100), everybody_runs);
    EXPECT_FALSE(settled(stamp, {.xmin = 100, .xmax = 300, .own = 0, .running = idle}));
}

TEST(Stamp, MoreWritersAtOnceThanItNames) {
    Stamp stamp{};
    HighWaterMark high_water{};
    for (const FullXid writer : {FullXid{12}, FullXid{10}, FullXid{11}, FullXid{13}})
        add_writer(stamp, high_water, writer, before(10), everybody_runs);
    for (const FullXid xmin : {FullXid{10}, FullXid{11}, FullXid{12}, FullXid{13}})
        EXPECT_FALSE(settled(stamp, before(xmin))) << xmin;
    EXPECT_TRUE(settled(stamp, before(14)));
}

TEST(Stamp, AsksWhoRunsOnlyWhereItMust) {
    Stamp stamp{};
    HighWaterMark high_water{};
    int asked = 0;
    const auto running = [&](FullXid) {
        ++asked;
        return false;
    };
    add_writer(stamp, high_water, 10, before(10), running);
    add_writer(stamp, high_water, 11, before(10), running);
    EXPECT_EQ(asked, 0);
    add_writer(stamp, high_water, 12, before(10), running);
    EXPECT_EQ(asked, 2);
    const std::uint32_t one[] = {9};
    EXPECT_TRUE(settled(stamp, {.xmin = 9, .xmax = 13, .own = 0, .running = one}));
}

TEST(Stamp, VersionsTellAdditionsOfOthersOnly) {
    Stamp stamp{};
    HighWaterMark high_water{};
    add_writer(stamp, high_water, 10, before(10), nobody_runs);
    const std::uint64_t first = version(stamp);
    add_writer(stamp, high_water, 10, before(10), nobody_runs);
    EXPECT_EQ(version(stamp), first);
    add_writer(stamp, high_water, 11, before(10), nobody_runs);
    EXPECT_GT(version(stamp), first);
    const std::uint64_t second = version(stamp);
    raise_bound(stamp, high_water, 20);
    EXPECT_GT(version(stamp), second);
    EXPECT_FALSE(settled(stamp, before(19)));
    EXPECT_TRUE(settled(stamp, before(20)));
    raise_bound(stamp, high_water, 15);
    EXPECT_FALSE(settled(stamp, before(19)));
}

TEST(Stamp, ABoundGivesWayToThoseItStoodFor) {
    Stamp stamp{};
    HighWaterMark high_water{};
    raise_bound(stamp, high_water, 50);
    const std::uint32_t idle[] = {40};
    const Snapshot beside_idle{.xmin = 40, .xmax = 60, .own = 0, .running = idle};
    EXPECT_FALSE(settled(stamp, beside_idle));
    const FullXid caller[] = {55};
    replace_bound(stamp, high_water, 49, caller);
    EXPECT_FALSE(settled(stamp, beside_idle)) << "the bound was another";
    replace_bound(stamp, high_water, 50, caller);
    EXPECT_TRUE(settled(stamp, beside_idle));
    const std::uint32_t older[] = {40, 55};
    EXPECT_FALSE(settled(stamp, {.xmin = 40, .xmax = 60, .own = 0, .running = older}));
    // Somebody else who has written keeps being named, more than there are names are covered by a bound.
    Stamp other{};
    raise_bound(other, high_water, 50);
    add_writer(other, high_water, 52, before(40), everybody_runs);
    const FullXid prepared[] = {55, 41, 42};
    replace_bound(other, high_water, 50, prepared);
    for (const std::uint32_t runs : {41U, 42U, 52U, 55U}) {
        const std::uint32_t running[] = {runs};
        EXPECT_FALSE(settled(other, {.xmin = runs, .xmax = 60, .own = 0, .running = running})) << runs;
    }
    EXPECT_TRUE(settled(other, before(56)));
}

TEST(Stamp, ThatChangesSettlesForNobody) {
    Stamp stamp{};
    stamp.version.store(1);
    EXPECT_FALSE(settled(stamp, before(1000)));
}

TEST(Stamp, LosesNoWriterAmongThreads) {
    constexpr int threads = 4;
    constexpr int rounds = 20'000;
    Stamp stamp{};
    HighWaterMark high_water{};
    std::atomic<bool> stop{false};
    std::thread reader([&] {
        // A bound never falls: once everybody below has been dropped, they were all running.
        while (!stop.load()) {
            std::uint64_t versions = 0;
            (void)core::settled(stamp, before(1), versions);
            ASSERT_EQ(versions % 2, 0U);
        }
    });
    std::vector<std::thread> writers;
    for (int t = 0; t < threads; ++t)
        writers.emplace_back([&, t] {
            for (int i = 0; i < rounds; ++i)
                add_writer(stamp, high_water, 10 + i * threads + t, before(3), everybody_runs);
        });
    for (std::thread& writer : writers)
        writer.join();
    stop.store(true);
    reader.join();
    const FullXid last = 10 + threads * rounds - 1;
    EXPECT_EQ(version(stamp), 2U * threads * rounds);
    EXPECT_FALSE(settled(stamp, before(last)));
    EXPECT_TRUE(settled(stamp, before(last + 1)));
}

TEST(Stamp, ShowsNobodyBeforeTheHorizonDoes) {
    constexpr FullXid writers = 1'000'000;
    Stamp stamp{};
    HighWaterMark high_water{};
    std::thread writer([&] {
        for (FullXid w = 1; w <= writers; ++w)
            add_writer(stamp, high_water, w, before(w), nobody_runs);
    });
    bool is_above = true;
    for (std::uint64_t added = 0; added < writers;) {
        added = version_of(stamp) / 2;
        is_above = is_above && (added == 0 || !high_water.is_behind(added));
    }
    writer.join();
    EXPECT_TRUE(is_above);
}

// Every history of one key with three writers and a fourth transaction that never writes here, exhaustively.
// Ids are assigned at the start, so that writers stamp in any order; a writer stamps before it finishes,
// knowing as little as a snapshot of the start tells, or as much as one of that moment; a loader and a reader
// take their snapshots anywhere. Whatever the rule lets pass, the reader must see exactly the writers that
// the document contains.
struct History {
    static constexpr int writers = 3;
    static constexpr int times = 6;
    struct Writer {
        int stamped, finished;  // times; finished == times: never
    };
    Writer writer[writers];
    bool idle_runs;  // the fourth transaction, the oldest, runs for ever
    bool well_informed;

    static constexpr FullXid first = 11;

    struct Seen {
        std::vector<std::uint32_t> running;
        Snapshot snapshot;
        unsigned sees = 0;
    };

    void take_snapshot(int time, Seen& s) const {
        s.running.clear();
        s.sees = 0;
        if (idle_runs)
            s.running.push_back(first - 1);
        for (int w = 0; w < writers; ++w) {
            if (writer[w].finished > time)
                s.running.push_back(static_cast<std::uint32_t>(first + w));
            else
                s.sees |= 1U << w;
        }
        // As the server does: nothing that finished is at or above xmax.
        FullXid xmax = first;
        for (int w = 0; w < writers; ++w)
            if (writer[w].finished <= time)
                xmax = first + w + 1;
        s.snapshot = {.xmin = s.running.empty() ? xmax : std::min<FullXid>(s.running.front(), xmax),
                      .xmax = xmax,
                      .own = 0,
                      .running = s.running};
    }

    // Stamp and high_water as they are after all that happened until `time`.
    void replay(int time, Stamp& stamp, HighWaterMark& high_water) const {
        for (int now = 0; now <= time; ++now)
            for (int w = 0; w < writers; ++w) {
                if (writer[w].stamped != now)
                    continue;
                Seen known;
                take_snapshot(well_informed ? now : -1, known);
                add_writer(stamp, high_water, first + w, known.snapshot,
                           [&](FullXid other) { return writer[other - first].finished > now; });
            }
    }
};

TEST(Rule, HoldsInEverySmallHistory) {
    std::vector<History::Writer> choices;
    for (int stamped = 0; stamped < History::times; ++stamped)
        for (int finished = stamped; finished <= History::times; ++finished)
            choices.push_back({stamped, finished});
    long passed = 0;
    long passed_beside_idle = 0;
    long passed_by_horizon = 0;
    for (const auto& a : choices)
        for (const auto& b : choices)
            for (const auto& c : choices)
                for (const bool idle : {false, true})
                    for (const bool informed : {false, true}) {
                        const History history{{a, b, c}, idle, informed};
                        std::vector<Stamp> stamps(History::times);
                        std::vector<HighWaterMark> horizons(History::times);
                        std::vector<History::Seen> seen(History::times);
                        for (int t = 0; t < History::times; ++t) {
                            history.replay(t, stamps[t], horizons[t]);
                            history.take_snapshot(t, seen[t]);
                        }
                        for (int load = 0; load < History::times; ++load)
                            for (int install = load; install < History::times; ++install) {
                                std::uint64_t at_install = 0;
                                if (!core::settled(stamps[install], seen[load].snapshot, at_install))
                                    continue;
                                // The entry is copied at or after install, the stamp is read at `check`.
                                for (int look = 0; look < History::times; ++look)
                                    for (int check = std::max(look, install); check < History::times;
                                         ++check) {
                                        if (version_of(stamps[check]) == at_install &&
                                            horizons[check].is_behind(seen[look].snapshot.xmin)) {
                                            ++passed_by_horizon;
                                            ASSERT_EQ(seen[load].sees, seen[look].sees);
                                        }
                                        std::uint64_t at_check = 0;
                                        if (!core::settled(stamps[check], seen[look].snapshot, at_check) ||
                                            at_check != at_install)
                                            continue;
                                        ++passed;
                                        passed_beside_idle += idle && seen[look].sees != 0;
                                        ASSERT_EQ(seen[load].sees, seen[look].sees);
                                    }
                            }
                    }
    EXPECT_GT(passed, 100'000);
    EXPECT_GT(passed_beside_idle, 10'000);
    EXPECT_GT(passed_by_horizon, 50'000);
}

}  // namespace
}  // namespace rolecall::core
