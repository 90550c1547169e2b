// Atomics for the model check: each location remembers every value that it had, and a load may return any
// that the C++20 memory model allows the thread to see. Included by core/atomic.h in place of std::atomic.
//
// The model is the operational one of views (Kang et al., "A promising semantics for relaxed-memory
// concurrency", 2017, without promises): a thread has a view, the oldest message of each location that it may
// still read. An acquire load takes over the view that the message carries; a relaxed load keeps it for a
// later acquire fence. A release store gives the thread's view to its message; a relaxed one the view of its
// last release fence.
//
// A reader that writes nothing cannot influence writers. So the writers run first, to their end, and the
// reader then chooses among their messages: that covers every interleaving of the two.
#pragma once

#include <atomic>  // std::memory_order
#include <cstdint>
#include <map>
#include <vector>

namespace rolecall::core::model {

using View = std::map<const void*, std::size_t>;  // location -> position in its history

inline void join(View& view, const View& other) {
    for (const auto& [where, at] : other) {
        std::size_t& mine = view[where];
        mine = mine < at ? at : mine;
    }
}

struct Message {
    std::uint64_t value;
    View view;
};

/// One execution under way: the histories, the running thread, and the choices that it makes.
struct Execution {
    std::map<const void*, std::vector<Message>> histories;
    View current;                      ///< of the running thread
    View acquired;                     ///< what a later acquire fence takes over
    View released;                     ///< what relaxed stores carry
    bool recording = false;            ///< in the writers' part
    std::vector<std::size_t> choices;  ///< made so far, and to be made first
    std::vector<std::size_t> widths;   ///< among how many
    std::size_t position = 0;

    // Orders that a test takes out, to see that they are needed.
    bool without_release_fence = false;
    bool without_release_store = false;
    bool without_acquire_fence = false;
    bool without_acquire_load = false;

    std::size_t choose(std::size_t width) {
        if (position == choices.size()) {
            choices.push_back(0);
            widths.push_back(width);
        }
        return choices[position++];
    }

    /// Goes on to the next execution; false when all were there.
    bool next() {
        while (!choices.empty() && choices.back() + 1 == widths.back()) {
            choices.pop_back();
            widths.pop_back();
        }
        if (choices.empty())
            return false;
        ++choices.back();
        position = 0;
        return true;
    }
};

inline Execution* execution = nullptr;

inline std::uint64_t load(const void* where, std::uint64_t latest, std::memory_order order) {
    if (execution == nullptr || execution->recording)
        return latest;
    Execution& e = *execution;
    const auto found = e.histories.find(where);
    if (found == e.histories.end())
        return latest;  // never changed
    const std::vector<Message>& history = found->second;
    const std::size_t from = e.current.contains(where) ? e.current[where] : 0;
    const std::size_t at = history.size() - 1 - e.choose(history.size() - from);
    e.current[where] = at;
    if (order == std::memory_order_acquire && !e.without_acquire_load)
        join(e.current, history[at].view);
    join(e.acquired, history[at].view);
    return history[at].value;
}

inline void store(const void* where, std::uint64_t before, std::uint64_t value, std::memory_order order) {
    if (execution == nullptr || !execution->recording)
        return;
    Execution& e = *execution;
    std::vector<Message>& history = e.histories[where];
    if (history.empty())
        history.push_back({before, {}});
    const bool release = order == std::memory_order_release && !e.without_release_store;
    e.current[where] = history.size();
    Message message{value, release ? e.current : e.released};
    message.view[where] = history.size();
    history.push_back(message);
}

}  // namespace rolecall::core::model

namespace rolecall::core {

template <typename T>
class Atomic {
 public:
    T load(std::memory_order order) const { return static_cast<T>(model::load(this, value_, order)); }
    void store(T value, std::memory_order order) {
        model::store(this, value_, value, order);
        value_ = value;
    }

 private:
    T value_;
};

inline void fence(std::memory_order order) {
    if (model::execution == nullptr)
        return;
    model::Execution& e = *model::execution;
    if (order == std::memory_order_acquire && !e.without_acquire_fence)
        model::join(e.current, e.acquired);
    if (order == std::memory_order_release && !e.without_release_fence)
        e.released = e.current;
}

}  // namespace rolecall::core
