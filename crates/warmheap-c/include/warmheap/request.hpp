// What a program asks for, and on which line. Part of warmheap.hpp, which programs include.

#ifndef WARMHEAP_REQUEST_HPP
#define WARMHEAP_REQUEST_HPP

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "detail.hpp"

#if defined(__has_builtin)
#if __has_builtin(__builtin_FILE) && __has_builtin(__builtin_LINE)
#define WARMHEAP_HAS_SITES 1
#endif
#elif defined(__GNUC__) || (defined(_MSC_VER) && _MSC_VER >= 1926)
#define WARMHEAP_HAS_SITES 1
#endif

namespace warmheap {

/// The line that asks for memory, for leak reports.
struct Site {
    const char *file;
    std::uint32_t line;

#ifdef WARMHEAP_HAS_SITES
    static constexpr Site here(const char *file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) noexcept {
        return {file, line};
    }
#else
    static constexpr Site here() noexcept { return {nullptr, 0}; }
#endif
};

/// A request for memory. A number of bytes converts into one.
class Request {
  public:
    Request(std::uint64_t size) noexcept : raw_(detail::sized<wh_request>()) { raw_.size = size; }

    /// A power of two in bytes that divides the address.
    Request &align(std::uint64_t bytes) noexcept { return raw_.align = bytes, *this; }
    /// Memory that reads as zero.
    Request &zeroed() noexcept { return flag(WH_ZEROED); }
    /// A failure instead of memory straight from the device.
    Request &no_fallback() noexcept { return flag(WH_NO_FALLBACK); }
    /// A failure (`WH_WOULD_BLOCK`) instead of a device call or a wait for another thread.
    Request &non_blocking() noexcept { return flag(WH_NON_BLOCKING); }
    /// A buffer that compaction may move while it is not pinned.
    Request &movable() noexcept { return flag(WH_MOVABLE); }
    /// Room to grow to `bytes` in place.
    Request &growable(std::uint64_t bytes) noexcept { return raw_.growable = bytes, *this; }
    /// The purpose, for leak reports and quotas.
    Request &tag(std::string name) { return tag_ = std::move(name), *this; }
    /// How long the call may wait for memory in flight; zero refuses to wait. Without this the pool's
    /// `wait_ms` holds.
    template <class Rep, class Period> Request &wait(std::chrono::duration<Rep, Period> time) {
        raw_.wait_ms = detail::milliseconds(time);
        raw_.flags = raw_.wait_ms == 0 ? raw_.flags | WH_NO_WAIT : raw_.flags & ~std::uint32_t{WH_NO_WAIT};
        return *this;
    }

    /// The request for warmheap.h. It lives as long as this object.
    wh_request raw(Site site) const noexcept {
        wh_request request = raw_;
        request.file = site.file;
        request.line = site.line;
        request.tag = tag_.empty() ? nullptr : tag_.c_str();
        return request;
    }

  private:
    Request &flag(std::uint32_t bit) noexcept { return raw_.flags |= bit, *this; }

    wh_request raw_;
    std::string tag_;
};

} // namespace warmheap

#endif // WARMHEAP_REQUEST_HPP
