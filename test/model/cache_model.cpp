// Every execution of a read beside writers that the C++ memory model allows, on the code of core/cache.h:
// what is found was installed whole, and whoever finds an entry sees the stamp that was raised before its
// install. Each memory order is then taken out once, and the fault is found.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

#include "core/cache.h"
#include "core/hash.h"

namespace rolecall::core {
namespace {

// A cache of a few entries, with a stamp beside it.
class Model : public testing::Test {
 protected:
    Model() : layout(Cache::plan(bytes)), memory(std::aligned_alloc(64, (layout.bytes + 63) / 64 * 64)) {}
    ~Model() override {
        model::execution = nullptr;
        std::free(memory);
    }
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    void start() {
        std::memset(memory, 0, layout.bytes);
        std::memset(static_cast<void*>(&stamp), 0, sizeof stamp);
        cache = Cache(memory, layout);
    }

    static Key key_of(std::string_view name) { return {7, 9, name, hash(1, 7, 9, name)}; }

    // An entry whose every word says `number`.
    void install(std::string_view name, std::uint64_t number, std::size_t words = 2) {
        const std::string block(8, static_cast<char>(number));
        std::string document;
        for (std::size_t i = 0; i < words; ++i)
            document.append(reinterpret_cast<const char*>(&number), 8);
        EntryHead head;
        head.versions = number;
        head.document_bytes = static_cast<std::uint32_t>(document.size());
        head.access_bytes = static_cast<std::uint32_t>(block.size());
        (void)cache.install(key_of(name), head,
                            {.groups = nullptr, .access = block.data(), .document = document.data()});
    }

    // What a writer of the table does: its stamp, and then (it has committed, its snapshot was taken) a load.
    void change_and_install(std::string_view name, std::uint64_t number, std::size_t words = 2) {
        stamp.store(number, std::memory_order_relaxed);
        install(name, number, words);
    }

    struct Seen {
        std::uint64_t number;
        std::uint64_t stamp;
    };

    // Reads `name`; nothing: not found. Complains of what is torn.
    std::optional<Seen> read(std::string_view name, bool& torn) {
        EntryHead head;
        std::vector<std::uint64_t> copy;
        const bool found = cache.read(key_of(name), Part::document, head, [&](Part, std::size_t size) {
            copy.assign(size / 8, 0);
            return reinterpret_cast<char*>(copy.data());
        });
        if (!found)
            return std::nullopt;
        torn |= copy.size() * 8 != head.document_bytes;
        for (const std::uint64_t word : copy)
            torn |= word != head.versions;
        return Seen{head.versions, stamp.load(std::memory_order_relaxed)};
    }

    struct Outcome {
        std::size_t executions = 0;
        std::size_t found_old = 0;
        std::size_t found_new = 0;
        std::size_t torn = 0;
        std::size_t stamp_missed = 0;
    };

    // Every execution of a read of "a" beside what `writers` do after `before` has been done; with an order
    // taken out by `change`, up to the first fault.
    Outcome explore(const std::function<void()>& before, const std::function<void()>& writers,
                    std::uint64_t newest, const std::function<void(model::Execution&)>& change = {}) {
        Outcome outcome;
        start();
        before();
        model::Execution recorded;
        if (change)
            change(recorded);
        recorded.recording = true;
        model::execution = &recorded;
        writers();
        recorded.recording = false;
        recorded.current.clear();
        recorded.acquired.clear();
        recorded.released.clear();
        model::Execution e = recorded;
        model::execution = &e;
        do {
            e.current.clear();
            e.acquired.clear();
            bool torn = false;
            const auto seen = read("a", torn);
            ++outcome.executions;
            outcome.torn += torn ? 1 : 0;
            if (!seen)
                continue;
            outcome.found_new += seen->number == newest ? 1 : 0;
            outcome.found_old += seen->number != newest ? 1 : 0;
            outcome.stamp_missed += seen->number == newest && seen->stamp != newest ? 1 : 0;
        } while (e.next() && (!change || outcome.torn == 0));
        model::execution = nullptr;
        return outcome;
    }

    static constexpr std::size_t bytes = std::size_t{1} << 14;
    Cache::Layout layout;
    void* memory;
    Cache cache;
    Atomic<std::uint64_t> stamp;
};

TEST_F(Model, ReplacedInPlace) {
    const auto before = [&] { install("a", 1); };
    const auto writers = [&] { change_and_install("a", 2); };
    const Outcome o = explore(before, writers, 2);
    EXPECT_GT(o.executions, 50U);
    EXPECT_GT(o.found_old, 0U);
    EXPECT_GT(o.found_new, 0U);
    EXPECT_EQ(o.torn, 0U);
    EXPECT_EQ(o.stamp_missed, 0U);
    std::printf("in place: %zu executions\n", o.executions);

    const auto broken = [&](auto change) { return explore(before, writers, 2, change); };
    EXPECT_GT(broken([](auto& e) { e.without_release_fence = true; }).torn, 0U);
    EXPECT_GT(broken([](auto& e) { e.without_acquire_fence = true; }).torn, 0U);
    const Outcome no_release = broken([](auto& e) { e.without_release_store = true; });
    EXPECT_GT(no_release.torn + no_release.stamp_missed, 0U);
    const Outcome no_acquire = broken([](auto& e) { e.without_acquire_load = true; });
    EXPECT_GT(no_acquire.torn + no_acquire.stamp_missed, 0U);
}

TEST_F(Model, ReplacedByALongerOne) {
    const Outcome o = explore([&] { install("a", 1); }, [&] { change_and_install("a", 2, 3); }, 2);
    EXPECT_GT(o.found_old, 0U);
    EXPECT_GT(o.found_new, 0U);
    EXPECT_EQ(o.torn + o.stamp_missed, 0U);
    std::printf("moved: %zu executions\n", o.executions);
}

TEST_F(Model, Removed) {
    const Outcome o = explore([&] { install("a", 1); }, [&] { (void)cache.remove(key_of("a")); }, 2);
    EXPECT_GT(o.found_old, 0U);
    EXPECT_LT(o.found_old, o.executions);
    EXPECT_EQ(o.torn + o.found_new, 0U);
}

// The entry's memory is given to another key while it is read.
TEST_F(Model, MemoryReused) {
    const std::size_t most = layout.nursery_words / 8 - 12;
    const auto before = [&] { install("a", 1); };
    const auto writers = [&] {
        (void)cache.remove(key_of("a"));
        for (const std::string name : {"b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "c0"})
            install(name, 2, most);
    };
    const Outcome o = explore(before, writers, 2);
    EXPECT_GT(o.found_old, 0U);
    EXPECT_EQ(o.torn + o.found_new, 0U);
    std::printf("reused: %zu executions\n", o.executions);
    EXPECT_GT(explore(before, writers, 2, [](auto& e) { e.without_acquire_fence = true; }).torn, 0U);
}

}  // namespace
}  // namespace rolecall::core
