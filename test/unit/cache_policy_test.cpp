// What stays under pressure, against LRU and against the optimum: the same trace, the same number of entries.
#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <random>
#include <set>
#include <unordered_map>

#include "unit/region.h"

namespace rolecall::core {
namespace {

using Trace = std::vector<std::uint32_t>;

constexpr std::uint32_t users = 20'000;
constexpr std::size_t requests = 400'000;

// Requests for users by Zipf's law, and where `scan` says so, one for each of `scanned` further users.
Trace zipf(double exponent, std::uint32_t scanned, unsigned seed) {
    std::vector<double> sums(users);
    double sum = 0;
    for (std::uint32_t i = 0; i < users; ++i)
        sums[i] = sum += 1 / std::pow(i + 1, exponent);
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> uniform(0, sum);
    Trace trace;
    std::uint32_t cold = users;
    for (std::size_t i = 0; i < requests; ++i) {
        const auto at = std::lower_bound(sums.begin(), sums.end(), uniform(random));
        trace.push_back(static_cast<std::uint32_t>(at - sums.begin()));
        // The scan runs through the middle third, at twice the requests' pace.
        if (scanned > 0 && i > requests / 3 && i < requests * 2 / 3)
            for (int k = 0; k < 2; ++k)
                trace.push_back(users + (cold++ % scanned));
    }
    return trace;
}

// Hits among the requests for users; the scan's own are nobody's to keep.
struct Ratio {
    std::size_t hits = 0;
    std::size_t asked = 0;
    void add(std::uint32_t key, bool hit) {
        if (key >= users)
            return;
        ++asked;
        hits += hit ? 1 : 0;
    }
    double value() const { return static_cast<double>(hits) / static_cast<double>(asked); }
};

double lru(const Trace& trace, std::size_t capacity) {
    Ratio ratio;
    std::list<std::uint32_t> order;
    std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> where;
    for (const std::uint32_t key : trace) {
        const auto found = where.find(key);
        ratio.add(key, found != where.end());
        if (found != where.end()) {
            order.splice(order.begin(), order, found->second);
            continue;
        }
        order.push_front(key);
        where[key] = order.begin();
        if (order.size() > capacity) {
            where.erase(order.back());
            order.pop_back();
        }
    }
    return ratio.value();
}

// Belady's: what is used again last leaves, or does not come in at all.
double optimum(const Trace& trace, std::size_t capacity) {
    std::vector<std::size_t> next(trace.size());
    std::unordered_map<std::uint32_t, std::size_t> seen;
    for (std::size_t i = trace.size(); i-- > 0;) {
        const auto found = seen.find(trace[i]);
        next[i] = found == seen.end() ? SIZE_MAX - trace[i] : found->second;
        seen[trace[i]] = i;
    }
    Ratio ratio;
    std::set<std::pair<std::size_t, std::uint32_t>> by_next;
    std::unordered_map<std::uint32_t, std::size_t> cached;
    for (std::size_t i = 0; i < trace.size(); ++i) {
        const auto found = cached.find(trace[i]);
        ratio.add(trace[i], found != cached.end());
        if (found != cached.end())
            by_next.erase({found->second, trace[i]});
        cached[trace[i]] = next[i];
        by_next.insert({next[i], trace[i]});
        if (cached.size() > capacity) {
            cached.erase(by_next.rbegin()->second);
            by_next.erase(std::prev(by_next.end()));
        }
    }
    return ratio.value();
}

double ours(const Trace& trace, Region& region) {
    Ratio ratio;
    EntryHead head;
    std::string out;
    const std::string document(700, 'd');
    for (const std::uint32_t key : trace) {
        const std::string name = std::to_string(10'000'000 + key);
        const bool hit = region.read(name, Part::document, head, out);
        ratio.add(key, hit);
        if (!hit)
            region.install(name, "access", document);
    }
    region.counts();
    return ratio.value();
}

std::size_t capacity_of(std::size_t bytes) {
    Region region(bytes);
    const std::string document(700, 'd');
    for (std::uint32_t i = 0; i < users; ++i)
        region.install(std::to_string(10'000'000 + i), "access", document);
    return region.counts().ring_bytes / (region.counts().live_bytes / region.counts().entries);
}

struct Ratios {
    double lru, ours, optimum;
};

Ratios measure(const char* what, double exponent, std::uint32_t scanned) {
    const std::size_t bytes = std::size_t{2} << 20;  // a tenth of the users and more
    const Trace trace = zipf(exponent, scanned, 1);
    const std::size_t capacity = capacity_of(bytes);
    Region region(bytes);
    const Ratios r{lru(trace, capacity), ours(trace, region), optimum(trace, capacity)};
    std::printf("%-34s %6zu entries   LRU %.3f   ours %.3f   optimum %.3f\n", what, capacity, r.lru, r.ours,
                r.optimum);
    return r;
}

TEST(CachePolicy, KeepsWhatIsHot) {
    for (const double exponent : {0.8, 1.0, 1.2}) {
        const std::string what = "Zipf " + std::to_string(exponent).substr(0, 3);
        const Ratios r = measure(what.c_str(), exponent, 0);
        EXPECT_GT(r.ours, r.lru);
        EXPECT_GT(r.ours, 0.75 * r.optimum);
    }
}

TEST(CachePolicy, KeepsWhatIsHotUnderAScan) {
    for (const double exponent : {0.8, 1.0, 1.2}) {
        const std::string what = "Zipf " + std::to_string(exponent).substr(0, 3) + ", a scan through it";
        const Ratios r = measure(what.c_str(), exponent, 1'000'000);
        const Ratios calm = measure("the same without", exponent, 0);
        EXPECT_GT(r.ours, r.lru + 0.02);
        EXPECT_GT(r.ours, calm.ours - 0.05);
    }
}

}  // namespace
}  // namespace rolecall::core
