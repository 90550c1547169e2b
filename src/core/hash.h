// A keyed 64-bit hash of (database, projection, key). The seed is random and chosen when shared memory is
// created, so that keys cannot be chosen to share a stamp. The method is folded 128-bit multiplication, as in
// wyhash.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace rolecall::core {

constexpr std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash(std::uint64_t seed, std::uint32_t database, std::uint64_t projection,
                          std::string_view key) {
    constexpr std::uint64_t k1 = 0x9e3779b97f4a7c15ULL;  // 2^64 / golden ratio
    constexpr std::uint64_t k2 = 0xd6e8feb86659fd93ULL;  // odd, half its bits set
    std::uint64_t h = fold(seed ^ k1, projection ^ k2) ^ fold(database ^ k2, key.size() ^ k1);
    const char* at = key.data();
    std::size_t left = key.size();
    while (left > 8) {
        std::uint64_t word;
        std::memcpy(&word, at, 8);
        h = fold(h ^ word, k1);
        at += 8;
        left -= 8;
    }
    std::uint64_t last = 0;
    if (left == 8)  // integer keys: avoids a call of memcpy
        std::memcpy(&last, at, 8);
    else if (left > 0)
        std::memcpy(&last, at, left);
    return fold(fold(h ^ last, k1) ^ seed, k2);
}

}  // namespace rolecall::core
