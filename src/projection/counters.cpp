#include "projection/counters.h"

namespace rolecall::projection::counters {

namespace {

constexpr int places = 32;
constexpr CounterPlace shared_place = places - 1;
constexpr int kinds = static_cast<int>(Count::counts);

struct alignas(64) Block {
    std::atomic<std::uint64_t> values[kinds];
};

struct Directory {
    std::atomic<std::uint64_t> hashes[shared_place];  // whose place it is; 0: nobody's
};

Directory* directory = nullptr;
Block* blocks = nullptr;  // by backend, then by place

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
}

CounterPlace existing_place_of(std::uint64_t hash) {
    for (CounterPlace place = 0; place < shared_place; ++place)
        if (directory->hashes[place].load(std::memory_order_relaxed) == hash)
            return place;
    return -1;
}

CounterPlace place_of(std::uint64_t hash) {
    for (CounterPlace place = 0; place < shared_place; ++place) {
        std::uint64_t found = directory->hashes[place].load(std::memory_order_relaxed);
        if (found == 0)
            directory->hashes[place].compare_exchange_strong(found, hash);
        if (found == hash || found == 0)
            return place;
    }
    return shared_place;
}

void add(CounterPlace place, Count what, std::uint64_t number) {
    const int backend = pg::backend_slot();
    if (backend < 0 || backend >= MaxBackends)
        return;
    // Only this backend writes here: no read-modify-write is needed.
    auto& value = block(backend, place).values[static_cast<int>(what)];
    value.store(value.load(std::memory_order_relaxed) + number, std::memory_order_relaxed);
}

std::uint64_t total(CounterPlace place, Count what) {
    std::uint64_t sum = 0;
    for (int backend = 0; backend < MaxBackends; ++backend)
        sum += block(backend, place).values[static_cast<int>(what)].load(std::memory_order_relaxed);
    return sum;
}

std::uint64_t total(Count what) {
    std::uint64_t sum = 0;
    for (CounterPlace place = 0; place < places; ++place)
        sum += total(place, what);
    return sum;
}

}  // namespace rolecall::projection::counters
