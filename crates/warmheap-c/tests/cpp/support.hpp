// What the tests in C++ share.

#ifndef SUPPORT_HPP
#define SUPPORT_HPP

#include "warmheap.hpp"

#undef NDEBUG
#include <cassert>
#include <cstdio>
#include <cstdlib>

inline constexpr std::uint64_t MIB = 1 << 20;
inline const char *const FIXED = "{heap_size_mb: 32, num_heaps: 2, warmup_sizes: [], thread_cache_mb: 0}";

template <class Exception, class Call> Exception thrown(Call call) {
    try {
        call();
    } catch (const Exception &error) {
        return error;
    }
    std::fprintf(stderr, "nothing was thrown\n");
    std::abort();
}

inline std::uint64_t alive(const warmheap::Pool &pool) { return pool.statistics().active_allocations; }

#endif // SUPPORT_HPP
