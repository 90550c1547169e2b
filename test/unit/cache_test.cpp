#include "core/cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/hash.h"
#include "unit/region.h"

namespace rolecall::core {
namespace {

TEST(Cache, PlansWithinItsBytes) {
    for (const std::size_t bytes : {std::size_t{1} << 18, std::size_t{1} << 20, std::size_t{5} << 20,
                                    std::size_t{64} << 20, std::size_t{64} << 30}) {
        const Cache::Layout layout = Cache::plan(bytes, std::size_t{64} << 10);
        EXPECT_LE(layout.bytes, bytes);
        EXPECT_GT(layout.bytes, bytes - bytes / 50);
        EXPECT_GT(layout.buckets, 0U);
        // Whatever a ring's words are counted in, offsets fit into half a slot.
        EXPECT_LT(layout.ring_words, UINT32_MAX);
    }
    EXPECT_EQ(Cache::plan(std::size_t{64} << 20, std::size_t{8} << 20).partitions, 1U);
}

TEST(Cache, ReturnsWhatWasInstalled) {
    Region region(1 << 20);
    EntryHead head;
    std::string out;
    EXPECT_FALSE(region.read("a", Part::document, head, out));
    ASSERT_EQ(region.install("a", "access", "document", 17), InstallResult::installed);
    ASSERT_TRUE(region.read("a", Part::document, head, out));
    EXPECT_EQ(out, "document");
    EXPECT_EQ(head.versions, 17U);
    EXPECT_EQ(head.loaded_at, 42);
    ASSERT_TRUE(region.read("a", Part::access, head, out));
    EXPECT_EQ(out, "access");
    EXPECT_FALSE(region.read("b", Part::document, head, out));
    EXPECT_FALSE(region.read("", Part::document, head, out));
}

TEST(Cache, ReturnsTheGroupsWithEachPart) {
    Region region(1 << 20);
    ASSERT_EQ(region.install("a", "access", "document", 1, "twelve bytes"), InstallResult::installed);
    EntryHead head;
    std::string groups;
    std::string out;
    ASSERT_TRUE(region.read("a", Part::document, head, groups, out));
    EXPECT_EQ(groups, "twelve bytes");
    EXPECT_EQ(out, "document");
    ASSERT_TRUE(region.read("a", Part::access, head, groups, out));
    EXPECT_EQ(groups, "twelve bytes");
    EXPECT_EQ(out, "access");
    ASSERT_TRUE(region.read("a", Part::groups, head, groups, out));
    EXPECT_EQ(out, "twelve bytes");
}

TEST(Cache, TellsKeysApartByDatabaseProjectionAndBytes) {
    Region region(1 << 20);
    region.install("key", "", "mine");
    EntryHead head;
    const auto reserve = [](Part, std::size_t) -> char* { std::abort(); };
    for (Key key : {Key{8, 9, "key", 0}, Key{7, 10, "key", 0}, Key{7, 9, "kex", 0},
                    Key{7, 9, std::string_view("key\0", 4), 0}}) {
        key.hash = Region::key_of("key").hash;  // the same hash: equality must not rest on it
        EXPECT_FALSE(region.cache.read(key, Part::document, head, reserve));
    }
}

TEST(Cache, LoadsWhatIsFreeAndPushesNobodyOut) {
    Region region(1 << 20);
    const std::string document(900, 'x');
    const auto install = [&](int i) {
        return region.install(std::to_string(i), "", document, 1, {}, Room::free);
    };
    int loaded = 0;
    int refused = 0;
    for (int i = 0; i < 2000; ++i)
        (install(i) == InstallResult::installed ? loaded : refused) += 1;
    const CacheCounts counts = region.counts();
    EXPECT_EQ(counts.evictions, 0U);
    EXPECT_EQ(counts.entries, static_cast<std::uint64_t>(loaded));
    EXPECT_GT(refused, 0);
    EXPECT_GT(counts.live_bytes, counts.ring_bytes * 85 / 100);  // all but the nursery

    // What is there may be replaced; memory that is given back is used again.
    EXPECT_EQ(install(0), InstallResult::installed);
    EXPECT_EQ(install(1999), InstallResult::no_room);
    for (int i = 0; i < 100; ++i)
        region.remove(std::to_string(i));
    int again = 0;
    for (int i = 0; i < 100; ++i)
        again += install(i) == InstallResult::installed ? 1 : 0;
    EXPECT_GT(again, 90);
    EXPECT_EQ(region.counts().evictions, 0U);
}

// 004-9: while there is memory there is a slot. With one bucket for a key, a few in ten thousand had none.
TEST(Cache, HasASlotForEverybodyWhoFits) {
    Region region(std::size_t{256} << 20);
    const std::string document(832, 'x');  // 900 bytes with all else
    const std::size_t fits = region.counts().ring_bytes * 9 / 10 / 900;
    std::size_t loaded = 0;
    for (std::size_t i = 0; i < fits * 95 / 100; ++i)
        loaded +=
            region.install(std::to_string(i), "", document, 1, {}, Room::free) == InstallResult::installed;
    EXPECT_EQ(loaded, fits * 95 / 100);
    EXPECT_EQ(region.counts().entries, loaded);
}

TEST(Cache, RefusesKeysAndGroupsThatNoEntryCanSay) {
    Region region(std::size_t{16} << 20);
    EntryHead head;
    std::string out;
    for (const bool is_long : {false, true}) {
        const std::string key(is_long ? 4096 : 4095, 'k');
        EXPECT_EQ(region.install(key, "", "document"),
                  is_long ? InstallResult::too_large : InstallResult::installed);
        EXPECT_EQ(region.read(key, Part::document, head, out), !is_long);
        EXPECT_EQ(region.remove(key), !is_long);
        const std::string groups(is_long ? 131'072 : 131'068, 'g');
        EXPECT_EQ(region.install("k", "", "document", 1, groups),
                  is_long ? InstallResult::too_large : InstallResult::installed);
        ASSERT_TRUE(region.read("k", Part::groups, head, out));
        EXPECT_EQ(out.size(), 131'068U);
    }
}

TEST(Cache, ReplacesInPlaceAndByMoving) {
    Region region(1 << 20);
    EntryHead head;
    std::string out;
    for (const std::string document : {"12345678", "87654321", "a longer document than before", "", "x"}) {
        ASSERT_EQ(region.install("a", "", document), InstallResult::installed);
        ASSERT_TRUE(region.read("a", Part::document, head, out));
        EXPECT_EQ(out, document);
        EXPECT_EQ(region.counts().entries, 1U);
    }
}

TEST(Cache, RefusesWhatIsTooLargeAndKeepsTheRest) {
    Region region(1 << 18);
    region.install("small", "", "document");
    EXPECT_EQ(region.install("large", "", std::string(1 << 18, 'x')), InstallResult::too_large);
    EXPECT_EQ(region.counts().entries, 1U);
}

TEST(Cache, MakesRoomByWhatNobodyRead) {
    Region region(1 << 18);
    const std::string document(1000, 'd');
    EntryHead head;
    std::string out;
    const auto is_there = [&](int i) {
        return region.read("key" + std::to_string(i), Part::document, head, out);
    };
    int count = 0;
    while (region.counts().evictions == 0)
        region.install("key" + std::to_string(count++), "", document);
    EXPECT_GT(region.counts().live_bytes, region.counts().ring_bytes * 8 / 10) << "memory is left unused";
    for (int round = 0; round < 20; ++round) {
        for (int i = 0; i < 10; ++i)
            ASSERT_TRUE(is_there(i)) << round;
        for (int i = 0; i < 20; ++i)
            region.install("key" + std::to_string(count++), "", document);
    }
    EXPECT_TRUE(is_there(count - 1));
    EXPECT_FALSE(is_there(count - 100));
}

// Who left the nursery unread and comes back soon was not given enough time: it goes to the main ring.
TEST(Cache, TakesBackWhatReturns) {
    Region region(1 << 18);
    const std::string document(1000, 'd');
    int count = 0;
    while (region.counts().evictions == 0)
        region.install("key" + std::to_string(count++), "", document);
    EntryHead head;
    std::string out;
    int gone = 0;
    while (region.read("key" + std::to_string(gone), Part::document, head, out))
        ++gone;
    region.install("key" + std::to_string(gone), "", document);
    for (int i = 0; i < 60; ++i)
        region.install("other" + std::to_string(i), "", document);
    EXPECT_TRUE(region.read("key" + std::to_string(gone), Part::document, head, out));
}

TEST(Cache, TakesEverySizeUpToTheLargest) {
    for (const std::size_t largest : {std::size_t{64} << 10, std::size_t{4} << 20}) {
        Region region(largest * 4, largest);
        for (const std::size_t size : {std::size_t{0}, std::size_t{1}, largest / 2, largest - 1, largest}) {
            const std::string document(size, 'd');
            EntryHead head;
            std::string out;
            ASSERT_EQ(region.install("a", "access", document), InstallResult::installed);
            ASSERT_TRUE(region.read("a", Part::document, head, out));
            EXPECT_EQ(out, document);
            region.counts();
        }
    }
}

TEST(Cache, KeepsFormsApart) {
    Region region(1 << 18);
    region.install("a", "", "document");
    const std::string name = "a";
    Key text = Region::key_of(name);
    text.form = Form::text;
    EntryHead head;
    std::uint64_t word = 0;
    const auto reserve = [&](Part, std::size_t) { return reinterpret_cast<char*>(&word); };
    EXPECT_FALSE(region.cache.read(text, Part::document, head, reserve));
    head = {};
    head.versions = 3;
    head.window = {.from = -5, .until = 7};
    head.document_bytes = 4;
    ASSERT_EQ(region.cache.install(text, head, {.groups = nullptr, .access = nullptr, .document = "text"}),
              InstallResult::installed);
    EntryHead found;
    ASSERT_TRUE(region.cache.read(text, Part::document, found, reserve));
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(&word), 4), "text");
    EXPECT_EQ(found.window, head.window);
    EXPECT_EQ(found.document_bytes, 4U);
    EXPECT_TRUE(region.cache.remove(text));
    EXPECT_EQ(region.counts().entries, 1U);
}

TEST(Cache, RemovesWhatThePredicateSays) {
    Region region(1 << 20);
    for (int i = 0; i < 100; ++i)
        region.install("key" + std::to_string(i), "", "document");
    const auto remove_all = [&](std::uint64_t which) {
        for (std::uint32_t p = 0; p < region.cache.partitions(); ++p) {
            std::uint32_t at = 0;
            do
                at = region.cache.remove_if(p, at, [&](std::uint32_t database, std::uint64_t projection) {
                    return database == 7 && projection == which;
                });
            while (at != 0);
        }
    };
    remove_all(8);
    EXPECT_EQ(region.counts().entries, 100U);
    remove_all(9);
    EXPECT_EQ(region.counts().entries, 0U);
}

// A million random operations against a map: what is there is right, and the ring adds up (verify()).
TEST(Cache, AgreesWithAModelAndLosesNoMemory) {
    Region region(1 << 20);
    std::mt19937_64 random(1);
    std::map<std::string, std::string> model;
    EntryHead head;
    std::string out;
    for (int step = 0; step < 1'000'000; ++step) {
        const std::string key = "k" + std::to_string(random() % 2000);
        if (random() % 4 == 0) {
            region.remove(key);
            model.erase(key);
        } else if (random() % 4 == 0) {
            if (region.read(key, Part::document, head, out)) {
                ASSERT_TRUE(model.contains(key));
                ASSERT_EQ(out, model[key]);
            }
        } else {
            const std::size_t length = random() % 16 == 0 ? random() % 20000 : random() % 900;
            const std::string document(length, static_cast<char>('a' + random() % 26));
            ASSERT_EQ(region.install(key, "access", document), InstallResult::installed);
            model[key] = document;
        }
        if (step % 50'000 == 0) {
            const CacheCounts counts = region.counts();
            ASSERT_LE(counts.live_bytes, counts.ring_bytes);
            ASSERT_LE(counts.entries, model.size());
        }
    }
    std::uint64_t found = 0;
    for (const auto& [key, document] : model) {
        if (region.read(key, Part::document, head, out)) {
            ++found;
            ASSERT_EQ(out, document);
        }
    }
    for (int i = 0; i < 2000; ++i) {
        const std::string key = "k" + std::to_string(i);
        if (!model.contains(key)) {
            ASSERT_FALSE(region.read(key, Part::document, head, out)) << "a removed key is still there";
        }
    }
    EXPECT_EQ(found, region.counts().entries);
    for (const auto& [key, document] : model)
        region.remove(key);
    EXPECT_EQ(region.counts().live_bytes, 0U);

    // Nothing leaked: it takes as much as a new one.
    const auto fill = [](Region& r) {
        for (int i = 0; i < 10'000; ++i)
            r.install("fill" + std::to_string(i), "", std::string(1000, 'f'));
        return r.counts().live_bytes;
    };
    Region other(1 << 20);
    EXPECT_NEAR(static_cast<double>(fill(region)), static_cast<double>(fill(other)), 4 * 1100);
}

// Readers without locks among writers: every copy is one that was installed whole. A document repeats its
// entry's number, so that a mixture of two is seen.
TEST(Cache, ReadersNeverSeeAMixture) {
    Region region(1 << 18);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> read{0};
    const auto document_for = [](std::uint64_t number, std::size_t words) {
        std::string document;
        for (std::size_t i = 0; i < words; ++i)
            document.append(reinterpret_cast<const char*>(&number), 8);
        return document;
    };
    const auto write = [&](unsigned seed) {
        std::mt19937_64 random(seed);
        for (int i = 0; i < 100'000; ++i) {
            const std::string key = "k" + std::to_string(random() % 300);
            const std::uint64_t number = random();
            const std::size_t size = random() % 200;
            if (random() % 8 == 0)
                region.remove(key);
            else
                region.install(key, document_for(number, size % 7), document_for(number, size), number,
                               document_for(number, size % 3));
        }
    };
    const auto look = [&](unsigned seed) {
        std::mt19937_64 random(seed);
        EntryHead head;
        std::string groups;
        std::string out;
        while (!stop.load()) {
            const Part part = random() % 2 == 0 ? Part::document : Part::access;
            if (!region.read("k" + std::to_string(random() % 300), part, head, groups, out))
                continue;
            read.fetch_add(1);
            out += groups;
            for (std::size_t at = 0; at + 8 <= out.size(); at += 8) {
                std::uint64_t word = 0;
                std::memcpy(&word, out.data() + at, 8);
                ASSERT_EQ(word, head.versions);
            }
        }
    };
    std::vector<std::thread> readers;
    for (unsigned i = 0; i < 2; ++i)
        readers.emplace_back(look, 100 + i);
    std::vector<std::thread> writers;
    for (unsigned i = 0; i < 2; ++i)
        writers.emplace_back(write, i);
    for (std::thread& writer : writers)
        writer.join();
    stop.store(true);
    for (std::thread& reader : readers)
        reader.join();
    EXPECT_GT(read.load(), 0U);
    region.counts();
}

}  // namespace
}  // namespace rolecall::core
