// Tools of the other parts: handles with an owner, texts, durations. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_DETAIL_HPP
#define WARMHEAP_DETAIL_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "error.hpp"

namespace warmheap {

namespace detail {

/// A struct of warmheap.h whose size is set.
template <class T> T sized() noexcept {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

/// Calls `write(text, capacity, needed)` until the whole text fits. The text may grow between two calls.
template <class Write> std::string text(Write write) {
    std::string made;
    std::size_t needed = 0;
    do {
        made.resize(needed);
        check(write(needed == 0 ? nullptr : &made[0], made.size(), &needed));
    } while (needed > made.size());
    made.resize(needed - 1);
    return made;
}

/// Milliseconds, rounded up.
template <class Rep, class Period> std::uint64_t milliseconds(std::chrono::duration<Rep, Period> time) {
    if (time <= time.zero()) {
        return 0;
    }
    if (time > std::chrono::hours(24 * 365 * 10)) {
        return UINT64_C(1) << 40;
    }
    using Milliseconds = std::chrono::milliseconds;
    const auto whole = std::chrono::duration_cast<Milliseconds>(time);
    return static_cast<std::uint64_t>(whole.count()) + (whole < time ? 1 : 0);
}

/// A handle that moves and does not copy. `End` gives back what it names, and never throws.
template <class Handle, void (*End)(Handle) noexcept> class Owner {
  public:
    Owner() noexcept = default;
    explicit Owner(Handle handle) noexcept : handle_(handle) {}
    Owner(Owner &&other) noexcept : handle_(other.release()) {}
    Owner &operator=(Owner &&other) noexcept {
        if (this != &other) {
            reset();
            handle_ = other.release();
        }
        return *this;
    }
    ~Owner() { reset(); }

    Handle get() const noexcept { return handle_; }
    explicit operator bool() const noexcept { return handle_.id != 0; }
    Handle release() noexcept { return std::exchange(handle_, Handle{}); }
    void reset() noexcept {
        if (handle_.id != 0) {
            End(release());
        }
    }

  private:
    Handle handle_{};
};

} // namespace detail

} // namespace warmheap

#endif // WARMHEAP_DETAIL_HPP
