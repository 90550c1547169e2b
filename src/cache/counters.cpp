#include "cache/counters.h"

#include "pg/slots.h"
#include "pg/testing.h"

namespace rolecall::cache::counters {

namespace {

constexpr CounterPlace shared_place = places - 1;
constexpr int count_of_counts = static_cast<int>(Count::counts);

struct Directory {
    std::atomic<std::uint64_t> hashes[shared_place];  // the projection of each place; 0: free
    std::atomic<Oid> databases[shared_place];
    std::atomic<std::uint64_t> before[shared_place][count_of_counts];  // by earlier projections there
    std::atomic<std::int64_t> refused;
};

Directory* directory = nullptr;
Block* blocks = nullptr;  // by backend, then by place

CounterPlace usable_places() { return testing::slots(shared_place); }

std::int64_t used_places() {
    return std::count_if(directory->hashes, directory->hashes + usable_places(),
                         [](const auto& hash) { return hash.load(std::memory_order_relaxed) != 0; });
}

std::uint64_t sum_of(CounterPlace place, Count what);

void free_place(CounterPlace place) {
    for (int what = 0; what < count_of_counts; ++what)
        directory->before[place][what].store(sum_of(place, static_cast<Count>(what)),
                                             std::memory_order_relaxed);
    directory->databases[place].store(InvalidOid);
    directory->hashes[place].store(0);
}

Block& block(int backend, CounterPlace place) {
    return blocks[static_cast<std::size_t>(backend) * places + place];
}

}  // namespace

std::size_t bytes() {
    return CACHELINEALIGN(sizeof(Directory)) + mul_size(sizeof(Block), mul_size(places, MaxBackends));
}

void attach(void* memory) {
    directory = static_cast<Directory*>(memory);
    blocks = reinterpret_cast<Block*>(static_cast<char*>(memory) + CACHELINEALIGN(sizeof(Directory)));
    pg::add_slots({.name = "projections with counters of their own", .count = [] {
                       return pg::SlotCounts{.slots = usable_places(),
                                             .used = used_places(),
                                             .refused = directory->refused.load()};
                   }});
}

CounterPlace existing_place_of(std::uint64_t hash) {
    for (CounterPlace place = 0; place < shared_place; ++place)
        if (directory->hashes[place].load(std::memory_order_relaxed) == hash)
            return place;
    return -1;
}

CounterPlace place_of(Oid database, std::uint64_t hash) {
    for (CounterPlace place = 0; place < usable_places(); ++place) {
        std::uint64_t found = directory->hashes[place].load(std::memory_order_relaxed);
        if (found == 0 && directory->hashes[place].compare_exchange_strong(found, hash)) {
            directory->databases[place].store(database);
            return place;
        }
        if (found == hash)
            return place;
    }
    directory->refused.fetch_add(1, std::memory_order_relaxed);
    return shared_place;
}

bool is_full() { return used_places() == usable_places(); }

void forget(std::uint64_t hash) {
    const CounterPlace place = existing_place_of(hash);
    if (place >= 0)
        free_place(place);
}

void keep_of(std::span<const Oid> databases) {
    for (CounterPlace place = 0; place < usable_places(); ++place) {
        const Oid database = directory->databases[place].load();
        if (OidIsValid(database) && std::ranges::find(databases, database) == databases.end())
            free_place(place);
    }
    static bool is_told = false;
    if (!is_told && directory->refused.load(std::memory_order_relaxed) > 0) {
        is_told = true;
        pg::log_full("projections with counters of their own", usable_places(),
                     "The others are counted together: rolecall.stat_projection does not tell them apart.");
    }
}

Block* detail::own = nullptr;

Block* detail::find_own() {
    const int backend = pg::backend_slot();
    if (backend < 0 || backend >= MaxBackends)
        return nullptr;
    return own = &block(backend, 0);
}

namespace {

std::uint64_t sum_of(CounterPlace place, Count what) {
    std::uint64_t sum = 0;
    for (int backend = 0; backend < MaxBackends; ++backend)
        sum += block(backend, place).values[static_cast<int>(what)].load(std::memory_order_relaxed);
    return sum;
}

}  // namespace

std::uint64_t total(CounterPlace place, Count what) {
    const std::uint64_t before =
        place < shared_place
            ? directory->before[place][static_cast<int>(what)].load(std::memory_order_relaxed)
            : 0;
    return sum_of(place, what) - before;
}

std::uint64_t total(Count what) {
    std::uint64_t sum = 0;
    for (CounterPlace place = 0; place < places; ++place)
        sum += sum_of(place, what);
    return sum;
}

}  // namespace rolecall::cache::counters
