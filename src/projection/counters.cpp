#include "projection/counters.h"

namespace rolecall::projection::counters {

namespace {

constexpr CounterPlace shared_place = places - 1;

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

Block* detail::own = nullptr;

Block* detail::find_own() {
    const int backend = pg::backend_slot();
    if (backend < 0 || backend >= MaxBackends)
        return nullptr;
    return own = &block(backend, 0);
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
