// The atomics of shared structures are defined in one place so that a test can replace them: test/model
// explores every execution that the C++ memory model allows, using the same code that the server runs.
#pragma once

#ifdef ROLECALL_MODEL
#include "model/atomic.h"
#else

#include <atomic>

namespace rolecall::core {

template <typename T>
using Atomic = std::atomic<T>;

inline void fence(std::memory_order order) { std::atomic_thread_fence(order); }

}  // namespace rolecall::core

#endif
