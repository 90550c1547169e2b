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

namespace rolecall::core {
namespace {

// A region on the heap, with a mutex for each partition.
class Region {
 public:
    explicit Region(std::size_t bytes)
        : layout_(Cache::plan(bytes)), memory_(std::aligned_alloc(64, round(layout_.bytes))) {
        std::memset(memory_, 0, layout_.bytes);
        cache = Cache(memory_, layout_);
        locks = std::vector<std::mutex>(layout_.partitions);
    }
    ~Region() { std::free(memory_); }
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

    InstallResult install(const std::string& key, const std::string& access, const std::string& document,
                          std::uint64_t versions = 1, const std::string& groups = {}) {
        const Key k = key_of(key);
        const EntryHead head{.versions = versions,
                             .window = {},
                             .loaded_at = 42,
                             .document_bytes = static_cast<std::uint32_t>(document.size()),
                             .access_bytes = static_cast<std::uint32_t>(access.size()),
                             .group_bytes = static_cast<std::uint32_t>(groups.size())};
        const std::lock_guard guard(locks[cache.partition_of(k.hash)]);
        return cache.install(k, head,
                             {.groups = groups.data(), .access = access.data(), .document = document.data()});
    }

    bool remove(const std::string& key) {
        const Key k = key_of(key);
        const std::lock_guard guard(locks[cache.partition_of(k.hash)]);
        return cache.remove(k);
    }

    bool read(const std::string& key, Part part, EntryHead& head, std::string& out) const {
        std::string groups;
        return read(key, part, head, groups, out);
    }

    bool read(const std::string& key, Part part, EntryHead& head, std::string& groups,
              std::string& out) const {
        std::map<Part, std::vector<std::uint64_t>> buffers;
        const bool found = cache.read(key_of(key), part, head, [&](Part which, std::size_t bytes) {
            buffers[which].resize(bytes / 8);
            return reinterpret_cast<char*>(buffers[which].data());
        });
        const auto text = [&](Part which, std::uint32_t bytes) {
            return found && bytes > 0
                       ? std::string(reinterpret_cast<const char*>(buffers[which].data()), bytes)
                       : std::string();
        };
        groups = text(Part::groups, head.group_bytes);
        out = part == Part::groups   ? groups
              : part == Part::access ? text(part, head.access_bytes)
                                     : text(part, head.document_bytes);
        return found;
    }

    CacheCounts counts() {
        CacheCounts sum;
        for (std::uint32_t p = 0; p < cache.partitions(); ++p) {
            const std::lock_guard guard(locks[p]);
            cache.verify(p);
            const CacheCounts c = cache.counts(p);
            sum.entries += c.entries;
            sum.live_bytes += c.live_bytes;
            sum.ring_bytes += c.ring_bytes;
            sum.evictions += c.evictions;
        }
        return sum;
    }

    static Key key_of(const std::string& key) { return {7, 9, key, hash(1, 7, 9, key)}; }

    Cache cache;
    std::vector<std::mutex> locks;

 private:
    static std::size_t round(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

    Cache::Layout layout_;
    void* memory_;
};

TEST(Cache, PlansWithinItsBytes) {
    for (const std::size_t bytes : {std::size_t{1} << 18, std::size_t{1} << 20, std::size_t{5} << 20,
                                    std::size_t{64} << 20, std::size_t{64} << 30}) {
        const Cache::Layout layout = Cache::plan(bytes);
        EXPECT_LE(layout.bytes, bytes);
        EXPECT_GT(layout.bytes, bytes - bytes / 50);
        EXPECT_GT(layout.buckets, 0U);
    }
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

TEST(Cache, MakesRoomByTheOldest) {
    Region region(1 << 18);
    const std::string document(1000, 'd');
    int i = 0;
    while (region.counts().evictions == 0)
        region.install("key" + std::to_string(i++), "", document);
    EntryHead head;
    std::string out;
    EXPECT_FALSE(region.read("key0", Part::document, head, out));
    EXPECT_TRUE(region.read("key" + std::to_string(i - 1), Part::document, head, out));
    EXPECT_GT(region.counts().live_bytes, region.counts().ring_bytes / 2);
}

TEST(Cache, RemovesWhatThePredicateSays) {
    Region region(1 << 20);
    for (int i = 0; i < 100; ++i)
        region.install("key" + std::to_string(i), "", "document");
    std::uint64_t removed = 0;
    for (std::uint32_t p = 0; p < region.cache.partitions(); ++p)
        removed += region.cache.remove_if(p, [](std::uint32_t database, std::uint64_t projection) {
            return database == 7 && projection == 9;
        });
    EXPECT_EQ(removed, 100U);
    EXPECT_EQ(region.counts().entries, 0U);
}

// A million random operations against a map: what is there is right, and the ring adds up (verify()).
TEST(Cache, AgreesWithAModelAndLosesNoMemory) {
    Region region(1 << 20);
    std::mt19937_64 random(1);
    std::map<std::string, std::string> model;
    for (int step = 0; step < 1'000'000; ++step) {
        const std::string key = "k" + std::to_string(random() % 2000);
        if (random() % 4 == 0) {
            region.remove(key);
            model.erase(key);
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
    EntryHead head;
    std::string out;
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
